"""The server: takes control connections, and stops in two phases, listeners first, then the calls within a deadline."""

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Address
from uuid import uuid4

import structlog
import trio

from poptrio.config import Config
from poptrio.datapath.base import DataPath, DataPathCounters
from poptrio.protocols.ppp.lcp import RandomBytes
from poptrio.runtime.dismantle import dismantle
from poptrio.runtime.loop_lag import LoopLag
from poptrio.server.authority import Authority
from poptrio.server.call_events import ObservedCall
from poptrio.server.connection import Connection
from poptrio.server.drain import Drain
from poptrio.server.refusals import STOPPING
from poptrio.server.registry import CallIds
from poptrio.server.shared import Shared

log = structlog.get_logger("poptrio.server")

TAKEN_UP_AT_ONCE = 20
"""Connections of another process that begin in one turn of the event loop: about 2 ms."""

CLOSE_TIMEOUT = 1.0
"""Seconds that closing a TCP connection may take."""


class Server(Shared):
    """One server. The data path and the plugins must be up before `run`."""

    def __init__(
        self,
        config: Config,
        authority: Authority,
        datapath: DataPath,
        call_ids: CallIds | None = None,
        random: RandomBytes = os.urandom,
    ) -> None:
        super().__init__(config, authority, datapath, call_ids, random)
        self._stop = trio.Event()
        self._running = trio.CancelScope()
        self._plumbing: trio.Nursery | None = None
        self.drain_state = Drain(lambda: self.call_count, self.stop)
        self._accepting = trio.CancelScope()
        self._may_accept = trio.Event()
        self._may_accept.set()
        self._taken_up: list[Connection] = []

    @property
    def call_count(self) -> int:
        """How many calls there are."""
        return len(self.registry.calls)

    def calls(self) -> Sequence[ObservedCall]:
        """All calls, in the order in which they began."""
        return tuple(self.registry.calls.values())

    @property
    def connection_count(self) -> int:
        """How many control connections there are."""
        return len(self.connections)

    @property
    def workers_running(self) -> int:
        """None: one process does it all."""
        return 0

    async def packets(self) -> Counter[str]:
        """What all calls' paths have counted, by the names of `PathCounters`, ended calls included."""
        return await self.path_totals.total(self.calls)

    def strays(self) -> DataPathCounters:
        """Packets that belong to no call."""
        return self.datapath.counters

    def lags(self) -> Mapping[str, LoopLag]:
        """How late the event loop is, by process."""
        return {"server": self.lag}

    def stop(self) -> None:
        """Take no more calls, say goodbye to all, and return from `run` within the grace period.

        The second time: at once. Addresses, routes and the TUN are given back all the same.
        """
        if self.stopping:
            self._running.cancel()
            self.goodbyes.end()
            for connection in self.connections:
                connection.abandon()
        self.stopping = True
        self.drain_state.end()
        self._stop.set()

    def begin_drain(self, seconds: float | None) -> None:
        """Take no new calls, and stop as `Drain` says."""
        assert self._plumbing is not None, "drained before it runs"
        if not self.stopping:
            self.draining = True
            self.drain_state.begin(self._plumbing, seconds)

    def end_drain(self) -> bool:
        """Take calls again, if the server drains and has not begun to stop; whether it does now."""
        if self.stopping or not self.drain_state.cancel():
            return False
        self.draining = False
        return True

    def call_over(self) -> None:
        """A draining server may stop."""
        self.drain_state.call_over()

    async def run(
        self,
        listeners: Sequence[trio.abc.Listener[trio.SocketStream]],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop` and the goodbyes after it."""
        async with trio.open_nursery() as plumbing:
            self._plumbing = plumbing
            plumbing.start_soon(self.ticker.run)
            plumbing.start_soon(self.readiness.run)
            plumbing.start_soon(self._end_grace)
            plumbing.start_soon(self.log_limit.run)
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
                taken_up, self._taken_up = self._taken_up, []
                for number, connection in enumerate(taken_up):
                    if number % TAKEN_UP_AT_ONCE == 0:
                        # Packets are served meanwhile. Whoever stops the server now: all have had their Start.
                        await trio.lowlevel.cancel_shielded_checkpoint()
                    connections.start_soon(self._serve_connection, connection)
                accepting.start_soon(self._accept, listeners, connections)
                task_status.started()
                await self._stop.wait()
                accepting.cancel_scope.cancel()
            for listener in listeners:
                await trio.aclose_forcefully(listener)
            for connection in tuple(self.connections):
                connections.start_soon(connection.stop)

    async def _admit(self, stream: trio.SocketStream) -> Connection | None:
        """The new control connection of ``stream``; None where it was refused, or is gone already."""
        try:
            peer, local = _address(stream.socket.getpeername()), _address(stream.socket.getsockname())
        except OSError:
            return None  # gone before we looked
        connection_id = uuid4().hex[:16]
        connection = None
        try:
            why = self._refuse(peer)
            if why is None:
                waiting = self.registry.stranger(peer)  # counts also while the answer is awaited
                try:
                    why = await self.authority.admit_connection(connection_id, peer)
                finally:
                    waiting.known()
            why = why or self._refuse(peer)
            if why is None:
                connection = Connection(self, stream, connection_id, peer, local)
            else:
                self._log_refusal(peer, why)
                await trio.aclose_forcefully(stream)
        finally:
            if connection is None:
                self.authority.connection_closed(connection_id)
        return connection

    def close_connection(self, connection_id: str, why: str) -> None:
        """Refuse a connection that was taken, if it still exists."""
        for connection in self.connections:
            if connection.id == connection_id:
                self._log_refusal(connection.peer, why)
                connection.cancel()

    def _log_refusal(self, peer: IPv4Address, why: str) -> None:
        self.stats.refuse(why)
        if self.log_limit.allows("connection refused"):
            log.warning("connection refused", peer=str(peer), why=why)
            self.authority.refused(peer, why)

    def _refuse(self, peer: IPv4Address) -> str | None:
        """Why this process takes no connection from ``peer``, or None; not true for longer than until a checkpoint."""
        return STOPPING if self.stopping else self.registry.refuse_stranger(peer)

    # Hand-over to another process (`poptrio.upgrade`).

    def pause(self) -> None:
        """Accept no connections for the moment, which wait in the backlog, and take no calls on those that exist."""
        self.upgrading = True
        self._may_accept = trio.Event()
        self._accepting.cancel()

    def go_on(self) -> None:
        """As before `pause`."""
        self.upgrading = False
        self._may_accept.set()
        for connection in self.connections:
            connection.go_on()

    def take_up(self, connection: Connection) -> None:
        """Before `run`: serve this connection, which another process has had before."""
        self.connections.add(connection)
        self._taken_up.append(connection)

    async def _accept(
        self, listeners: Sequence[trio.abc.Listener[trio.SocketStream]], connections: trio.Nursery
    ) -> None:
        while True:
            await self._may_accept.wait()
            with trio.CancelScope() as self._accepting:
                kept_open = [_KeptOpen(listener) for listener in listeners]
                serve: Callable[[trio.SocketStream], Awaitable[None]] = self._serve_connection
                await trio.serve_listeners(serve, kept_open, handler_nursery=connections)

    async def _serve_connection(self, one: trio.SocketStream | Connection) -> None:
        """Handle one TCP connection, from its admission or from where another process left it, to its close."""
        connection = one if isinstance(one, Connection) else await self._admit(one)
        if connection is None:
            return
        self.connections.add(connection)
        try:
            await connection.run()
        except* Exception as errors:
            self.stats.internal_errors += 1
            log.error("internal error", peer=str(connection.peer), exc_info=errors)
        finally:
            connection.stranger.known()
            self.connections.discard(connection)
            self.authority.connection_closed(connection.id)
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await connection.stream.aclose()
            if not self.stopping:  # or its `Connection.stop` may still run
                dismantle(connection)


class _KeptOpen(trio.abc.Listener[trio.SocketStream]):
    """A listener that is not closed when nobody accepts any more: whoever connects waits until somebody does again."""

    def __init__(self, listener: trio.abc.Listener[trio.SocketStream]) -> None:
        self._listener = listener

    async def accept(self) -> trio.SocketStream:
        """The next connection."""
        return await self._listener.accept()

    async def aclose(self) -> None:
        """Nothing but a checkpoint."""
        await trio.lowlevel.checkpoint()


def _address(socket_name: tuple[str, int]) -> IPv4Address:
    return IPv4Address(socket_name[0])
