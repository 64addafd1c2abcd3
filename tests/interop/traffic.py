"""What crosses a tunnel: pings with don't-fragment, and a TCP transfer each way whose digests must agree.

Run as a program it is the client's end of the transfer: ``traffic.py SERVER PORT OWN_ADDRESS``, or, as
``traffic.py serve ADDRESS PORT``, the server's.
"""

import hashlib
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Protocol

SIZE = 1_000_000  # bytes each way
TO_CLIENT, TO_SERVER = 1, 2  # seeds: the two directions carry different bytes
TIMEOUT = 40.0  # seconds for each socket operation
IP_AND_ICMP_HEADERS = 28  # bytes


class Transfer(Protocol):
    """The server's end, wherever it runs."""

    port: int

    def fault(self) -> str | None:
        """Wait for the end of the transfer; None when every byte came as it was sent, else what was wrong."""


class TransferServer:
    """The server's end, in this process: one connection, answered in a thread of its own."""

    def __init__(self, address: str, port: int = 0) -> None:
        self._listener = socket.create_server((address, port))
        self._listener.settimeout(TIMEOUT)
        self.port = self._listener.getsockname()[1]
        self._fault: str | None = "nobody connected"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def fault(self) -> str | None:
        """Wait for the end of the transfer; None when every byte came as it was sent, else what was wrong."""
        self._thread.join(4 * TIMEOUT)
        return self._fault

    def _serve(self) -> None:
        try:
            with self._listener, self._listener.accept()[0] as connection:
                connection.settimeout(TIMEOUT)
                self._fault = _send(connection, TO_CLIENT) or _receive(connection, TO_SERVER)
        except OSError as error:
            self._fault = f"server's end: {error}"


def client_end(server: str, port: int, own_address: str) -> str | None:
    """The client's end; returns what was wrong, or None."""
    with socket.create_connection((server, port), TIMEOUT, source_address=(own_address, 0)) as connection:
        return _receive(connection, TO_CLIENT) or _send(connection, TO_SERVER)


def ping_command(target: str, mtu: int, *, source: str = "", count: int = 3) -> list[str]:
    """A ping whose packets are exactly ``mtu`` bytes long and must not be fragmented."""
    size = str(mtu - IP_AND_ICMP_HEADERS)
    from_source = ["-I", source] if source else []
    return ["ping", "-n", "-c", str(count), "-i", "0.1", "-W", "2", "-M", "do", "-s", size, *from_source, target]


def ping(target: str, mtu: int, *, count: int = 3) -> str:
    """Ping from the server's side; returns ping's output and errors."""
    command = ping_command(target, mtu, count=count)
    # "message too long, mtu=…" is written to standard error.
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=30.0
    ).stdout


def answered(ping: Callable[[], str]) -> str:
    """What ``ping`` prints, or what it prints the second time when answers were missing the first time.

    On a busy machine pptp-linux may leave the last packet that it was sent lying until another one comes.
    """
    output = ping()
    return output if all_returned(output) else ping()


def all_returned(ping_output: str) -> bool:
    return ", 0% packet loss" in ping_output and "DUP!" not in ping_output


def reported_mtu(ping_output: str) -> int | None:
    """The MTU that an ICMP fragmentation-needed, or the kernel that remembers one, told this ping; None if none did."""
    found = re.search(r"mtu ?= ?(\d+)", ping_output)
    return int(found[1]) if found else None


def _payload(seed: int) -> bytes:
    return random.Random(seed).randbytes(SIZE)


def _send(connection: socket.socket, seed: int) -> str | None:
    payload = _payload(seed)
    connection.sendall(payload)
    if _read(connection, hashlib.sha256().digest_size) != hashlib.sha256(payload).digest():
        return "what was sent is not what arrived"
    return None


def _receive(connection: socket.socket, seed: int) -> str | None:
    digest = hashlib.sha256(_read(connection, SIZE)).digest()
    connection.sendall(digest)
    return None if digest == hashlib.sha256(_payload(seed)).digest() else "what arrived is not what was sent"


def _read(connection: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes, or fewer at the end of the connection."""
    received = bytearray()
    while len(received) < size and (data := connection.recv(min(65536, size - len(received)))):
        received += data
    return bytes(received)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        sys.exit(TransferServer(sys.argv[2], int(sys.argv[3])).fault())
    sys.exit(client_end(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
