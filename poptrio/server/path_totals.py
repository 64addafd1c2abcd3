"""What the paths of all calls have counted together, those of ended calls included.

An ended call is added to a running total once; the calls that there are now are walked through when somebody asks, in
slices, so that packets have their turn in between.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from operator import add, attrgetter
from typing import Protocol

import trio

from poptrio.datapath.base import PathCounters
from poptrio.server.slices import SLICE

COUNTED = tuple(field.name for field in fields(PathCounters) if not field.name.startswith("last_"))
"""The counters that can be added up."""

_VALUES = attrgetter(*COUNTED)


class CallWithCounters(Protocol):
    """What is needed of a call."""

    @property
    def counters(self) -> PathCounters:
        """What its path has counted; also after its end."""


class PathTotals:
    """Totals by the names of `COUNTED`."""

    def __init__(self) -> None:
        self._ended = (0,) * len(COUNTED)
        self._walking = trio.Lock()

    def call_ended(self, counters: PathCounters) -> None:
        """A call is over, and counts no more."""
        self._ended = _added(self._ended, counters)

    def count_on(self, ended: Mapping[str, int]) -> None:
        """Another process has counted these calls that are over (`ended`)."""
        self._ended = tuple(count + ended.get(name, 0) for name, count in zip(COUNTED, self._ended, strict=True))

    @property
    def ended(self) -> Counter[str]:
        """The total of calls that are over."""
        return _named(self._ended)

    async def total(self, calls: Callable[[], Sequence[CallWithCounters]]) -> Counter[str]:
        """The total with those of all ``calls``. Of two that are asked for one after the other, no later one is less.

        A call that ends meanwhile is counted as one of those that there were at the beginning.
        """
        async with self._walking:
            total, there = self._ended, calls()  # no checkpoint between the two
            for start in range(0, len(there), SLICE):
                for call in there[start : start + SLICE]:
                    total = _added(total, call.counters)
                await trio.lowlevel.checkpoint()
            return _named(total)


def _added(total: tuple[int, ...], counters: PathCounters) -> tuple[int, ...]:
    return tuple(map(add, total, _VALUES(counters)))


def _named(total: tuple[int, ...]) -> Counter[str]:
    return Counter({name: value for name, value in zip(COUNTED, total, strict=True) if value})
