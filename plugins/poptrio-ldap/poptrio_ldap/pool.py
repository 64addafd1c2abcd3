"""Connections to several directory servers, for many threads: kept open, replaced when stale, dead servers last.

Everything here blocks and is called in threads. A connection is used by one thread at a time.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, Protocol, TypeVar

from poptrio.api import Histogram
from poptrio_ldap.directory import DirectoryUnavailable

IDLE_TIME = 60.0
"""Seconds after which an unused connection is not trusted any more: firewalls forget it in silence."""


class ConnectionLost(Exception):
    """A server cannot be reached, or a connection to it broke or fell silent; the message says how."""


class Purpose(Enum):
    """What a connection is for: as the service account, or to try users' passwords. Never both."""

    SEARCH = "search"
    BIND = "bind"


class Closable(Protocol):
    """All that the pool itself wants of a connection."""

    def close(self) -> None:
        """Close it; never raises."""


ConnT = TypeVar("ConnT", bound=Closable)
ConnT_co = TypeVar("ConnT_co", bound=Closable, covariant=True)
ResultT = TypeVar("ResultT")


class Server(Protocol[ConnT_co]):
    """One server of the list."""

    @property
    def url(self) -> str:
        """Its name for logs."""

    def open(self, purpose: Purpose) -> ConnT_co:
        """A new connection, ready for ``purpose``. Raises `ConnectionLost`, or `DirectoryUnavailable` if it refuses."""


@dataclass(slots=True)
class _Slot(Generic[ConnT]):
    """What is known of one server: when it may be asked first again, and its idle connections with their age."""

    server: Server[ConnT]
    dead_until: float = float("-inf")
    failures: int = 0
    idle: dict[Purpose, list[tuple[float, ConnT]]] = field(default_factory=lambda: {each: [] for each in Purpose})


@dataclass(frozen=True, slots=True)
class ServerState:
    """A server by its ``url``: whether it failed lately, how many connections wait, and how often it failed."""

    url: str
    dead: bool
    idle: int
    failures: int


class Pool(Generic[ConnT]):
    """Runs work on connections to the first of ``servers`` that answers.

    A server that failed is asked after the others for ``dead_time`` seconds. ``clock`` is seconds, any epoch.
    ``seconds`` is how long work took that a server answered, ``unanswered`` what none did.
    """

    def __init__(
        self, servers: Sequence[Server[ConnT]], *, dead_time: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots = [_Slot(server) for server in servers]
        self._dead_time = dead_time
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self.seconds = {purpose: Histogram() for purpose in Purpose}
        self.unanswered = 0

    def run(self, purpose: Purpose, work: Callable[[ConnT], ResultT], *, give_up_at: float = float("inf")) -> ResultT:
        """``work`` on an idle connection, else on a new one; it may be called again on another when one breaks.

        From ``give_up_at`` on no further server is tried. Raises `DirectoryUnavailable` when none answered.
        """
        failures = []
        for slot in self._in_order():
            begun = self._clock()
            try:
                result = self._run_at(slot, purpose, work)
            except ConnectionLost as error:
                failures.append(f"{slot.server.url}: {error}")
                with self._lock:
                    slot.failures += 1
                slot.dead_until = self._clock() + self._dead_time
            else:
                with self._lock:
                    self.seconds[purpose].observe(self._clock() - begun)
                return result
            if self._clock() >= give_up_at:
                break
        with self._lock:
            self.unanswered += 1
        raise DirectoryUnavailable("; ".join(failures))

    def servers(self) -> "list[ServerState]":
        """How every server is."""
        now = self._clock()
        with self._lock:
            return [
                ServerState(slot.server.url, slot.dead_until > now, sum(map(len, slot.idle.values())), slot.failures)
                for slot in self._slots
            ]

    def close(self) -> None:
        """Close what is idle now, and what is in use as soon as it is not."""
        with self._lock:
            self._closed = True
        for slot in self._slots:
            self._close_idle(slot)

    def _in_order(self) -> list[_Slot[ConnT]]:
        """Servers that live, then those that are dead, the one that failed first before the others."""
        now = self._clock()
        return sorted(self._slots, key=lambda slot: slot.dead_until if slot.dead_until > now else float("-inf"))

    def _run_at(self, slot: _Slot[ConnT], purpose: Purpose, work: Callable[[ConnT], ResultT]) -> ResultT:
        """An idle connection may be left over from before a restart: it is replaced at once, with all the others."""
        connection = self._take_idle(slot, purpose)
        if connection is not None:
            try:
                return self._use(slot, purpose, connection, work)
            except ConnectionLost:
                self._close_idle(slot)
        return self._use(slot, purpose, slot.server.open(purpose), work)

    def _use(
        self, slot: _Slot[ConnT], purpose: Purpose, connection: ConnT, work: Callable[[ConnT], ResultT]
    ) -> ResultT:
        in_order = False
        try:
            result = work(connection)
            in_order = True
            return result
        finally:
            if not in_order or not self._give_back(slot, purpose, connection):
                connection.close()

    def _take_idle(self, slot: _Slot[ConnT], purpose: Purpose) -> ConnT | None:
        with self._lock:
            old, idle = self._clock() - IDLE_TIME, slot.idle[purpose]
            stale = [connection for since, connection in idle if since <= old]
            slot.idle[purpose] = idle = [(since, connection) for since, connection in idle if since > old]
            found = idle.pop()[1] if idle else None  # the one that was used last: the others may grow old
        for connection in stale:
            connection.close()
        return found

    def _give_back(self, slot: _Slot[ConnT], purpose: Purpose, connection: ConnT) -> bool:
        with self._lock:
            slot.dead_until = float("-inf")
            if not self._closed:
                slot.idle[purpose].append((self._clock(), connection))
            return not self._closed

    def _close_idle(self, slot: _Slot[ConnT]) -> None:
        with self._lock:
            connections = [connection for idle in slot.idle.values() for _, connection in idle]
            for idle in slot.idle.values():
                idle.clear()
        for connection in connections:
            connection.close()
