"""What a load run measured: one value for each phase, and what they are in JSON."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import trio

from poptrio.client.histogram import Histogram
from poptrio.client.steps import Step

MOST_REASONS = 100
"""Reasons told apart for one step; more are counted as other ones."""

OTHER_REASONS = "other reasons"


class Stopwatch:
    """Time on Trio's clock, and CPU time of this process, since it was made."""

    __slots__ = ("_cpu_begun", "begun")

    def __init__(self) -> None:
        self.begun = trio.current_time()
        self._cpu_begun = time.process_time()

    @property
    def seconds(self) -> float:
        """Seconds since then."""
        return trio.current_time() - self.begun

    @property
    def cpu(self) -> float:
        """Seconds of CPU since then."""
        return time.process_time() - self._cpu_begun

    def rate(self, count: int) -> float:
        """So many per second; 0.0 where no time has passed."""
        seconds = self.seconds
        return count / seconds if seconds else 0.0


class Reasons:
    """How often something failed, and why."""

    def __init__(self) -> None:
        self.count = 0
        self._reasons: Counter[str] = Counter()

    def add(self, why: str) -> None:
        """Count one more."""
        self.count += 1
        known = why in self._reasons or len(self._reasons) < MOST_REASONS
        self._reasons[why if known else OTHER_REASONS] += 1

    def failures(self, where: str) -> "Failures":
        """The sum."""
        return Failures(where, self.count, *self._reasons.most_common(1)[0])


@dataclass(frozen=True, slots=True)
class Failures:
    """Calls that failed at a step, named by its label, with the commonest reason and how many had that one."""

    step: str
    count: int
    reason: str
    with_this_reason: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """Durations in seconds; None where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None
    longest: float | None

    @classmethod
    def of(cls, durations: Histogram) -> "Distribution":
        """What ``durations`` hold."""
        return cls(*map(durations.percentile, (50, 95, 99, 100)))


@dataclass(frozen=True, slots=True)
class SetUps:
    """The first phase. ``seconds`` are from the first TCP connection until the last call was up or had failed.

    ``cpu`` here and in the other phases are seconds of CPU that this process took for it;
    ``cpu_per_call`` is its share for each call that was begun.
    """

    begun: int
    up: int
    seconds: float
    per_second: float
    duration: Distribution
    cpu: float
    cpu_per_call: float


@dataclass(frozen=True, slots=True)
class Held:
    """The second phase: how many calls were up at its end."""

    up: int
    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Packets:
    """The third phase: inner packets of ``size`` octets. ``lost`` is what had no reply.

    ``received_per_second`` counts the replies that came while requests were sent, not those after the last one.
    """

    size: int
    seconds: float
    sent: int
    received: int
    lost: int
    sent_per_second: float
    received_per_second: float
    round_trip: Distribution
    cpu: float
    cpu_per_packet: float


@dataclass(frozen=True, slots=True)
class HangUps:
    """The last phase; ``vanished``: the calls ended without a goodbye."""

    calls: int
    vanished: bool
    seconds: float
    per_second: float
    cpu: float


@dataclass(frozen=True, slots=True)
class LoadReport:
    """All of it. A phase that did not happen is None; ``lost`` are calls that had been up and were ended by others."""

    calls: int
    set_ups: SetUps
    failures: tuple[Failures, ...]
    lost: Failures | None
    held: Held | None
    packets: Packets | None
    hang_ups: HangUps
    interrupted: bool

    @property
    def clean(self) -> bool:
        """Whether every call came up and stayed."""
        return self.set_ups.up == self.calls and self.lost is None and not self.interrupted

    def as_json(self) -> Mapping[str, object]:
        """Every number, seconds to the microsecond."""
        return {"clean": self.clean, **_rounded(asdict(self))}


@dataclass(slots=True)
class FailuresByStep:
    """Counts failures while calls are made."""

    _steps: dict[Step, Reasons] = field(default_factory=dict)

    def add(self, step: Step, why: str) -> None:
        """One more call failed at ``step``."""
        self._steps.setdefault(step, Reasons()).add(why)

    @property
    def count(self) -> int:
        """How many calls failed."""
        return sum(reasons.count for reasons in self._steps.values())

    def failures(self) -> tuple[Failures, ...]:
        """One entry for each step at which a call failed, in the order of the steps."""
        return tuple(self._steps[step].failures(step.label) for step in Step if step in self._steps)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(member) for member in value]
    return round(value, 6) if isinstance(value, float) else value
