"""The spool on disk: the accounting records that no server has acknowledged yet, and the sessions that are open.

One SQLite file, owned by one process. Everything here blocks and is called from one thread at a time;
`poptrio_radius.spool` is what the rest of the plugin uses.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Self

from poptrio.api import AccountingKind, Traffic

APPLICATION_ID = 0x70707270
"""Marks an SQLite file as a spool of ours, so that no other program's database is written to by mistake."""

VERSION = 1
"""Of the tables below."""

TABLES = """
CREATE TABLE records (
    number INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    time REAL NOT NULL,
    attributes BLOB NOT NULL
);
CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    time REAL NOT NULL,
    seconds REAL NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    packets_in INTEGER NOT NULL,
    packets_out INTEGER NOT NULL,
    attributes BLOB NOT NULL
) WITHOUT ROWID;
"""

DURABLE = "PRAGMA synchronous = FULL"
"""A commit is on the disk, not on its way there."""

# Of the file (https://www.sqlite.org/fileformat.html §1.3).
_HEADER_SIZE = 100
_APPLICATION_ID_AT = 68

RECORD = "number, session_id, kind, time, attributes"
SESSION = "session_id, time, seconds, bytes_in, bytes_out, packets_in, packets_out, attributes"
"""The columns, in the order of the values below."""


class SpoolError(Exception):
    """The file cannot be used as a spool; the text says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One Accounting-Request that is to be sent. ``number`` is its place in the order of events.

    ``time`` is that of the event, in Unix seconds. ``attributes`` are the encoded attributes, all but Acct-Delay-Time,
    which says how old the record is when it is sent.
    """

    number: int
    session_id: str
    kind: AccountingKind
    time: float
    attributes: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """A session that has no Stop yet, as it was last heard of at ``time``, in Unix seconds.

    ``attributes`` are the encoded ones of its Stop as far as they are known before it ends.
    """

    session_id: str
    time: float
    seconds: float
    traffic: Traffic
    attributes: bytes = field(repr=False)


@dataclass(slots=True)
class Batch:
    """Changes that are made together or not at all. A session that maps to None is open no more."""

    added: dict[int, Record] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    sessions: dict[str, OpenSession | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.sessions)

    def followed_by(self, later: Self) -> Self:
        """Both in one; what is said ``later`` about a record or a session counts."""
        added = self.added | later.added
        removed = self.removed | later.removed
        for number in added.keys() & removed:  # may be on the disk all the same, if a write failed half-way
            del added[number]
        return type(self)(added, removed, self.sessions | later.sessions)


