"""The one timer of a data path: what its calls wait for, in one heap and one task, which sleeps while nobody waits.

Only what GRE needs, a tenth of a second and less, is here; the deadlines of PPP and the control connection are not.
"""

import heapq
import itertools
from collections.abc import Callable
from math import inf

import trio


class Timers:
    """Calls back at given times. ``call_at`` may be used before and while `run` runs, from its thread."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()  # the same time: first come, first served
        self._sleep = trio.CancelScope()

    def call_at(self, deadline: float, action: Callable[[float], None]) -> None:
        """Call ``action(now)`` at ``deadline`` on Trio's clock. It must not raise, and cannot be taken back."""
        heapq.heappush(self._heap, (deadline, next(self._order), action))
        if deadline < self._sleep.deadline:
            self._sleep.deadline = deadline

    async def run(self) -> None:
        """Call back until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._heap[0][0] if self._heap else inf) as self._sleep:
                await trio.sleep_forever()
            self._call_due(trio.current_time())

    def _call_due(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            heapq.heappop(heap)[2](now)
