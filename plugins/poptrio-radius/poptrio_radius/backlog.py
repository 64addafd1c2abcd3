"""What is to be sent, in memory: the unacknowledged records of each session in their order, and how many there may be.

No I/O and no clock. Order is kept within a session: one record of it is under way at a time, and the next follows when
that one is acknowledged. A record that counts traffic stands for every earlier one of its session that does (RFC 2866
counters are totals), so a newer Interim or the Stop takes the place of an Interim that has not been sent yet.
"""

import itertools
from collections import deque

from poptrio.api import AccountingKind
from poptrio_radius.spool_file import Record

LOOKED_AT = 1000
"""Sessions among which the oldest record is looked for: where there are more, nothing is sent and they are in order."""


class Backlog:
    """The unacknowledged records. Beyond ``limit`` the oldest Interims go; Starts and Stops never do."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queues: dict[str, deque[Record]] = {}
        self._interims: dict[int, Record] = {}  # those that may be dropped, the oldest first
        self._under_way: dict[str, Record] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def is_over_limit(self) -> bool:
        """Whether there are more Starts and Stops than ``limit``."""
        return self._length > self._limit

    @property
    def oldest(self) -> float | None:
        """When the oldest record happened, in Unix seconds, looked for among the sessions that wait longest."""
        waiting = itertools.islice(self._queues.values(), LOOKED_AT)
        return min((queue[0].time for queue in waiting), default=None)

    def limit_to(self, limit: int) -> list[Record]:
        """Another limit from now on. Returns what is dropped for it."""
        self._limit = limit
        dropped = []
        while self.is_over_limit and self._interims:
            dropped.append(next(iter(self._interims.values())))
            self._remove(dropped[-1])
        return dropped

    def add(self, record: Record) -> list[Record]:
        """Put ``record`` behind the others of its session. Returns those that are dropped for it."""
        queue = self._queues.setdefault(record.session_id, deque())
        dropped = []
        if record.kind is not AccountingKind.START and queue and queue[-1].number in self._interims:
            dropped.append(queue[-1])
            self._remove(queue[-1])
            queue = self._queues.setdefault(record.session_id, deque())
        queue.append(record)
        self._length += 1
        if record.kind is AccountingKind.INTERIM:
            self._interims[record.number] = record
        if self.is_over_limit and self._interims:
            oldest = next(iter(self._interims.values()))
            dropped.append(oldest)
            self._remove(oldest)
        return dropped

    def take(self, session_id: str) -> Record | None:
        """The record of this session that is to be sent now, which is then under way; None if there is none."""
        queue = self._queues.get(session_id)
        if queue is None or session_id in self._under_way:
            return None
        record = queue[0]
        self._under_way[session_id] = record
        self._interims.pop(record.number, None)
        return record

    def acknowledge(self, record: Record) -> None:
        """A server has it."""
        del self._under_way[record.session_id]
        self._remove(record)

    def put_back(self, record: Record) -> list[Record]:
        """No server has taken it. Returns what need not be sent any more: itself, when a later record covers it."""
        del self._under_way[record.session_id]
        if record.kind is not AccountingKind.INTERIM:
            return []
        if len(self._queues[record.session_id]) > 1:
            self._remove(record)
            return [record]
        # Older than most, so it goes to the front; a rare event, and the dictionary is bounded.
        self._interims = {record.number: record} | self._interims
        return []

    def has(self, session_id: str) -> bool:
        """Whether anything of this session is left."""
        return session_id in self._queues

    def waits_for(self, session_id: str, kind: AccountingKind) -> bool:
        """Whether a record of this kind of this session is left."""
        return any(record.kind is kind for record in self._queues.get(session_id, ()))

    def sessions(self) -> list[str]:
        """The sessions with something left, the one that has waited longest first."""
        return list(self._queues)

    def _remove(self, record: Record) -> None:
        queue = self._queues[record.session_id]
        queue.remove(record)
        if not queue:
            del self._queues[record.session_id]
        self._interims.pop(record.number, None)
        self._length -= 1
