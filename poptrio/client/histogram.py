"""How durations are distributed, in bounded memory however many there are."""

import math
from collections.abc import Iterator
from itertools import accumulate

_STEP = math.log(1.02)
_SHORTEST = 1e-6


class Histogram:
    """Durations in seconds, from a microsecond on, in classes of 2 %: a thousand counters are enough for minutes."""

    __slots__ = ("_classes", "count", "longest")

    def __init__(self) -> None:
        self._classes: dict[int, int] = {}
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        number = int(math.log(seconds / _SHORTEST) / _STEP) if seconds > _SHORTEST else 0
        self._classes[number] = self._classes.get(number, 0) + 1
        self.count += 1
        if seconds > self.longest:
            self.longest = seconds

    def percentile(self, percent: float) -> float | None:
        """Seconds that so many percent of the durations do not exceed, to 2 %; None where there are none."""
        wanted = math.ceil(self.count * percent / 100)
        for upper_end, reached in self._cumulated():
            if reached >= wanted:
                return min(upper_end, self.longest)
        return None

    def _cumulated(self) -> Iterator[tuple[float, int]]:
        """The upper end of each class in seconds, and how many durations there are up to it."""
        numbers = sorted(self._classes)
        counts = accumulate(self._classes[number] for number in numbers)
        return zip((_SHORTEST * math.exp((number + 1) * _STEP) for number in numbers), counts, strict=True)
