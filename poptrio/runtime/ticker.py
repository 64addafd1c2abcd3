"""The one task for the timers of all calls; a task per timer would cost 2 KiB each.

An `Alarm` belongs to one call and is set again and again, mostly to later times. It therefore stands in the heap only
where it must, and is looked at again when that time comes, instead of being moved on every change.
"""

import heapq
import math
from collections.abc import Callable

import trio

FAR = 5.0
"""Seconds from which on an alarm may ring a little late, so that many ring together: each time costs a wake-up."""

GRID = 1.0
"""Seconds between two of the moments at which those ring."""

AT_ONCE = 64
"""Alarms that ring before others have a turn: some milliseconds."""


class Ticker:
    """Rings alarms in the order of their deadlines on the Trio clock; sleeps until the next one."""

    def __init__(self) -> None:
        self._times: list[float] = []  # a heap, each once: far alarms have few, and it stays small
        self._alarms: dict[float, list[Alarm]] = {}  # to be looked at then, in the order in which they were set
        self._scope = trio.CancelScope()

    def alarm(self, ring: Callable[[float], None]) -> "Alarm":
        """A new alarm, not set. ``ring(now)`` returns at once and does not raise."""
        return Alarm(self, ring)

    async def run(self) -> None:
        """Ring what is due, for ever."""
        while True:
            with trio.CancelScope() as self._scope:
                self._scope.deadline = self._times[0] if self._times else math.inf
                await trio.sleep_forever()
            while self._times and self._times[0] <= trio.current_time():
                self._ring_some(trio.current_time())
                await trio.lowlevel.checkpoint()

    def _ring_some(self, now: float) -> None:
        """Ring some of the earliest, which are due."""
        when = self._times[0]
        alarms = self._alarms[when]
        some = alarms[:AT_ONCE]
        del alarms[:AT_ONCE]
        if not alarms:
            heapq.heappop(self._times)
            del self._alarms[when]
        for alarm in some:
            alarm.reached(when, now)

    def enter(self, when: float, alarm: "Alarm") -> None:
        """Look at ``alarm`` at ``when``."""
        alarms = self._alarms.get(when)
        if alarms is not None:
            alarms.append(alarm)
            return
        self._alarms[when] = [alarm]
        heapq.heappush(self._times, when)
        if when < self._scope.deadline:
            self._scope.deadline = when


class Alarm:
    """One timer that can be set, moved and cleared at no cost."""

    __slots__ = ("_deadline", "_entered", "_ring", "_ticker")

    def __init__(self, ticker: Ticker, ring: Callable[[float], None]) -> None:
        self._ticker = ticker
        self._ring: Callable[[float], None] | None = ring
        self._deadline = math.inf
        self._entered = math.inf

    def set(self, deadline: float) -> None:
        """Ring at ``deadline`` instead of any earlier choice; infinity: do not ring."""
        if deadline == self._deadline:
            return
        self._deadline = deadline
        if deadline < self._entered and self._ring is not None:
            if deadline - trio.current_time() > FAR:
                deadline = math.ceil(deadline / GRID) * GRID
                if deadline >= self._entered:
                    return
            self._entered = deadline
            self._ticker.enter(deadline, self)

    def close(self) -> None:
        """Never ring again."""
        self._ring = None

    def reached(self, when: float, now: float) -> None:
        """The time of an entry has come: ring, or wait on if the alarm was moved."""
        if self._ring is None or when != self._entered:
            return
        self._entered = math.inf
        deadline, self._deadline = self._deadline, math.inf
        if deadline > now:
            self.set(deadline)
        else:
            self._ring(now)
