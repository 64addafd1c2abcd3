"""What the paths of all calls have counted together, those of ended calls included.

An ended call is added to a running total once; the calls that there are now are walked through when somebody asks, in
slices, so that packets have their turn in between.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Protocol

import trio

from poptrio.datapath.base import PathCounters

SLICE = 200
"""Calls between two checkpoints: less than a millisecond."""

COUNTED = tuple(field.name for field in fields(PathCounters) if not field.name.startswith("last_"))
"""The counters that can be added up."""


class CallWithCounters(Protocol):
    """What is needed of a call."""

    @property
    def counters(self) -> PathCounters:
        """What its path has counted; also after its end."""


class PathTotals:
    """Totals by the names of `COUNTED`; ``ended`` are those of calls that are over."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self._walking = trio.Lock()

    def call_ended(self, counters: PathCounters) -> None:
        """A call is over, and counts no more."""
        for name in COUNTED:
            if value := getattr(counters, name):
                self.ended[name] += value

    async def total(self, calls: Callable[[], Sequence[CallWithCounters]]) -> Counter[str]:
        """The total with those of all ``calls``. Of two that are asked for one after the other, no later one is less.

        A call that ends meanwhile is counted as one of those that there were at the beginning.
        """
        async with self._walking:
            total, there = Counter(self.ended), calls()  # no checkpoint between the two
            for start in range(0, len(there), SLICE):
                for call in there[start : start + SLICE]:
                    counters = call.counters
                    for name in COUNTED:
                        if value := getattr(counters, name):
                            total[name] += value
                await trio.lowlevel.checkpoint()
            return total
