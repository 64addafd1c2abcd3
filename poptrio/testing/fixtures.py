"""pytest fixtures for plugin authors: name ``poptrio.testing.fixtures`` in ``pytest_plugins``.

They need pytest-trio with ``trio_mode = true``. `client` dials a server in memory; `pptp_server` starts one that
several calls can share.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest
import trio

from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.testing.client import ScriptedCall
from poptrio.testing.server import MemoryServer, Plugins, memory_server


class StartServer(Protocol):
    """What the fixture `pptp_server` is."""

    def __call__(
        self, plugins: Plugins = (), config: str = "", *, folder: Path | None = None
    ) -> Awaitable[MemoryServer]:
        """Start a server with these plugins; see `memory_server`. It is stopped when the test has ended."""


class Dialer:
    """What the fixture `client` is."""

    def __init__(self, start_server: StartServer) -> None:
        self._start_server = start_server

    async def dial(
        self,
        username: str = "alice",
        password: str = "correct horse",
        plugins: Plugins = (),
        *,
        config: str = "",
        folder: Path | None = None,
        server: MemoryServer | None = None,
        settings: SessionSettings | None = None,
        further_passwords: tuple[str, ...] = (),
        new_password: str | None = None,
    ) -> ScriptedCall:
        """Call ``server``, or a new one with ``plugins``; returns when the call is up or over.

        ``settings`` are what the client wants of PPP. The call's ``address`` is None when it did not come up, and
        ``why`` tells the reason as the client sees it. ``further_passwords`` are for second tries and one-time codes,
        ``new_password`` is for one that has expired.
        """
        if server is None:
            server = await self._start_server(plugins, config, folder=folder)
        return await server.dial(
            username, password, settings=settings, further_passwords=further_passwords, new_password=new_password
        )


@pytest.fixture
async def pptp_server() -> AsyncIterator[StartServer]:
    """Starts servers in memory, which are stopped when the test has ended."""
    stop = trio.Event()

    async def run(
        plugins: Plugins, config: str, folder: Path | None, task_status: trio.TaskStatus[MemoryServer]
    ) -> None:
        async with memory_server(config, plugins, folder=folder) as server:
            task_status.started(server)
            await stop.wait()

    async with trio.open_nursery() as nursery:

        async def start(plugins: Plugins = (), config: str = "", *, folder: Path | None = None) -> MemoryServer:
            async def running(task_status: trio.TaskStatus[MemoryServer]) -> None:
                await run(plugins, config, folder, task_status)

            server: MemoryServer = await nursery.start(running)
            return server

        yield start
        stop.set()


@pytest.fixture
async def client(pptp_server: Callable[..., Awaitable[MemoryServer]]) -> Dialer:
    """A client that dials servers in memory."""
    return Dialer(pptp_server)
