"""`Seldom`: what strangers can cause often is logged seldom, with how often it was."""

from collections.abc import Callable

INTERVAL = 60.0
"""Seconds for which what happens again is only counted."""


class Seldom:
    """Counts events by kind; there are few kinds. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}  # when the last was logged, and how many came since

    def due(self, kind: str) -> int | None:
        """Count one more of ``kind``. How many have come since the last was logged if it is time to log one."""
        now = self._clock()
        logged, count = self._kinds.get(kind, (now - INTERVAL, 0))
        count += 1
        if now - logged < INTERVAL:
            self._kinds[kind] = (logged, count)
            return None
        self._kinds[kind] = (now, 0)
        return count
