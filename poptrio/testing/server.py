"""A whole poptrio server in memory: real calls, real plugins, no socket, no TUN, no root.

    ScriptedClient ── control connection (`memory_stream_pair`) ── MemoryListener ── Server
          └────────── GRE (`MemoryNetwork` over a link of your choice) ────────────────┘

Time is Trio's, so a test under ``autojump_clock`` waits for nothing.
"""

import random
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from poptrio.config import Config
from poptrio.datapath.memory import Link, MemoryNetwork
from poptrio.decisions import Accept, LocalEap, Reject
from poptrio.hookspecs import hookimpl
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.runtime.ticker import Ticker
from poptrio.server.hooks import Hooks
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.one_process import OneProcess
from poptrio.server.plugins import load_plugins
from poptrio.server.registry import CallIds
from poptrio.server.sessions import LiveSessions
from poptrio.server.settings import gre_settings
from poptrio.testing.client import ScriptedCall, ScriptedClient
from poptrio.testing.leftovers import leftovers
from poptrio.testing.line import MemoryLine, MemoryListener
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
    async def poptrio_authenticate(self, request: AuthRequest) -> Accept | Reject | LocalEap | None:
        """Accept the one user with the right password."""
        return verify(request, self._password) if request.username == self._username else None


class MemoryServer:
    """A running server and the network around it; made by `memory_server`.

    ``authority`` has its plugins and sessions; ``scope`` is what it runs in, ``stopped`` is set when it has returned.
    """

    def __init__(
        self,
        server: OneProcess,
        authority: LocalAuthority,
        network: MemoryNetwork,
        listener: MemoryListener,
        nursery: trio.Nursery,
    ) -> None:
        self.server = server
        self.authority = authority
        self.network = network
        self.ticker = Ticker()
        self.scope = trio.CancelScope()
        self.stopped = trio.Event()
        self._listener = listener
        self._nursery = nursery

    async def connect(self, peer: IPv4Address = CLIENT_ADDRESS) -> ScriptedClient:
        """Open a TCP connection from ``peer``, and nothing more."""
        ours, theirs = memory_stream_pair()
        line = MemoryLine(theirs, peer, SERVER_ADDRESS)
        client = ScriptedClient(ours, line, peer, SERVER_ADDRESS, self.network.client(), self.ticker)
        await self._nursery.start(client.run)
        await self._listener.connected.send(line)
        await wait_all_tasks_blocked()
        return client

    async def dial(
        self,
        username: str = "alice",
        password: str = "correct horse",
        *,
        peer: IPv4Address = CLIENT_ADDRESS,
        settings: SessionSettings | None = None,
        further_passwords: tuple[str, ...] = (),
        new_password: str | None = None,
    ) -> ScriptedCall:
        """A call over a control connection of its own, as far as it gets: until it is up or over.

        ``further_passwords`` and ``new_password`` are those of `ScriptedClient.request_call`.
        """
        client = await self.connect(peer)
        await client.start()
        call = await client.request_call(
            username, password, settings=settings, further_passwords=further_passwords, new_password=new_password
        )
        await call.settled()
        return call

    def leftovers(self) -> list[str]:
        """What ended calls have left behind, a line for each kind; empty when nothing."""
        return leftovers(self.server, self.authority.sessions, self.network.server)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the server until it is stopped or ``scope`` is cancelled."""
        with self.scope:
            await self.server.run([self._listener], task_status)
        self.stopped.set()


@asynccontextmanager
async def memory_server(
    config: str = "",
    plugins: Plugins = (),
    *,
    folder: Path | None = None,
    link: Link | None = None,
    seed: int | None = None,
) -> AsyncIterator[MemoryServer]:
    """A server with the configuration ``config`` (TOML) and ``plugins``, until the block is left; then it is stopped.

    The lists of plugins in ``config`` do not count: ``plugins`` are asked in their order for both, authentication and
    addresses. Only those that ``config`` names for a domain are asked about its users, and those of ``[accounting]``
    are told. What is missing is added: a plugin that knows one user, and ``ip-pool``.
    """
    settings = Config.parse(config, folder=folder)
    hooks = load(plugins, settings)
    network = MemoryNetwork(link, gre_settings(settings))
    sessions = LiveSessions()
    async with hooks.lifespan(settings.plugins, settings.server_info(sessions)), trio.open_nursery() as nursery:
        await nursery.start(network.run)
        authority = LocalAuthority(settings, hooks, sessions)
        if seed is None:
            server = OneProcess(settings, authority, network.server)
        else:
            dice = random.Random(seed)
            server = OneProcess(settings, authority, network.server, CallIds(dice), dice.randbytes)
        listener = MemoryListener()
        memory = MemoryServer(server, authority, network, listener, nursery)
        nursery.start_soon(memory.ticker.run)
        await nursery.start(memory.run)
        yield memory
        server.stop()
        await memory.stopped.wait()
        nursery.cancel_scope.cancel()


def load(plugins: Plugins, settings: Config | None = None) -> Hooks:
    """Load ``plugins`` and what they lack, for a server with these ``settings``. Raises `ConfigError`."""
    settings = settings or Config()
    named = dict(plugins) if isinstance(plugins, Mapping) else {_name(plugin): plugin for plugin in plugins}
    extra = {name: plugin for name, plugin in named.items() if not isinstance(plugin, str)}
    found = {hook for plugin in load_plugins(dict.fromkeys(named, "plugins"), extra).values() for hook in plugin.hooks}
    of_domains = {name for names in settings.authentication.plugins_by_domain.values() for name in names}
    authentication, addresses = [name for name in named if name not in of_domains], list(named)
    accounting = [name for name in settings.accounting.plugins if name not in named]
    if "poptrio_authenticate" not in found:
        authentication.append("one-user")
        extra["one-user"] = OneUser()
    if "poptrio_allocate_address" not in found:
        addresses.append("ip-pool")
    return Hooks.load(
        authentication,
        addresses,
        accounting,
        domains=settings.authentication.plugins_by_domain,
        extra=extra,
        fall_through=settings.authentication.fall_through,
        timeout=settings.authentication.timeout,
        accounting_timeout=settings.accounting.timeout,
    )


def _name(plugin: object) -> str:
    """What a plugin is called: an installed one by its name, anything else after its module or class."""
    if isinstance(plugin, str):
        return plugin
    return str(getattr(plugin, "__name__", None) or type(plugin).__name__).lower()
