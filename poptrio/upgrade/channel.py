"""The Unix socket between the process that hands over and the one that takes over: messages with descriptors.

A message is a `Kind`, octets, and descriptors (SCM_RIGHTS), of which Linux takes 253 at a time: each batch follows with
an octet of its own. The layout here never changes, so that programs of two versions can tell each other so.
"""

import os
import socket
import time
from collections.abc import Sequence
from enum import IntEnum
from struct import Struct

_HEADER = Struct(">BQI")
"""Kind, octets, descriptors."""

MOST_DESCRIPTORS = 253
"""In one sendmsg: SCM_MAX_FD of Linux."""

LONGEST = 1 << 30


class Kind(IntEnum):
    """What a message says. The old program speaks first; `REFUSED` and `FAILED` have a sentence."""

    HELLO = 1
    """Old: what it has that is no call's."""
    PREPARED = 2
    """New: it could go on with that."""
    REFUSED = 3
    """New: it cannot."""
    STATE = 4
    """Old: it stands still; its connections and calls."""
    READY = 5
    """New: it has all of them."""
    FAILED = 6
    """New: it does not have all of them."""
    GO = 7
    """Old: it leaves; everything is the new one's."""


class Gone(Exception):
    """The other process is not there any more, or not to be understood."""


class Channel:
    """One end. Every operation blocks, for ``timeout`` seconds at most, and raises `Gone` or TimeoutError."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        """To wait for."""
        return self._socket.fileno()

    def send(self, kind: Kind, octets: bytes = b"", descriptors: Sequence[int] = (), *, timeout: float) -> None:
        """Send one message."""
        deadline = time.monotonic() + timeout
        try:
            self._until(deadline).sendall(_HEADER.pack(kind, len(octets), len(descriptors)) + octets)
            for first in range(0, len(descriptors), MOST_DESCRIPTORS):
                self._until(deadline)
                socket.send_fds(self._socket, [b"."], list(descriptors[first : first + MOST_DESCRIPTORS]))
        except TimeoutError:
            raise
        except OSError as error:
            raise Gone(f"the other process does not read: {error.strerror}") from error

    def receive(self, *, timeout: float) -> tuple[Kind, bytes, list[int]]:
        """The next message."""
        deadline = time.monotonic() + timeout
        try:
            number, size, count = _HEADER.unpack(self._exactly(_HEADER.size, deadline))
            if number not in set(Kind) or size > LONGEST:
                raise Gone("the other process speaks another language")
            octets, descriptors = self._exactly(size, deadline), list[int]()
            while len(descriptors) < count:
                self._until(deadline)
                data, some, _, _ = socket.recv_fds(self._socket, 1, MOST_DESCRIPTORS)
                if not data or not some:
                    raise Gone("the other process sent too few descriptors")
                descriptors += some
        except TimeoutError:
            raise
        except OSError as error:
            raise Gone(f"the other process cannot be heard: {error.strerror}") from error
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return Kind(number), octets, descriptors

    def close(self) -> None:
        """No more messages."""
        self._socket.close()

    def _until(self, deadline: float) -> socket.socket:
        """The socket, whose next operation ends by ``deadline``."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return self._socket

    def _exactly(self, size: int, deadline: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            data = self._until(deadline).recv(min(size - len(received), 1 << 20))
            if not data:
                raise Gone("the other process has ended")
            received += data
        return bytes(received)
