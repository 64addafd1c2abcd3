"""What all calls of one server share, and the two-phase shutdown: listeners first, then the calls within a deadline."""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from poptrio.config import Config
from poptrio.datapath.base import DataPath
from poptrio.errors import CauseOfEnd
from poptrio.runtime.ticker import Ticker
from poptrio.server.connection import Connection, serve_connection
from poptrio.server.domains import DomainRule
from poptrio.server.hooks import Hooks
from poptrio.server.registry import CallIds, Registry
from poptrio.server.settings import control_settings, session_settings
from poptrio.server.throttle import Throttle


@dataclass(slots=True)
class Stats:
    """What the server counts over all calls; numbers that only grow."""

    up: int = 0
    refused: int = 0
    internal_errors: int = 0
    ended: Counter[CauseOfEnd] = field(default_factory=Counter)


class Server:
    """Everything that the calls of one server share. The data path and the plugins must be up before `run`."""

    def __init__(self, config: Config, hooks: Hooks, datapath: DataPath, call_ids: CallIds | None = None) -> None:
        self.config = config
        self.hooks = hooks
        self.datapath = datapath
        self.ticker = Ticker()
        self.registry = Registry(config.server, call_ids)
        self.throttle = Throttle(config.authentication.failure_delay, config.authentication.failure_delay_max)
        self.domain_rule = DomainRule(config.authentication.strip_domain, config.authentication.default_domain)
        self.session_settings = session_settings(config)
        self.control_settings = control_settings(config)
        self.stats = Stats()
        self.connections: set[Connection] = set()
        self.stopping = False
        self._stop = trio.Event()
        self._goodbyes: set[trio.CancelScope] = set()
        self._running = trio.CancelScope()

    def stop(self) -> None:
        """Take no more calls, say goodbye to all, and return from `run` within the grace period.

        The second time: at once. Addresses, routes and the TUN are given back all the same.
        """
        if self.stopping:
            self._running.cancel()
            for scope in tuple(self._goodbyes):
                scope.cancel()
            for connection in self.connections:
                connection.abandon()
        self.stopping = True
        self._stop.set()

    @contextmanager
    def goodbye(self) -> Iterator[None]:
        """Shield a goodbye from cancellation for the grace period, or not at all once nobody wants to wait."""
        with trio.move_on_after(self.config.server.grace, shield=True) as scope:
            if self._running.cancel_called:
                scope.cancel()
            self._goodbyes.add(scope)
            try:
                yield
            finally:
                self._goodbyes.discard(scope)

    async def run(
        self,
        listeners: Sequence[trio.abc.Listener[trio.SocketStream]],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop` and the goodbyes after it."""
        async with trio.open_nursery() as plumbing:
            plumbing.start_soon(self.ticker.run)
            plumbing.start_soon(self._end_grace)
            with self._running:
                await self._serve(listeners, task_status)
            plumbing.cancel_scope.cancel()

    async def _end_grace(self) -> None:
        """When the grace period is over, do not wait for anybody any more."""
        await self._stop.wait()
        await trio.sleep(self.config.server.grace)
        self.stop()

    async def _serve(
        self, listeners: Sequence[trio.abc.Listener[trio.SocketStream]], task_status: trio.TaskStatus[None]
    ) -> None:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accept = functools.partial(trio.serve_listeners, handler_nursery=connections)
                accepting.start_soon(accept, functools.partial(serve_connection, self), listeners)
                task_status.started()
                await self._stop.wait()
                accepting.cancel_scope.cancel()
            for connection in tuple(self.connections):
                connections.start_soon(connection.stop)