class SpoolFile:
    """An open spool. Raises `SpoolError` when ``path`` cannot be used, sqlite3's errors when the disk fails later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._one_at_a_time = Lock()
        self._database = self._connected()
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._database.close()
            raise SpoolError(_explain(error)) from None
        except SpoolError:
            self._database.close()
            raise

    def _connected(self) -> sqlite3.Connection:
        _create(self._path)
        try:
            database = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise SpoolError(f"cannot be opened: {error}") from None
        # In exclusive mode the first access takes a lock that is held until the file is closed: one process at a time.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        return database

    def open_sessions(self) -> list[OpenSession]:
        """The sessions that have no Stop, in the order in which they were heard of last."""
        return [_session(*row) for row in self._database.execute(f"SELECT {SESSION} FROM sessions ORDER BY time")]

    def records(self) -> list[Record]:
        """Every record in order."""
        return [_record(*row) for row in self._database.execute(f"SELECT {RECORD} FROM records ORDER BY number")]

    def recover(self, stop_of: Callable[[OpenSession], bytes]) -> list[Record]:
        """Every record in order. Sessions that an earlier run left open get a Stop with the attributes ``stop_of``."""
        with self._transaction() as database:
            left = self.open_sessions()
            database.executemany(
                "INSERT INTO records (session_id, kind, time, attributes) VALUES (?, ?, ?, ?)",
                ((s.session_id, AccountingKind.STOP.value, s.time, stop_of(s)) for s in left),
            )
            database.execute("DELETE FROM sessions")
            return self.records()

    def write(self, batch: Batch) -> None:
        """Make all changes of ``batch`` in one transaction, which is on the disk when this returns.

        To make them twice does no harm.
        """
        with self._one_at_a_time, self._transaction() as database:
            database.executemany(
                f"INSERT OR REPLACE INTO records ({RECORD}) VALUES (?, ?, ?, ?, ?)",
                ((r.number, r.session_id, r.kind.value, r.time, r.attributes) for r in batch.added.values()),
            )
            database.executemany("DELETE FROM records WHERE number = ?", ((number,) for number in batch.removed))
            database.executemany(
                f"INSERT OR REPLACE INTO sessions ({SESSION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (_session_row(session) for session in batch.sessions.values() if session is not None),
            )
            closed = ((session_id,) for session_id, session in batch.sessions.items() if session is None)
            database.executemany("DELETE FROM sessions WHERE session_id = ?", closed)

    def close(self) -> None:
        """Let another process have the file; waits for a `write` in another thread."""
        with self._one_at_a_time:
            self._database.close()

    def reopen(self) -> None:
        """After `close`: have the file again, as it was. Raises as the constructor."""
        self._database = self._connected()
        self._database.execute(DURABLE)

    def _prepare(self) -> None:
        database = self._database
        tables = self._number("SELECT count(*) FROM sqlite_schema")
        if tables and self._number("PRAGMA application_id") != APPLICATION_ID:
            raise SpoolError(FOREIGN)
        if tables and (version := self._number("PRAGMA user_version")) != VERSION:
            raise SpoolError(f"has tables of version {version}, this poptrio-radius knows {VERSION}")
        if tables and database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise SpoolError(CORRUPT)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(DURABLE)
        with self._transaction():
            if not tables:
                for statement in TABLES.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {VERSION}")

    def _number(self, query: str) -> int:
        row: tuple[int] = self._database.execute(query).fetchone()
        return row[0]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN EXCLUSIVE")
        try:
            yield self._database
            self._database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk rolls back by itself
                self._database.execute("ROLLBACK")
            raise


FOREIGN = "is the database of another program; name another file"
NO_DATABASE = "is no SQLite database; name another file"
CORRUPT = (
    "is damaged; move it away to start with an empty one, and keep it: `sqlite3 FILE .recover` may read what is in it"
)


def _record(number: int, session_id: str, kind: str, time: float, attributes: bytes) -> Record:
    return Record(number=number, session_id=session_id, kind=AccountingKind(kind), time=time, attributes=attributes)


def _session(
    session_id: str,
    time: float,
    seconds: float,
    bytes_in: int,
    bytes_out: int,
    packets_in: int,
    packets_out: int,
    attributes: bytes,
) -> OpenSession:
    traffic = Traffic(bytes_in, bytes_out, packets_in, packets_out)
    return OpenSession(session_id=session_id, time=time, seconds=seconds, traffic=traffic, attributes=attributes)


def _session_row(session: OpenSession) -> tuple[str | float | int | bytes, ...]:
    t = session.traffic
    counters = (t.bytes_in, t.bytes_out, t.packets_in, t.packets_out)
    return (session.session_id, session.time, session.seconds, *counters, session.attributes)


def judge(path: Path) -> None:
    """Whether ``path`` can be a spool, as far as can be seen without touching it: another process may be using it.

    Raises `SpoolError`.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_SIZE)
        allowed = os.access(path, os.W_OK)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise _no_folder(path) from None
        head, allowed = b"", os.access(path.parent, os.W_OK)
    except OSError as error:
        raise SpoolError(f"cannot be read: {error.strerror}") from None
    if not allowed:
        raise SpoolError("cannot be written by this user")
    if head and not head.startswith(b"SQLite format 3\0"):
        raise SpoolError(NO_DATABASE)
    # Of a file that has just been made, the number may be in the log beside it only.
    if int.from_bytes(head[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4], "big") not in (0, APPLICATION_ID):
        raise SpoolError(FOREIGN)


def _create(path: Path) -> None:
    """Make sure that the file is there, and its owner's alone: it says who was online when."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except FileNotFoundError:
        raise _no_folder(path) from None
    except OSError as error:
        raise SpoolError(f"cannot be written: {error.strerror}") from None


def _no_folder(path: Path) -> SpoolError:
    return SpoolError(f"its folder does not exist: mkdir -p {path.parent}")


def _explain(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorcode", None):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "is in use by another process; give each server a spool of its own"
        case sqlite3.SQLITE_NOTADB:
            return NO_DATABASE
        case sqlite3.SQLITE_CORRUPT:
            return CORRUPT
        case _:
            return f"cannot be used: {error}"
