"""A whole poptrio server in memory: real calls, real plugins, no socket, no TUN, no root.

    ScriptedClient ── control connection (`memory_stream_pair`) ── MemoryListener ── Server
          └────────── GRE (`MemoryNetwork` over a link of your choice) ────────────────┘

Time is Trio's, so a test under ``autojump_clock`` waits for nothing.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self, cast

import trio
from trio.testing import memory_stream_pair

from poptrio.calls import Accept, AuthRequest, Reject
from poptrio.config import Config
from poptrio.datapath.memory import Link, MemoryNetwork
from poptrio.hookspecs import hookimpl
from poptrio.runtime.ticker import Ticker
from poptrio.server.hooks import Hooks
from poptrio.server.plugins import load_plugins
from poptrio.server.server import Server
from poptrio.server.settings import gre_settings
from poptrio.testing.client import ScriptedClient
from poptrio.verify import verify

SERVER_ADDRESS = IPv4Address("192.0.2.1")
CLIENT_ADDRESS = IPv4Address("203.0.113.9")

Plugins = Iterable[object] | Mapping[str, object]
"""Plugins as names of installed ones, modules, classes or objects; the keys of a mapping are their names."""


class OneUser:
    """The authentication plugin of tests that are about something else: knows one user."""

    def __init__(self, username: str = "alice", password: str = "correct horse") -> None:
        self._username = username
        self._password = password

    @hookimpl
    async def poptrio_authenticate(self, request: AuthRequest) -> Accept | Reject | None:
        """Accept the one user with the right password."""
        return verify(request, self._password) if request.username == self._username else None


class MemoryServer:
    """A running server and the network around it; made by `memory_server`."""

    def __init__(self, server: Server, network: MemoryNetwork, listener: "MemoryListener", nursery: trio.Nursery) -> None:
        self.server = server
        self.network = network
        self.ticker = Ticker()
        self._listener = listener
        self._nursery = nursery

    async def connect(self, peer: IPv4Address = CLIENT_ADDRESS) -> ScriptedClient:
        """Open a TCP connection from ``peer``, and nothing more."""
        ours, theirs = memory_stream_pair()
        line = MemoryLine(theirs, peer, SERVER_ADDRESS)
        client = ScriptedClient(ours, line.reset, peer, SERVER_ADDRESS, self.network.client(), self.ticker)
        await self._nursery.start(client.run)
        await self._listener.connected.send(line)
        await trio.testing.wait_all_tasks_blocked()
        return client


class MemoryListener(trio.abc.Listener[trio.SocketStream]):
    """Where the server accepts what is put into ``connected``."""

    def __init__(self) -> None:
        self.connected, self._to_accept = trio.open_memory_channel[MemoryLine](0)

    async def accept(self) -> trio.SocketStream:
        """As `trio.abc.Listener`."""
        # A server asks nothing of a SocketStream that the line does not have.
        return cast("trio.SocketStream", await self._to_accept.receive())

    async def aclose(self) -> None:
        """As `trio.abc.AsyncResource`."""
        self._to_accept.close()


class MemoryLine(trio.abc.Stream):
    """The server's end of a TCP connection: a memory stream with two addresses, which can be reset."""

    def __init__(self, stream: trio.abc.Stream, peer: IPv4Address, local: IPv4Address) -> None:
        self._stream = stream
        self._peer = peer
        self._local = local
        self._is_reset = False

    @property
    def socket(self) -> Self:
        """Who knows the addresses, as `trio.SocketStream` says it."""
        return self

    def getpeername(self) -> tuple[str, int]:
        """The client's address and a port."""
        return str(self._peer), 49152

    def getsockname(self) -> tuple[str, int]:
        """The server's address and port."""
        return str(self._local), 1723

    async def reset(self) -> None:
        """From now on every operation of the server's fails, as after TCP's RST."""
        self._is_reset = True
        await self._stream.aclose()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As `trio.abc.SendStream`."""
        self._fail_if_reset()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As `trio.abc.SendStream`."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As `trio.abc.ReceiveStream`."""
        try:
            return await self._stream.receive_some(max_bytes)
        except trio.ClosedResourceError:
            self._fail_if_reset()
            raise

    async def aclose(self) -> None:
        """As `trio.abc.AsyncResource`."""
        await self._stream.aclose()

    def _fail_if_reset(self) -> None:
        if self._is_reset:
            raise trio.BrokenResourceError("connection reset by peer")


@asynccontextmanager
async def memory_server(
    config: str = "", plugins: Plugins = (), *, folder: Path | None = None, link: Link | None = None
) -> AsyncIterator[MemoryServer]:
    """A server with the configuration ``config`` (TOML) and ``plugins``, until the block is left; then it is stopped.

    The lists of plugins in ``config`` do not count: ``plugins`` are asked in their order for both, authentication and
    addresses. Without one that authenticates there is `OneUser`; without one that allocates, ``ip-pool``.
    """
    settings = Config.parse(config, folder=folder)
    hooks = load(plugins, settings.authentication.timeout)
    network = MemoryNetwork(link, gre_settings(settings))
    async with hooks.lifespan(settings.plugins, settings.server_info()), trio.open_nursery() as nursery:
        await nursery.start(network.run)
        server = Server(settings, hooks, network.server)
        listener = MemoryListener()
        memory = MemoryServer(server, network, listener, nursery)
        nursery.start_soon(memory.ticker.run)
        async with trio.open_nursery() as running:
            await running.start(server.run, [listener])
            try:
                yield memory
            finally:
                server.stop()
        nursery.cancel_scope.cancel()


def load(plugins: Plugins, timeout: float = 10.0) -> Hooks:
    """Load ``plugins`` and what they lack. Raises `ConfigError`."""
    named = dict(plugins) if isinstance(plugins, Mapping) else {_name(plugin): plugin for plugin in plugins}
    extra = {name: plugin for name, plugin in named.items() if not isinstance(plugin, str)}
    found = {hook for plugin in load_plugins(dict.fromkeys(named, "plugins"), extra).values() for hook in plugin.hooks}
    authentication, addresses = list(named), list(named)
    if "poptrio_authenticate" not in found:
        authentication.append("one-user")
        extra["one-user"] = OneUser()
    if "poptrio_allocate_address" not in found:
        addresses.append("ip-pool")
    return Hooks.load(authentication, addresses, extra=extra, timeout=timeout)


def _name(plugin: object) -> str:
    """What a plugin is called: an installed one by its name, anything else after its module or class."""
    if isinstance(plugin, str):
        return plugin
    return str(getattr(plugin, "__name__", None) or type(plugin).__name__).lower()
