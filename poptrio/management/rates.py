"""Octets per second of every call, between two looks at their counters; looked at only while somebody asks."""

from collections.abc import Sequence

import trio

from poptrio.server.call_events import ObservedCall
from poptrio.server.slices import SLICE

INTERVAL = 1.0
"""Seconds between two looks at least: those who ask more often see the same rates."""

STALE = 30.0
"""Seconds after which an old look is no beginning of a rate any more."""


class Rates:
    """The rates of all calls of one server."""

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._octets: dict[str, tuple[int, int]] = {}
        self._rates: dict[str, tuple[float, float]] = {}
        self._looking = False

    async def look(self, calls: Sequence[ObservedCall]) -> None:
        """Bring the rates up to date, unless that was done a moment ago."""
        now = trio.current_time()
        elapsed = now - self._looked_at
        if elapsed < INTERVAL or self._looking:
            return
        self._looking = True
        try:
            octets: dict[str, tuple[int, int]] = {}
            rates: dict[str, tuple[float, float]] = {}
            for number, call in enumerate(calls):
                if number % SLICE == SLICE - 1:
                    await trio.lowlevel.checkpoint()
                counters, session_id = call.counters, call.info.session_id
                seen = octets[session_id] = counters.bytes_in, counters.bytes_out
                before = self._octets.get(session_id)
                if before is not None and elapsed < STALE and seen != before:
                    rates[session_id] = (seen[0] - before[0]) / elapsed, (seen[1] - before[1]) / elapsed
            self._looked_at, self._octets, self._rates = now, octets, rates
        finally:
            self._looking = False

    def of(self, session_id: str) -> tuple[float, float]:
        """Octets per second from and to the client; 0 where nothing moved, or nobody has looked twice yet."""
        return self._rates.get(session_id, (0.0, 0.0))
