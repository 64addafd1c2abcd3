"""What is logged of a running server beyond its configuration: levels of areas, and traces of single clients.

A trace is every control message and every control packet of PPP, in pppd's notation and without secrets, of one call,
one user or one client address, also of calls that begin later. It ends by itself, so that nobody forgets it.

Whether something is traced is decided when it begins, when its user is known, and when an operator changes something;
in between, what is not traced looks at one None for each control packet. Packets of IP are never looked at.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from math import inf
from typing import Literal, Protocol

import structlog
import trio

from poptrio.calls import CallInfo
from poptrio.config import Config
from poptrio.observe.areas import Levels
from poptrio.observe.log import set_levels
from poptrio.runtime.ticker import Ticker
from poptrio.server.domains import folded

TRACE_SECONDS = 600.0
"""How long a trace lasts unless something else is asked for."""

LONGEST_TRACE = 86_400.0
MOST_TRACES = 100

log = structlog.get_logger("poptrio.server")
trace_log = structlog.get_logger("poptrio.trace")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a trace is about: a Call ID of ours, a user (case ignored), or a client's outer address."""

    kind: Literal["call", "user", "peer"]
    value: str

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"

    def fits(self, call: "TracedCall") -> bool:
        """Whether this is about ``call``."""
        match self.kind:
            case "call":
                return self.value == str(call.info.call_id)
            case "user":
                return folded(self.value) in call.names
            case "peer":
                return self.value == str(call.info.peer)


class TracedCall(Protocol):
    """What is asked of a call: ``names`` are those that its client is known by until now, folded."""

    info: CallInfo
    names: frozenset[str]


class TracedConnection(Protocol):
    """What is asked of a control connection."""

    id: str

    def retrace(self) -> None:
        """Decide anew whether it is traced, and its calls."""


class UnknownArea(ValueError):
    """There is no such area of the log."""


class TooManyTraces(ValueError):
    """There are `MOST_TRACES` already."""


class Tracing:
    """Levels and traces of one server. ``changed`` is told of every change; where it is carried out by others.

    ``ticker`` rings when the time of a trace is over; without one, they are only forgotten.
    """

    def __init__(self, config: Config, changed: Callable[[], None], ticker: Ticker | None = None) -> None:
        self.levels = config.log.levels
        self.areas = config.log_areas
        self._changed = changed
        self._until: dict[Subject, float] = {}
        self._alarm = ticker.alarm(self._end_old) if ticker is not None else None

    # What operators do.

    @property
    def traces(self) -> Mapping[Subject, float]:
        """All traces, and the seconds that they last from now on."""
        now = trio.current_time()
        return {subject: until - now for subject, until in self._until.items() if until > now}

    def change_levels(self, levels: Levels, by: str = "") -> None:
        """Log from these levels upwards, at once. Raises `UnknownArea`."""
        for area in levels.areas:
            if area not in self.areas:
                raise UnknownArea(f"there is no area {area!r}; there are {', '.join(self.areas)}")
        self.levels = levels
        set_levels(levels)
        log.info("log levels changed", default=levels.level, areas=dict(levels.areas), by=by)
        self._changed()

    def trace(self, subject: Subject, seconds: float = TRACE_SECONDS, by: str = "") -> None:
        """Trace ``subject`` for so many seconds from now on. Raises `TooManyTraces`."""
        if subject not in self._until and len(self.traces) >= MOST_TRACES:
            raise TooManyTraces(f"there are {MOST_TRACES} traces already; end some of them")
        self._until[subject] = trio.current_time() + min(seconds, LONGEST_TRACE)
        log.info("trace begun", of=str(subject), seconds=min(seconds, LONGEST_TRACE), by=by)
        self._set_alarm()
        self._changed()

    def end_traces(self, subjects: Collection[Subject] | None = None, by: str = "") -> int:
        """End these traces, or all, and return how many there were."""
        ended = [subject for subject in self.traces if subjects is None or subject in subjects]
        for subject in ended:
            del self._until[subject]
            log.info("trace ended", of=str(subject), why="it was switched off", by=by)
        self._changed()
        return len(ended)

    def follow(self, levels: Levels, traces: Mapping[Subject, float]) -> None:
        """Be as the parent of all workers says, which has told the log already."""
        now = trio.current_time()
        self.levels = levels
        set_levels(levels)
        self._until = {subject: now + seconds for subject, seconds in traces.items()}
        self._set_alarm()
        self._changed()

    # What calls and connections ask.

    def wants_packets(self, call: TracedCall) -> bool:
        """Whether the PPP packets of ``call`` are logged."""
        return self.levels.of("ppp") == "debug" or (bool(self._until) and self._fits(call))

    def wants_messages(self, peer: IPv4Address, calls: Iterable[TracedCall]) -> bool:
        """Whether the control messages are logged of a control connection with ``peer`` that carries ``calls``."""
        if self.levels.of("connection") == "debug":
            return True
        if not self._until:
            return False
        return Subject("peer", str(peer)) in self._until or any(map(self._fits, calls))

    def _fits(self, call: TracedCall) -> bool:
        return any(subject.fits(call) for subject in self._until)

    # Time.

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.set(min(self._until.values(), default=inf))
        else:
            now = trio.current_time()
            self._until = {subject: until for subject, until in self._until.items() if until > now}

    def _end_old(self, now: float) -> None:
        for subject, until in list(self._until.items()):
            if until <= now:
                del self._until[subject]
                log.info("trace ended", of=str(subject), why="its time is over")
        self._set_alarm()
        self._changed()


class LocalTracing(Tracing):
    """The tracing of a process that has calls; ``connections`` are its control connections of now."""

    def __init__(self, config: Config, ticker: Ticker, connections: Callable[[], Iterable[TracedConnection]]) -> None:
        super().__init__(config, self._decide_anew, ticker)
        self._connections = connections

    def call_named(self, call: TracedCall) -> None:
        """The client of ``call`` has a name, which may be one that is traced."""
        if self._until and self._fits(call):
            for connection in self._connections():
                if connection.id == call.info.connection_id:
                    connection.retrace()

    def _decide_anew(self) -> None:
        for connection in self._connections():
            connection.retrace()
