"""How late the event loop is: by how much a task that sleeps wakes up too late, because others had the thread."""

import trio

from poptrio.measurements import Histogram

INTERVAL = 0.25
"""Seconds between two measurements: four wake-ups a second, whatever the number of calls."""

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """What `run` has measured, in seconds; ``longest`` since somebody set it back."""

    __slots__ = ("histogram", "longest")

    def __init__(self) -> None:
        self.histogram = Histogram(BOUNDS)
        self.longest = 0.0

    def observe(self, seconds: float) -> None:
        """One measurement."""
        self.histogram.observe(seconds)
        self.longest = max(self.longest, seconds)

    def add(self, other: "LoopLag") -> None:
        """All that ``other`` has measured."""
        self.histogram.add(other.histogram)
        self.longest = max(self.longest, other.longest)

    def taken(self) -> "LoopLag":
        """All that was measured since the last time, which is then forgotten here."""
        taken = LoopLag()
        taken.histogram, taken.longest = self.histogram.taken(), self.longest
        self.longest = 0.0
        return taken

    async def run(self) -> None:
        """Measure, for ever."""
        while True:
            due = trio.current_time() + INTERVAL
            await trio.sleep_until(due)
            self.observe(trio.current_time() - due)
