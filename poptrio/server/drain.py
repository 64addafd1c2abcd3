"""Draining: a server takes no new calls, and stops when those that it has are over, or when a deadline passes."""

import math
from collections.abc import Callable

import structlog
import trio

from poptrio.server.refusals import DRAINING

WHY = f"{DRAINING}: it takes no new calls and stops when those that it has are over"
"""Why a call is refused meanwhile."""

log = structlog.get_logger("poptrio.server")


class Drain:
    """The draining of one server, which has ``call_count()`` calls and is stopped by ``stop``.

    Whoever ends a call tells it by `call_over`; there is a task only while the server drains.
    """

    def __init__(self, call_count: Callable[[], int], stop: Callable[[], None]) -> None:
        self.active = False
        self.deadline = math.inf
        self._call_count = call_count
        self._stop = stop
        self._changed = trio.Event()
        self._waiting = False

    @property
    def seconds_left(self) -> float | None:
        """Seconds until calls that are left are ended; None where there is no deadline, or nothing is drained."""
        if not self.active or self.deadline == math.inf:
            return None
        return max(0.0, self.deadline - trio.current_time())

    def begin(self, nursery: trio.Nursery, seconds: float | None) -> None:
        """Drain, in a task of ``nursery``; the calls that are left after ``seconds`` are ended.

        None is no deadline. Again: another deadline.
        """
        self.active = True
        self.deadline = math.inf if seconds is None else trio.current_time() + seconds
        log.info("draining", calls=self._call_count(), seconds=seconds)
        self._changed.set()
        if not self._waiting:
            self._waiting = True
            nursery.start_soon(self._wait)

    def cancel(self) -> bool:
        """Take it back; whether there was anything to take back."""
        if not self.active:
            return False
        self.active = False
        self._changed.set()
        log.info("drain cancelled", calls=self._call_count())
        return True

    def call_over(self) -> None:
        """There is one call less."""
        if self.active:
            self._changed.set()

    def end(self) -> None:
        """The server stops anyway."""
        self.active = False
        self._changed.set()

    async def _wait(self) -> None:
        try:
            while self.active:
                self._changed = trio.Event()
                left = self._call_count()
                if not left or trio.current_time() >= self.deadline:
                    log.info("drain over", calls=left)
                    self._stop()
                    return
                with trio.move_on_at(self.deadline):
                    await self._changed.wait()
        finally:
            self._waiting = False
