"""What is measured, and how it is told: metrics, histograms, health and pools, the same for the server and its plugins.

A `Metric` describes, once, at the top of a file; a `Measurement` is its value now. Whatever counts keeps plain numbers
and `Histogram` objects, and says what they are only when somebody asks.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Literal, Self

MetricKind = Literal["counter", "gauge", "histogram"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds for how long something took: from a hash table's to a dead directory's."""

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class Histogram:
    """How many values were at most each of ``bounds``, ascending, and how many were above the last; and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: "Histogram") -> None:
        """Count all that ``other``, which has the same bounds, has counted."""
        assert self.bounds == other.bounds
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def taken(self) -> "Histogram":
        """All that was counted since the last time, which is then forgotten here."""
        taken = Histogram(self.bounds)
        taken.counts, self.counts = self.counts, taken.counts
        taken.sum, self.sum = self.sum, 0.0
        return taken

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """Each bound, the last one infinite, with how many values were not above it."""
        total, result = 0, []
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            total += count
            result.append((bound, total))
        return result


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that is measured. ``help`` says which question it answers; ``labels`` are the names of its labels.

    ``name`` is in lower case with underscores and in base units: ``reply_seconds``, ``spool_records``. Leave out the
    name of the plugin, which is put before it, and ``_total``, which is put behind that of a counter. The values of
    labels must come from a small set: never the name of a user, an address of a client, or a number of a call. Raises
    ValueError for a name that cannot be one.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError."""
        for name in (self.name, *self.labels):
            if not _NAME.fullmatch(name) or name.endswith("_total") or name == "le":
                raise ValueError(f"{name!r} is no name for a metric or a label: write it like spool_records")

    def at(self, value: "float | Histogram", *labels: str) -> "Measurement":
        """Its ``value`` for these values of its labels, in their order."""
        return Measurement(self, value, labels)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The ``value`` of a `Metric` now, for one value of each of its labels; a `Histogram` for a histogram."""

    metric: Metric
    value: "float | Histogram"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError where it does not fit its metric."""
        metric = self.metric
        if len(self.labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {len(self.labels)} of them")
        if isinstance(self.value, Histogram) != (metric.kind == "histogram"):
            raise ValueError(f"{metric.name} is a {metric.kind}, which has no value {self.value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a plugin can do its work now: ``ok``, and a ``sentence`` about it for an operator.

    ``remedy`` says what to do where it is not ok; ``details`` are further facts by name, without secrets.
    """

    ok: bool
    sentence: str
    remedy: str = ""
    details: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLease:
    """An address that is held: by a call of this user."""

    address: IPv4Address
    user: str
    session_id: str


def _nobody() -> Iterable[PoolLease]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """A pool of inner addresses: its ``size``, how many are ``held``, and ``leases``, which tells by whom.

    ``leases`` is called when somebody wants to see them, and may be read in part; it must not wait for anything.
    """

    name: str
    size: int
    held: int
    leases: Callable[[], Iterable[PoolLease]] = field(default=_nobody, repr=False, compare=False)

    @property
    def free(self) -> int:
        """How many calls can still have one."""
        return self.size - self.held

    @classmethod
    def of(cls, name: str, size: int, leases: Sequence[PoolLease]) -> Self:
        """A pool all of whose leases are known now."""
        return cls(name=name, size=size, held=len(leases), leases=lambda: leases)
