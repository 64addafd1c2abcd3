"""The growing delay after failed authentications, per client address and per user.

Who guesses passwords waits longer each time; who mistypes once hardly notices. Only the attempt itself waits, in the
task of its own call. Attempts on one key stand in line behind each other once there has been a failure, or parallel
calls would guess without waiting; before any failure nobody waits, for an office behind one NAT gateway dials at once.
"""

import math
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import trio

FORGET_AFTER = 600.0
"""Seconds without a failure after which an address or user starts afresh."""

MOST_REMEMBERED = 20_000
"""Addresses and users remembered at most; the one that failed longest ago is forgotten first."""

LONGEST_USER_QUEUE = 3
LONGEST_ADDRESS_QUEUE = 2
"""How long an attempt may have to stand in line, in longest delays; more, and it is refused unasked.

Fewer for an address than for a user: one address alone cannot fill the line of a user who dials from elsewhere.
"""

MOST_JUDGED = 4
"""Attempts for one user judged at the same time although none has failed yet: a user with several machines."""

KEY_LENGTH = 256
"""Characters of a user name that count; longer ones share a record."""


class TooManyAttempts(Exception):
    """So many attempts stand in line that this one is refused without asking anybody; ``seconds`` is its wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.1f} seconds")
        self.seconds = seconds


@dataclass(slots=True)
class _Record:
    """One address or user; where attempts ahead count like failures, its delay ``grows`` with them.

    ``attempts`` are all in flight, ``ahead`` those of them with a place in line, ``judged`` those that are judged just
    now. ``begin`` is when the last one in line may begin, ``longest_queue`` how far that may be from now, in longest
    delays.
    """

    key: str
    grows: bool
    longest_queue: float
    failures: int = 0
    last_failure: float = 0.0
    attempts: int = 0
    ahead: int = 0
    judged: int = 0
    begin: float = -math.inf
    changed: trio.Event = field(default_factory=trio.Event)


class Throttle:
    """Delays in seconds: ``first`` after one failure, doubled by each further one, ``longest`` at most; 0 is none.

    ``waiting`` attempts stand in line now, ``too_many`` were refused since the start because a line was too long.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self.waiting = 0
        self.too_many = 0
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def configure(self, first: float, longest: float) -> None:
        """Other delays from now on; who waits already goes on waiting as long."""
        self._first = first
        self._longest = longest

    @asynccontextmanager
    async def attempt(self, address: IPv4Address, user: str) -> AsyncIterator[None]:
        """Wait until an attempt may be judged, and hold its place while the body judges it.

        Raises `TooManyAttempts` at once, instead of waiting, when the line is too long.
        """
        records = of_user, _ = self._records_of(address, user)
        line: list[_Record] = []
        for record in records:
            record.attempts += 1
        try:
            self.waiting += 1
            try:
                while not (line := self._stand_in_line(records)) and of_user.judged >= MOST_JUDGED:
                    await of_user.changed.wait()
                if line:
                    await trio.sleep_until(line[0].begin)
                while busy := next((record for record in line if record.judged), None):
                    await busy.changed.wait()
            finally:
                self.waiting -= 1
            for record in records:
                record.judged += 1
            try:
                yield
            finally:
                for record in records:
                    record.judged -= 1
        finally:
            for record in line:
                record.ahead -= 1
            for record in records:
                self._leave(record)

    def failed(self, address: IPv4Address, user: str) -> None:
        """The attempt was refused."""
        now = trio.current_time()
        for record in self._records_of(address, user):
            record.failures += 1
            record.last_failure = now
            self._records.move_to_end(record.key)
        while len(self._records) > MOST_REMEMBERED or self._is_over(next(iter(self._records.values())), now):
            self._records.popitem(last=False)

    def succeeded(self, address: IPv4Address, user: str) -> None:
        """The attempt was good: the user starts afresh; the address is forgiven one failure.

        Not all of them, or a login of one's own would buy any number of guesses at others.
        """
        of_user, from_address = self._records_of(address, user)
        of_user.failures = 0
        from_address.failures = max(0, from_address.failures - 1)
        for record in (of_user, from_address):
            self._drop_if_idle(record)

    def _records_of(self, address: IPv4Address, user: str) -> tuple[_Record, _Record]:
        """The records of a user and of an address, in this order."""
        now = trio.current_time()
        return (
            self._record(f"user {user[:KEY_LENGTH].casefold()}", True, LONGEST_USER_QUEUE, now),
            self._record(f"address {address}", False, LONGEST_ADDRESS_QUEUE, now),
        )

    def _record(self, key: str, grows: bool, longest_queue: float, now: float) -> _Record:
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record(key, grows, longest_queue)
        elif now - record.last_failure > FORGET_AFTER:
            record.failures = 0
        return record

    def _stand_in_line(self, records: tuple[_Record, _Record]) -> list[_Record]:
        """Take a place in the line of each record that has failures; ``begin`` of all of them is when it is there."""
        now = trio.current_time()
        line = [record for record in records if self._delay(record)]
        if line:
            begins = [max(now, record.begin) + self._delay(record) for record in line]
            longest = (record.longest_queue * self._longest for record in line)
            if any(begin - now > wait for begin, wait in zip(begins, longest, strict=True)):
                self.too_many += 1
                raise TooManyAttempts(max(begins) - now)
            begin = max(begins)
            for record in line:
                record.begin = begin
                record.ahead += 1
        return line

    def _delay(self, record: _Record) -> float:
        """How long after the one before it an attempt may begin.

        For a user, attempts ahead count like failures: they will be, if they are guesses. For an address they do not:
        they may be of the many people behind a NAT gateway.
        """
        if not record.failures:
            return 0.0
        pressure = record.failures + (record.ahead if record.grows else 0)
        return min(self._longest, self._first * 2.0 ** min(pressure - 1, 30))

    def _leave(self, record: _Record) -> None:
        """One attempt less; who waits for the others looks again."""
        record.attempts -= 1
        if record.attempts:
            changed, record.changed = record.changed, trio.Event()
            changed.set()
        else:
            self._drop_if_idle(record)

    def _drop_if_idle(self, record: _Record) -> None:
        if not record.failures and not record.attempts and self._records.get(record.key) is record:
            del self._records[record.key]

    def _is_over(self, record: _Record, now: float) -> bool:
        return not record.attempts and now - record.last_failure > FORGET_AFTER
