"""The journal of a server: what happens to calls, told to whoever listens, and the last failures with their reasons.

A listener that reads slowly loses events, which are counted, and costs nobody else anything.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from ipaddress import IPv4Address

import trio

from poptrio.calls import Traffic
from poptrio.errors import CauseOfEnd
from poptrio.observe.remedies import remedy

FAILURES_KEPT = 1000
"""Failed calls that are remembered, and as many refusals; older ones are in the log."""

EVENTS_WAITING = 1000
"""Events that wait for one listener; what comes then is lost for it."""


class Happening(Enum):
    """What an event says."""

    STARTING = "call-starting"
    UP = "call-up"
    DOWN = "call-down"
    FAILED = "call-failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """One thing that happened to one call, or to a client that was refused before it had one (``call`` is None then).

    ``happening`` is FAILED for a call that ended before it was up, DOWN for one that was. ``seen_as`` is the name as
    the client gave it, ``user`` as the plugins know it. ``why`` is the sentence of the log, ``remedy`` what an operator
    can do about it, where something is known. ``seconds`` since the call began; ``steps`` are seconds to each step that
    it passed.
    """

    happening: Happening
    time: datetime
    peer: IPv4Address
    call: int | None = None
    session_id: str = ""
    user: str = ""
    seen_as: str = ""
    address: IPv4Address | None = None
    cause: CauseOfEnd | None = None
    why: str = ""
    seconds: float = 0.0
    steps: tuple[tuple[str, float], ...] = ()
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def remedy(self) -> str:
        """What to do about it; empty where nothing is to be done, or only ``why`` says it."""
        return remedy(self.cause)


class Listener:
    """One who hears events from now on; made by `Journal.listener`. ``missed`` events came while too many waited."""

    def __init__(self) -> None:
        self.missed = 0
        self._send, self._receive = trio.open_memory_channel[CallEvent](EVENTS_WAITING)

    def tell(self, event: CallEvent) -> None:
        """One more event."""
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            self.missed += 1

    async def next(self) -> CallEvent:
        """The next event."""
        return await self._receive.receive()


class Journal:
    """What happens to the calls of one server."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        # Apart, so that whoever dials in vain all the time does not push out why others could not.
        self._failed: deque[CallEvent] = deque(maxlen=FAILURES_KEPT)
        self._refused: deque[CallEvent] = deque(maxlen=FAILURES_KEPT)

    @property
    def failures(self) -> Sequence[CallEvent]:
        """The last failed and refused calls, the newest first."""
        both = reversed(self._failed), reversed(self._refused)
        return tuple(heapq.merge(*both, key=lambda event: event.time, reverse=True))

    @contextmanager
    def listener(self) -> Iterator[Listener]:
        """Somebody who listens while the block lasts."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    @property
    def listener_count(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @property
    def heard(self) -> bool:
        """Whether anybody listens: otherwise an event that is not remembered need not be made."""
        return bool(self._listeners)

    def happened(self, event: CallEvent) -> None:
        """Remember a failure, and tell everybody who listens."""
        if event.happening is Happening.FAILED:
            self._failed.append(event)
        elif event.happening is Happening.REFUSED:
            self._refused.append(event)
        for listener in self._listeners:
            listener.tell(event)

    def refused(self, peer: IPv4Address, why: str) -> None:
        """A client at ``peer`` was refused before it had a call."""
        self.happened(CallEvent(happening=Happening.REFUSED, time=datetime.now(UTC), peer=peer, why=why))
