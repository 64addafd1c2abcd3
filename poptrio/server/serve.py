"""`poptrio run`: everything that a server needs is opened, and closed again in the opposite order.

serve
├─ plugin lifespans           entered before listening, left after the last call
├─ listeners                  bound before anything else is touched, so that a busy port harms nothing
├─ data path                  sockets, TUN, routes
└─ Server.run                 ticker, connections, calls
"""

import errno
import functools
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import NoReturn, Protocol

import structlog
import trio

from poptrio.config import Config, ListenAddress
from poptrio.datapath.userspace.path import Standing, UserspaceDataPath
from poptrio.errors import ConfigError, ConfigFault
from poptrio.runtime import garbage, service_manager
from poptrio.runtime.activation import activated_tcp
from poptrio.runtime.held_signals import let_through
from poptrio.server.datapaths import decided, open_datapath
from poptrio.server.hooks import Hooks, load_hooks
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.one_process import OneProcess
from poptrio.server.operated import Operated
from poptrio.server.passed_listeners import matched
from poptrio.server.reload import Reloading
from poptrio.server.sessions import LiveSessions

LISTEN_BACKLOG = 1024
"""Connections that wait for accept: after an outage all clients come at once."""

log = structlog.get_logger("poptrio.server")


class Inherited(Protocol):
    """What a server takes over from another process (`poptrio.upgrade.take_over`)."""

    @property
    def standing(self) -> Standing:
        """GRE sockets and TUN."""

    def listeners(self) -> list[trio.SocketListener]:
        """The TCP listeners."""

    async def turn(self) -> None:
        """Say that everything is prepared, and wait until the other process stands still."""

    def or_give_up(self) -> AbstractContextManager[None]:
        """What fails inside, after `turn`, ends this process with nothing closed or released."""

    def give_up(self, why: str) -> NoReturn:
        """End this process like that."""

    def take_over(self, server: OneProcess) -> None:
        """Give ``server`` all connections and calls; returns when the other process has left."""


