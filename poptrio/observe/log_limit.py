"""A limit on log lines that strangers can cause: so many of each kind, then one line that says how many were left out.

Without it, whoever reaches TCP port 1723 can fill the disk.
"""

from collections import Counter

import structlog
import trio

MOST_LINES = 50
"""Lines of one kind in one `PERIOD`: more than anybody reads, and a scan still shows where it comes from."""

PERIOD = 10.0
"""Seconds."""

log = structlog.get_logger("poptrio.server")


class LogLimit:
    """Counts log lines by kind, which is the event of the line. `run` reports what was left out after each period.

    ``left_out`` counts the same lines over all time.
    """

    def __init__(self, left_out: Counter[str] | None = None) -> None:
        self.left_out: Counter[str] = Counter() if left_out is None else left_out
        self._lines: Counter[str] = Counter()
        self._begun = trio.Event()

    def allows(self, kind: str) -> bool:
        """Count one more line of this kind; False when it is to be left out."""
        self._lines[kind] += 1
        self._begun.set()
        allowed = self._lines[kind] <= MOST_LINES
        if not allowed:
            self.left_out[kind] += 1
        return allowed

    async def run(self) -> None:
        """Report and start afresh `PERIOD` after the first line of each period, for ever."""
        try:
            while True:
                await self._begun.wait()
                await trio.sleep(PERIOD)
                self._report()
        finally:
            self._report()

    def _report(self) -> None:
        for kind, lines in self._lines.items():
            if lines > MOST_LINES:
                log.warning("lines left out", of=kind, count=lines - MOST_LINES)
        self._lines.clear()
        self._begun = trio.Event()
