"""Accounting records from the moment they happen until a server has acknowledged them: on disk first, then to send.

`Spool.put` takes a record without waiting. `Spool.run` writes, in a thread, whatever has come since its last write, in
one transaction: under load a write takes many records. Only what is on the disk goes into the `Backlog`, from which
`poptrio_radius.delivery` sends, so a server never knows of a session that a crash makes us forget. When the disk
fails, records are kept in memory and sent from there, and the write is tried again until it succeeds.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import structlog
import trio

from poptrio.api import AccountingKind
from poptrio_radius.backlog import Backlog
from poptrio_radius.spool_file import Batch, OpenSession, Record, SpoolFile

RETRY_INTERVAL = 5.0
"""Seconds after which a write that failed is tried again."""

EMPTY_ENOUGH = 0.9
"""Of the limit: so far a full spool must have emptied before the log says again that it is full."""

log = structlog.get_logger("poptrio.radius")

Write = Callable[[Callable[[Batch], None], Batch], Awaitable[None]]
"""Calls a blocking function with a batch, somewhere else, and waits for its end."""


StopOf = Callable[[OpenSession], bytes]


async def in_thread(write: Callable[[Batch], None], batch: Batch) -> None:
    """The way of a server. Not to be abandoned: the file is written to from one thread at a time."""
    await trio.to_thread.run_sync(write, batch)


class Spool:
    """What no server has acknowledged. ``limit`` is how many records there may be before Interims are dropped.

    ``stop_of`` makes the attributes of the Stop of a session that a crash cut off; where another process is
    ``continued``, none was: they are ``open_sessions``. ``ready`` is called with a session that has something to send.
    ``dropped`` counts Interims that were given up, because a later record says more, or because there were too many.
    """

    def __init__(
        self, file: SpoolFile, limit: int, stop_of: StopOf, *, continued: bool = False, write: Write = in_thread
    ) -> None:
        self._file = file
        self._write = write
        self._pending = Batch()
        self._writing = Batch()
        self._changed = trio.Event()
        self._written = trio.Event()
        self._acknowledged = trio.Event()
        self._failing = False
        self._full = False
        self._last_number = 0  # given to a record
        self._last_entered = 0  # of the records that went into the backlog
        self.limit = limit
        self.backlog = Backlog(limit)
        self.dropped = 0
        self.ready: Callable[[str], None] = lambda session_id: None
        self.open_sessions = file.open_sessions() if continued else []
        for record in file.records() if continued else file.recover(stop_of):
            self._last_number = record.number
            self._enter(record)

    def sessions_to_send(self) -> list[str]:
        """The sessions with something to send, the one that has waited longest first."""
        return self.backlog.sessions()

    def limit_to(self, limit: int) -> None:
        """Another limit from now on."""
        self.limit = limit
        dropped = self.backlog.limit_to(limit)
        self.dropped += len(dropped)
        self._forget(dropped)
        self._full = self._full and len(self.backlog) >= limit * EMPTY_ENOUGH

    def put(
        self, kind: AccountingKind, session_id: str, time: float, attributes: bytes, session: OpenSession | None
    ) -> trio.Event:
        """Take a record; the event tells when it is on the disk, or that the disk fails.

        ``time`` is that of the event, in Unix seconds; ``session`` is how it stands, None when this is its Stop.
        """
        self._last_number += 1
        number = self._last_number
        record = Record(number=number, session_id=session_id, kind=kind, time=time, attributes=attributes)
        self._pending.added[number] = record
        self._pending.sessions[session_id] = session
        self._changed.set()
        return self._written

    def note(self, sessions: Iterable[OpenSession]) -> None:
        """Remember how far these open sessions are, without a record to send."""
        self._pending.sessions |= {session.session_id: session for session in sessions}
        self._changed.set()

    def take(self, session_id: str) -> Record | None:
        """The record of this session that is to be sent now, if there is one; it is then under way."""
        return self.backlog.take(session_id)

    def acknowledge(self, record: Record) -> bool:
        """A server has ``record``. Whether there is more of its session."""
        self.backlog.acknowledge(record)
        self._acknowledged.set()
        self._forget([record])
        if self._full and len(self.backlog) < self.limit * EMPTY_ENOUGH:
            self._full = False
        return self.backlog.has(record.session_id)

    def put_back(self, record: Record) -> bool:
        """No server has taken ``record``; it is kept. Whether there is anything of its session."""
        covered = self.backlog.put_back(record)
        self.dropped += len(covered)
        self._forget(covered)
        return self.backlog.has(record.session_id)

    @property
    def is_failing(self) -> bool:
        """Whether the disk does not take what is to be written."""
        return self._failing

    @property
    def is_full(self) -> bool:
        """Whether Interims are dropped."""
        return self._full

    @property
    def waiting(self) -> int:
        """Records that no server has acknowledged."""
        unwritten = {**self._writing.added, **self._pending.added}
        return len(self.backlog) + sum(number > self._last_entered for number in unwritten)

    @property
    def oldest(self) -> float | None:
        """When what has waited longest happened, in Unix seconds; None when nothing waits."""
        return self.backlog.oldest

    @property
    def is_empty(self) -> bool:
        """Whether everything has been sent."""
        return not (self.backlog or self._pending.added or self._writing.added)

    async def wait_until_empty(self) -> None:
        """Until everything has been sent."""
        while not self.is_empty:
            self._acknowledged = trio.Event()
            await self._acknowledged.wait()

    async def run(self) -> None:
        """Write what comes, for ever."""
        while True:
            await self._changed.wait()
            await self._write_pending()
            if self._failing:
                await trio.sleep(RETRY_INTERVAL)

    def close(self) -> None:
        """Write what is left, at once and in this thread, and let the file go."""
        try:
            self._file.write(self._writing.followed_by(self._pending))
        except sqlite3.Error as error:
            log.error("accounting spool cannot be written", why=str(error), records=len(self.backlog))
        self._file.close()

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """Write everything and let another process have the file; when the context is left, it is ours again.

        Raises sqlite3's errors where the disk fails: what is not on it would be lost.
        """
        self._file.write(self._writing.followed_by(self._pending))
        self._file.close()
        try:
            yield
        finally:
            self._file.reopen()

    async def _write_pending(self) -> None:
        self._writing, self._pending = self._writing.followed_by(self._pending), Batch()
        self._changed = trio.Event()
        self._written, written = trio.Event(), self._written
        new = [record for record in self._writing.added.values() if record.number > self._last_entered]
        try:
            await self._write(self._file.write, self._writing)
        except sqlite3.Error as error:
            if not self._failing:
                log.error("accounting spool cannot be written", why=str(error), records=len(self._writing.added))
            self._failing = True
            self._changed.set()
        else:
            if self._failing:
                log.info("accounting spool is written again", records=len(self._writing.added))
            self._failing = False
            self._writing = Batch()
        written.set()
        for record in new:
            self._enter(record)

    def _enter(self, record: Record) -> None:
        """Let ``record`` be sent."""
        self._last_entered = record.number
        dropped = self.backlog.add(record)
        self.dropped += len(dropped)
        self._forget(dropped)
        if not self._full and len(self.backlog) >= self.limit:
            self._full = True
            log.warning("accounting spool is full", records=len(self.backlog))
        if self.backlog.has(record.session_id):
            self.ready(record.session_id)

    def _forget(self, records: Iterable[Record]) -> None:
        """Let ``records`` be removed from the disk."""
        numbers = {record.number for record in records}
        if numbers:
            self._pending.removed |= numbers
            self._changed.set()


@asynccontextmanager
async def open_spool(
    path: Path, limit: int, stop_of: StopOf, write: Write = in_thread, *, continued: bool = False
) -> AsyncIterator[Spool]:
    """The spool in the file ``path``, with its writer. Raises `SpoolError`."""
    spool = Spool(SpoolFile(path), limit, stop_of, continued=continued, write=write)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spool.run)
            yield spool
            nursery.cancel_scope.cancel()
    finally:
        spool.close()
