"""Network namespaces for tests with real sockets and TUNs; needs root and iproute2.

A socket, TUN or netlink connection belongs for good to the namespace in which it was made. So one process, and one Trio
loop, can be several hosts::

    with Namespace("server") as server, Namespace("client") as client:
        join(server, "192.0.2.1", client, "192.0.2.2")
        with server.entered():
            listener = socket.socket(...)
"""

import ctypes
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A new network namespace, deleted at the end of the ``with``. ``label`` and a random part make its name."""

    def __init__(self, label: str) -> None:
        self.name = f"poptrio-{label}-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Self:
        _run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _run("ip", "netns", "delete", self.name)

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs ``arguments`` in this namespace."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str) -> str:
        """Run a command here and return its output; raises CalledProcessError when it fails."""
        return _run(*self.command(*arguments))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is here inside the ``with``, and so is every task that runs while something is awaited in it."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as here:
            _set_namespace(here.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())


def join(left: Namespace, left_address: str, right: Namespace, right_address: str) -> None:
    """Lay a cable between two namespaces; the addresses are of one /24."""
    left_end, right_end = (f"v{uuid.uuid4().hex[:8]}" for _ in range(2))
    _run(
        *("ip", "link", "add", left_end, "netns", left.name, "type", "veth"),
        *("peer", "name", right_end, "netns", right.name),
    )
    for namespace, end, address in ((left, left_end, left_address), (right, right_end, right_address)):
        namespace.run("ip", "address", "add", f"{address}/24", "dev", end)
        namespace.run("ip", "link", "set", end, "up")


def _run(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
