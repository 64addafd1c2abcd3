"""The growing delay after failed authentications, per client address and per user.

Who guesses passwords waits longer each time; who mistypes once hardly notices. Only the attempt itself waits, in the
task of its own call.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

FORGET_AFTER = 600.0
"""Seconds without a failure after which an address or user starts afresh."""

MOST_REMEMBERED = 20_000
"""Addresses and users remembered at most; the one that failed longest ago is forgotten first."""


@dataclass(slots=True)
class _Record:
    failures: int = 0
    waiting: int = 0
    last_failure: float = 0.0


class Throttle:
    """Delays in seconds: ``first`` after one failure, doubled by each further one, ``longest`` at most; 0 is none."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._records: OrderedDict[str, _Record] = OrderedDict()

    @contextmanager
    def attempt(self, *keys: str, now: float) -> Iterator[float]:
        """The delay of an attempt for all its keys, which counts as one in flight until the block is left.

        Attempts in flight count like failures where one has happened, or parallel calls would guess without waiting.
        """
        records = [record for record in (self._get(key, now) for key in keys) if record is not None]
        pressure = max((record.failures + record.waiting for record in records), default=0)
        for record in records:
            record.waiting += 1
        try:
            yield min(self._longest, self._first * 2 ** min(pressure - 1, 30)) if pressure else 0.0
        finally:
            for record in records:
                record.waiting -= 1

    def failed(self, *keys: str, now: float) -> None:
        """The attempt was refused."""
        for key in keys:
            record = self._get(key, now) or _Record()
            record.failures += 1
            record.last_failure = now
            self._records[key] = record
            self._records.move_to_end(key)
        while len(self._records) > MOST_REMEMBERED:
            self._records.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        """The attempt was good: all is forgotten."""
        for key in keys:
            self._records.pop(key, None)

    def _get(self, key: str, now: float) -> _Record | None:
        record = self._records.get(key)
        if record is not None and now - record.last_failure > FORGET_AFTER:
            del self._records[key]
            return None
        return record
