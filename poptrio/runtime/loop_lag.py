"""How late the event loop is: by how much a task that sleeps wakes up too late, because others had the thread."""

from collections import deque
from dataclasses import dataclass

import trio

from poptrio.measurements import Histogram

INTERVAL = 0.25
"""Seconds between two measurements: four wake-ups a second, whatever the number of calls."""

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

WINDOW = 60.0
"""Seconds for which the longest lag is remembered: whoever asks once a minute misses none, however many ask."""

SLOT = 5.0
"""Seconds that share one longest lag; it is forgotten up to so much later than after `WINDOW`."""


@dataclass(frozen=True)
class NewLag:
    """What was measured since the last time that somebody took it, in seconds."""

    histogram: Histogram
    longest: float


class LoopLag:
    """What `run` has measured, in seconds."""

    __slots__ = ("_peaks", "_untaken", "histogram")

    def __init__(self) -> None:
        self.histogram = Histogram(BOUNDS)
        self._peaks = deque[tuple[int, float]](maxlen=int(WINDOW / SLOT) + 1)
        self._untaken = 0.0

    @property
    def longest(self) -> float:
        """The longest lag of the last `WINDOW`; reading it changes nothing."""
        oldest = _slot() - WINDOW / SLOT
        return max((peak for slot, peak in self._peaks if slot >= oldest), default=0.0)

    def observe(self, seconds: float) -> None:
        """One measurement."""
        self.histogram.observe(seconds)
        self._untaken = max(self._untaken, seconds)
        self._peaked(seconds)

    def add(self, new: NewLag) -> None:
        """What another process has measured, whose clock is not ours: it counts as if it were measured now."""
        self.histogram.add(new.histogram)
        self._peaked(new.longest)

    def taken(self) -> NewLag:
        """What was measured since the last time. The histogram is then empty here."""
        taken = NewLag(self.histogram.taken(), self._untaken)
        self._untaken = 0.0
        return taken

    def _peaked(self, seconds: float) -> None:
        slot = _slot()
        if self._peaks and self._peaks[-1][0] == slot:
            seconds = max(seconds, self._peaks.pop()[1])
        self._peaks.append((slot, seconds))

    async def run(self) -> None:
        """Measure, for ever."""
        while True:
            due = trio.current_time() + INTERVAL
            await trio.sleep_until(due)
            self.observe(trio.current_time() - due)


def _slot() -> int:
    return int(trio.current_time() // SLOT)
