"""Files of login records, utmp(5) and wtmp(5), as glibc writes them: its struct utmp, its locks, its way to append.

Where a 64-bit machine also runs 32-bit programs, glibc keeps times and session numbers in 32 bits, so that both can
read the files (``__WORDSIZE_TIME64_COMPAT32``): a record has 384 octets on x86-64, and 400 on AArch64.
"""

import errno
import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from ipaddress import IPv4Address
from pathlib import Path
from struct import Struct
from typing import Self

LOCK_TIMEOUT = 10.0
"""Seconds that another process may hold a file, as in glibc."""

LOCK_INTERVAL = 0.02

_NARROW = Struct("@h2xi32s4s32s256shh3i16s20x")
_WIDE = Struct("@h2xi32s4s32s256shhqqq16s20x4x")
_LAYOUTS = {"x86_64": _NARROW, "i686": _NARROW, "aarch64": _WIDE}


class Kind(IntEnum):
    """ut_type, as far as it is needed here."""

    USER_PROCESS = 7
    DEAD_PROCESS = 8


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """One record. Texts are cut to what there is room for: ``line`` and ``user`` 32 octets, ``id`` 4, ``host`` 256."""

    kind: int
    pid: int
    line: str
    id: str
    user: str
    host: str
    seconds: float
    address: IPv4Address | None = None

    def logged_out(self, seconds: float) -> Self:
        """The record of the end of this login, at ``seconds`` since the epoch."""
        return replace(self, kind=Kind.DEAD_PROCESS, user="", host="", seconds=seconds, address=None)

    def pack(self, layout: Struct) -> bytes:
        """The octets of the record."""
        whole, microseconds = divmod(round(self.seconds * 1_000_000), 1_000_000)
        address = self.address.packed if self.address is not None else b""
        texts = (_plain(text).encode("utf-8", "replace") for text in (self.line, self.id, self.user, self.host))
        return layout.pack(self.kind, self.pid, *texts, 0, 0, 0, whole, microseconds, address)

    @classmethod
    def unpack(cls, octets: bytes, layout: Struct) -> Self:
        """The record that ``octets`` are."""
        kind, pid, *texts, _, _, _, whole, microseconds, address = layout.unpack(octets)
        line, id, user, host = (text.partition(b"\0")[0].decode("utf-8", "replace") for text in texts)
        ipv4 = IPv4Address(address[:4]) if any(address[:4]) else None
        return cls(kind, pid, line, id, user, host, whole + microseconds / 1_000_000, ipv4)


def _plain(text: str) -> str:
    """``text`` with question marks for what means something to a terminal: who(1) writes names there as they are."""
    return "".join(c if c.isprintable() else "?" for c in text)


def layout_of(machine: str = "") -> Struct:
    """How a record lies in the files of this machine. Raises LookupError with a sentence where that is not known."""
    machine = machine or platform.machine()
    try:
        return _LAYOUTS[machine]
    except KeyError:
        raise LookupError(f"login records of {machine} are not known here; on {', '.join(_LAYOUTS)} they are") from None


def append(path: Path, record: LoginRecord, layout: Struct) -> None:
    """Add ``record`` at the end of a wtmp file. Raises OSError; then the file is as it was.

    Opens the file anew each time, so that one that was rotated away is left alone. Blocks while others write.
    """
    with _locked(path) as descriptor:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        end -= end % layout.size  # what somebody has left half written would put all others out of step
        os.ftruncate(descriptor, end)
        try:
            _write(descriptor, record.pack(layout), end)
        except OSError:
            os.ftruncate(descriptor, end)
            raise


def update(path: Path, record: LoginRecord, layout: Struct) -> None:
    """Put ``record`` into a utmp file, in the place of the one with its id if there is one. Raises OSError."""
    with _locked(path) as descriptor:
        place = end = 0
        for place, other in _records(descriptor, layout):
            end = place + layout.size
            if other.id == record.id and other.kind in tuple(Kind):
                break
        else:
            place = end
        _write(descriptor, record.pack(layout), place)


def log_out_the_dead(path: Path, prefix: str, layout: Struct) -> list[LoginRecord]:
    """End the logins of a utmp file whose line begins with ``prefix`` and whose process is gone; returns their ends.

    Those of this process count as such: to be called before it has any. In a container, a server has the number of the
    one before it. Raises OSError.
    """
    now, ends = time.time(), []
    with _locked(path) as descriptor:
        for place, record in list(_records(descriptor, layout)):
            if record.kind == Kind.USER_PROCESS and record.line.startswith(prefix) and _is_gone(record.pid):
                ends.append(record.logged_out(now))
                _write(descriptor, ends[-1].pack(layout), place)
    return ends


def take_over(path: Path, mine: Callable[[LoginRecord], bool], layout: Struct) -> None:
    """Write this process's number into the logins of a utmp file that are ``mine``. Raises OSError."""
    with _locked(path) as descriptor:
        for place, record in list(_records(descriptor, layout)):
            if record.kind == Kind.USER_PROCESS and mine(record):
                _write(descriptor, replace(record, pid=os.getpid()).pack(layout), place)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The descriptor of ``path``, which nobody else writes who asks for the lock of fcntl(2)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() > deadline:
                    raise OSError(errno.ETIMEDOUT, f"{path} is locked by another process") from None
                time.sleep(LOCK_INTERVAL)
        yield descriptor
    finally:
        os.close(descriptor)


def _records(descriptor: int, layout: Struct) -> Iterator[tuple[int, LoginRecord]]:
    place = 0
    while len(octets := os.pread(descriptor, layout.size, place)) == layout.size:
        yield place, LoginRecord.unpack(octets, layout)
        place += layout.size


def _write(descriptor: int, octets: bytes, place: int) -> None:
    if os.pwrite(descriptor, octets, place) != len(octets):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_gone(pid: int) -> bool:
    if pid <= 0 or pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # somebody else's
    return False