async def serve(
    config: Config,
    *,
    hooks: Hooks | None = None,
    inherited: Inherited | None = None,
    task_status: trio.TaskStatus[OneProcess] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a server until `Server.stop`; reports the `Server` when it takes calls.

    What is ``inherited`` from another process is taken over instead of being opened.

    Raises `ConfigError` or OSError, with the remedy in the text, when something that it needs cannot be had.
    """
    hooks = hooks or load_hooks(config)
    if config.server.datapath == "auto":
        config = decided(config)
    for sentence in config.insecure_settings():
        log.warning("insecure setting", why=sentence)
    datapath = open_datapath(config, inherited.standing if inherited is not None else None)
    sessions = LiveSessions()
    info = config.server_info(sessions, continued=inherited is not None)
    async with (
        hooks.lifespan(config.plugins, info, inherited),
        listening(config, passed=activated_tcp(), inherited=inherited) as listeners,
        trio.open_nursery() as nursery,
    ):
        with nullcontext() if inherited is None else inherited.or_give_up():
            await nursery.start(datapath.run)
            server = OneProcess(config, LocalAuthority(config, hooks, sessions), datapath)
            server.listeners = listeners
            if inherited is not None:
                inherited.take_over(server)
        if isinstance(datapath, UserspaceDataPath) and inherited is not None:
            datapath.go()
        async with trio.open_nursery() as calls:
            await calls.start(server.run, listeners)
            nursery.start_soon(server.lag.run)
            addresses = " ".join(map(str, config.server.listen))
            log.info("listening", address=addresses, interface=config.server.interface)
            task_status.started(server)
        datapath.close()
        nursery.cancel_scope.cancel()
    log.info("stopped")


class Serve(Protocol):
    """What runs a server until it is stopped, and reports it when it takes calls: `serve`."""

    async def __call__(self, config: Config, *, hooks: Hooks, task_status: trio.TaskStatus[Operated]) -> None:
        """As `serve`."""


class Manage(Protocol):
    """What lets operators at a server that runs."""

    async def __call__(self, server: Operated, *, task_status: trio.TaskStatus[None]) -> None:
        """Until cancelled; reports when they can come."""


async def serve_until_signalled(
    config: Config,
    run: Serve | None = None,
    manage: Manage | None = None,
    reloading: Reloading | None = None,
    upgrade: Callable[[Operated], Awaitable[None]] | None = None,
    has_calls: Callable[[], bool] = lambda: False,
) -> None:
    """`serve` with a daemon's signals: SIGTERM or SIGINT stops, a second one at once; SIGHUP reloads, SIGUSR2 upgrades.

    During the start, one is enough to stop, and the others are obeyed after it. ``run`` is what serves, unless that is
    `serve`; ``manage`` lets operators at it, ``reloading`` says where ``config`` comes from, ``upgrade`` hands the
    server over to a new program. ``has_calls``: there are calls already during the start, which end with goodbyes only.
    """
    hooks = load_hooks(config)
    server: Operated | None = None
    early: list[int] = []

    def obey(number: int) -> None:
        if server is None:
            if number in (signal.SIGTERM, signal.SIGINT) and not has_calls():
                serving.cancel_scope.cancel()
            else:
                early.append(number)
        elif number == signal.SIGHUP:
            log.info("reloading", signal=signal.Signals(number).name)
            serving.start_soon(_reload, server)
        elif number == signal.SIGUSR2:
            if upgrade is not None:
                nursery.start_soon(upgrade, server)
        else:
            service_manager.stopping()
            log.info("stopping", signal=signal.Signals(number).name, calls=server.call_count)
            if server.stopping:
                serving.cancel_scope.cancel()  # plugins that do not want to end are not waited for either
            server.stop()

    async def obey_all() -> None:
        async for number in signals:
            obey(number)

    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2) as signals,
        let_through(),
    ):
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as serving:
                nursery.start_soon(obey_all)
                server = await serving.start(functools.partial(run or serve, config, hooks=hooks))
                server.reloader.reloading = reloading or server.reloader.reloading
                if manage is not None:
                    await nursery.start(manage, server)
                garbage.settle()
                service_manager.ready()
                nursery.start_soon(service_manager.keep_informed, functools.partial(_status, server))
                nursery.start_soon(garbage.collect_when_quiet, functools.partial(getattr, server, "call_count"))
                for number in early:
                    obey(number)
            nursery.cancel_scope.cancel()


async def _reload(server: Operated) -> None:
    """As the operator wants by SIGHUP; the service manager waits for it."""
    service_manager.reloading()
    await server.reloader.reload()
    if not server.stopping and not server.reloader.is_busy:  # else the last one says so
        service_manager.ready()


def _status(server: Operated) -> str:
    """What the service manager shows of us."""
    count = server.call_count
    calls = f"{count} call{'' if count == 1 else 's'}"
    return f"stopping, {calls}" if server.stopping else calls


@asynccontextmanager
async def listening(
    config: Config,
    *,
    shared: bool = False,
    passed: Sequence[socket.socket] = (),
    inherited: Inherited | None = None,
) -> AsyncIterator[list[trio.SocketListener]]:
    """The TCP listeners of ``server.listen``. Raises `ConfigError` for those that cannot be had.

    ``shared``: several processes have the same ones, and the kernel deals the connections out (SO_REUSEPORT).
    ``passed`` are taken for the addresses at which they listen already; one that is for none of them cannot be had.
    """
    listeners: list[trio.SocketListener] = []
    faults = []
    try:
        if inherited is not None:
            listeners = inherited.listeners()
        there = matched(config.server.listen, passed)
        for listen in config.server.listen if inherited is None else ():
            if (opened := there.get(listen)) is not None:
                listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(opened)))
                continue
            try:
                listeners.append(await _listener(listen, shared))
            except OSError as error:
                why = f"{listen} cannot be listened on: {error.strerror}{_remedy(error)}"
                faults.append(ConfigFault("server.listen", why))
        if faults:
            raise ConfigError(*faults)
        yield listeners
    finally:
        for listener in listeners:
            listener.socket.close()
        for opened in passed:
            opened.close()


async def _listener(listen: ListenAddress, shared: bool) -> trio.SocketListener:
    tcp = trio.socket.socket()
    try:
        tcp.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
        if shared:
            tcp.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEPORT, 1)
        await tcp.bind((str(listen.address), listen.port))
        tcp.listen(LISTEN_BACKLOG)
    except BaseException:
        tcp.close()
        raise
    return trio.SocketListener(tcp)


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "; `poptrio check` says who holds the port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "; it is no address of this machine: name one of its own, or 0.0.0.0"
    return ""
