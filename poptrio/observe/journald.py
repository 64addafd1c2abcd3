"""systemd's journal: its native protocol, so that every field of a record can be searched for.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: one datagram per record, one ``NAME=value`` per line; a value with line
breaks stands behind its length. `journalctl POPTRIO_CALL=7` shows what happened to that call.
"""

import os
import re
import socket
import sys
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
PREFIX = "POPTRIO_"
LONGEST_NAME = 64
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Of syslog (RFC 5424 §6.2.1), by level."""


def entry(message: str, level: str, fields: Mapping[str, object]) -> str:
    """A record as the journal wants it; octets that are no text stand in it as surrogates (PEP 383)."""
    lines = [
        _line("MESSAGE", message),
        _line("PRIORITY", str(PRIORITIES.get(level, 6))),
        _line("SYSLOG_IDENTIFIER", "poptrio"),
    ]
    lines += [_line(field_name(name), str(value)) for name, value in fields.items()]
    return "".join(lines)


def field_name(name: str) -> str:
    """The journal's name for a field: capitals, digits and underscores, at most 64."""
    return (PREFIX + re.sub("[^A-Z0-9_]", "_", name.upper()))[:LONGEST_NAME]


def is_our_stderr() -> bool:
    """Whether standard error is the journal, which systemd says in JOURNAL_STREAM (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(sys.stderr.fileno())
        return (int(device), int(inode)) == (status.st_dev, status.st_ino)
    except (ValueError, OSError):
        return False


class Journal:
    """Sends entries to ``path``. Never waits: what the journal does not take is counted, and told with what it takes.

    What it cannot take, as a record that is too large, goes to standard error.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        weakref.finalize(self, self._socket.close)  # when the log is configured anew, nobody says that it is over
        self._lost = 0

    def write(self, text: str) -> None:
        """Send an `entry`."""
        data = text.encode("utf-8", "surrogateescape")
        try:
            self._socket.sendto(data, self._path)
        except BlockingIOError:
            self._lost += 1
            return
        except OSError:  # it is restarted or stopped, or this is too much for a datagram
            with suppress(OSError, ValueError):  # whoever logs goes on, also where that takes nothing either
                sys.stderr.write(text)
                sys.stderr.flush()
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self.write(entry(f"{lost} records lost: the journal did not take them", "warning", {"count": lost}))

    def close(self) -> None:
        """Send no more."""
        with suppress(OSError):
            self._socket.close()


def _line(name: str, value: str) -> str:
    if "\n" not in value:
        return f"{name}={value}\n"
    data = value.encode("utf-8", "surrogateescape")
    length = len(data).to_bytes(8, "little").decode("utf-8", "surrogateescape")
    return f"{name}\n{length}{value}\n"
