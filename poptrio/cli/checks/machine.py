"""`Machine`: what the kernel tells about itself in /proc and /sys, decoded.

The root can be another folder than /, so that tests can describe a machine with a few files.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

WORKER = "poptrio.workers.worker"
"""The module that a worker process runs."""

_TCP_LISTEN = "0A"
_ANY_IPV6 = "0" * 32


@dataclass(frozen=True, slots=True)
class KernelSocket:
    """A row of /proc/net/tcp or /proc/net/raw; ``port`` is the protocol number for raw sockets."""

    address: IPv4Address
    port: int
    inode: int


@dataclass(frozen=True, slots=True)
class Process:
    """Who holds a socket."""

    pid: int
    name: str
    is_poptrio: bool

    @property
    def is_service_manager(self) -> bool:
        """Whether it may have opened the socket for us."""
        return self.pid == 1 and self.name == "systemd"

    def __str__(self) -> str:
        return f"{'poptrio' if self.is_poptrio else self.name} (process {self.pid})"


class Machine:
    """The machine whose /proc and /sys are below ``root``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """The file ``name`` (for instance ``dev/net/tun``) of this machine."""
        return self._root / name

    def text(self, name: str) -> str:
        """The contents of a file; empty when there is none."""
        try:
            return self.path(name).read_text("utf-8", "replace")
        except OSError:
            return ""

    def sysctl(self, name: str) -> int | None:
        """A kernel parameter such as ``net.ipv4.ip_forward``; None when this kernel has none of this name."""
        text = self.text(f"proc/sys/{name.replace('.', '/')}").strip()
        return int(text) if text.removeprefix("-").isdecimal() else None

    def effective_capabilities(self) -> int:
        """The capabilities of this process that count, as the kernel's bit set."""
        for line in self.text("proc/self/status").splitlines():
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
        return 0

    def listening(self) -> Iterator[KernelSocket]:
        """TCP sockets that listen on IPv4, among them those of IPv6 that take IPv4 too."""
        yield from self._sockets("tcp", _TCP_LISTEN)
        yield from self._sockets("tcp6", _TCP_LISTEN)

    def raw_sockets(self) -> Iterator[KernelSocket]:
        """Raw IPv4 sockets."""
        yield from self._sockets("raw", None)

    def holder(self, inode: int) -> Process | None:
        """The process that has the socket with this inode open; None when it cannot be seen (without root, mostly)."""
        wanted = f"socket:[{inode}]"
        for folder in sorted(self.path("proc").glob("[0-9]*")):
            try:
                if any(os.readlink(descriptor) == wanted for descriptor in (folder / "fd").iterdir()):
                    return self._process(folder)
            except OSError:  # the process is not ours, or is gone
                continue
        return None

    def _process(self, folder: Path) -> Process:
        name = self.text(f"proc/{folder.name}/comm").strip()
        arguments = self.text(f"proc/{folder.name}/cmdline").split("\0")
        is_poptrio = any(Path(argument).name == "poptrio" for argument in arguments[:2]) or WORKER in arguments[:3]
        return Process(int(folder.name), name, is_poptrio)

    def _sockets(self, kind: str, state: str | None) -> Iterator[KernelSocket]:
        for row in self.text(f"proc/net/{kind}").splitlines()[1:]:
            columns = row.split()
            address, port = columns[1].split(":")
            if state is not None and columns[3] != state:
                continue
            if len(address) == 8:
                yield KernelSocket(_kernel_address(address), int(port, 16), int(columns[9]))
            elif address == _ANY_IPV6:
                yield KernelSocket(IPv4Address(0), int(port, 16), int(columns[9]))


def _kernel_address(text: str) -> IPv4Address:
    """The kernel prints the 32 bits of an address as a number in host order; Linux on other orders is not served."""
    return IPv4Address(bytes.fromhex(text)[::-1])
