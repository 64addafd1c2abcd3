"""Listening sockets that were opened for this process before it began: systemd's socket activation, sd_listen_fds(3).

Whoever needs one asks for it by name (`activated`) or by what it is (`activated_tcp`), and owns it from then on.
"""

import os
import socket
from collections.abc import Callable, MutableMapping
from functools import cache

FIRST = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""

MANAGEMENT = "management"
"""What the Unix socket of the management API is called."""

_Wanted = Callable[[str, socket.socket], bool]
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class PassedSockets:
    """The sockets that nobody has taken yet, each with its name."""

    def __init__(self) -> None:
        self._sockets: list[tuple[str, socket.socket]] = []

    @classmethod
    def of(cls, environment: MutableMapping[str, str], *, first: int = FIRST) -> "PassedSockets":
        """Those that ``environment`` describes; it describes them no more afterwards, so that no child takes them.

        Descriptors that are no sockets are left alone.
        """
        process, count, names = (environment.pop(name, "") for name in _VARIABLES)
        passed = cls()
        if process != str(os.getpid()) or not (count.isascii() and count.isdecimal()):
            return passed
        named = names.split(":") if names else []
        for number in range(int(count)):
            descriptor = first + number
            try:
                os.set_inheritable(descriptor, False)
                passed.add(named[number] if number < len(named) else "unknown", socket.socket(fileno=descriptor))
            except OSError:
                continue
        return passed

    def add(self, name: str, passed: socket.socket) -> None:
        """There is one more."""
        self._sockets.append((name, passed))

    def take(self, name: str) -> list[socket.socket]:
        """The Unix sockets called ``name``."""
        return self._take(lambda its_name, passed: its_name == name and _is_unix(passed))

    def take_tcp(self) -> list[socket.socket]:
        """All that are for TCP, over IPv4 or IPv6, whatever they are called."""
        return self._take(lambda _, passed: _is_tcp(passed))

    def strangers(self, *known: str) -> list[str]:
        """What those are called that are neither for TCP nor Unix sockets with one of the ``known`` names."""
        sockets = [(name, passed) for name, passed in self._sockets if not _is_tcp(passed)]
        return [name for name, passed in sockets if name not in known or not _is_unix(passed)]

    def _take(self, wanted: _Wanted) -> list[socket.socket]:
        taken = [passed for name, passed in self._sockets if wanted(name, passed)]
        self._sockets = [(name, passed) for name, passed in self._sockets if passed not in taken]
        return taken


def _is_tcp(passed: socket.socket) -> bool:
    return passed.family in (socket.AF_INET, socket.AF_INET6) and passed.type == socket.SOCK_STREAM


def _is_unix(passed: socket.socket) -> bool:
    return passed.family == socket.AF_UNIX and passed.type == socket.SOCK_STREAM


@cache
def passed_sockets() -> PassedSockets:
    """Those of this process."""
    return PassedSockets.of(os.environ)


def activated(name: str) -> list[socket.socket]:
    """The Unix sockets called ``name`` that this process was started with; each is given away once."""
    return passed_sockets().take(name)


def activated_tcp() -> list[socket.socket]:
    """The TCP sockets that this process was started with; each is given away once."""
    return passed_sockets().take_tcp()
