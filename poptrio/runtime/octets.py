"""Where the octets of a control connection come from: its reader sleeps until there are some, or is woken without any.

A server's TCP connections share one descriptor of epoll, inside Trio's own. For ten thousand readers that sleep, that
saves 2 KiB for each: `trio.lowlevel.wait_readable` takes one, and a cancel scope to be woken by the other.
"""

import os
import select
from collections.abc import Awaitable
from typing import Protocol

import trio

from poptrio.runtime.bell import Bell

READ_SIZE = 4096

AT_ONCE = 512
"""Readers that are woken before others have a turn, some ten milliseconds: when thousands of clients vanish at once, a
new one waits behind all that are not woken yet."""


class Octets(Protocol):
    """What a reader reads from; there is one reader."""

    def wait(self) -> Awaitable[object]:
        """Until there is something to `read`, or `interrupt`. Await this where it is called."""

    def read(self) -> bytes | None:
        """What there is, None where that is nothing; empty at the end of the connection, or when it is broken."""

    def interrupt(self) -> None:
        """Wake the reader, or let it through when it waits the next time."""

    def close(self) -> None:
        """Nobody waits any more."""


class Readiness:
    """Rings bells when there is something to read, which `run` must be running for."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._bells: dict[int, Bell] = {}

    def watch(self, descriptor: int, bell: Bell) -> None:
        """Ring ``bell`` as soon as something can be read from ``descriptor``; once."""
        change = self._epoll.modify if descriptor in self._bells else self._epoll.register
        change(descriptor, select.EPOLLIN | select.EPOLLONESHOT)
        self._bells[descriptor] = bell

    def forget(self, descriptor: int) -> None:
        """``descriptor``, which is still open, will not be watched any more."""
        if self._bells.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    async def run(self) -> None:
        """Ring, for ever."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for descriptor, _ in self._epoll.poll(0, AT_ONCE):
                self._bells[descriptor].ring()


class TcpOctets(Bell):
    """`Octets` of a TCP connection that ``readiness`` watches."""

    __slots__ = ("_descriptor", "_readiness")

    def __init__(self, stream: trio.SocketStream, readiness: Readiness) -> None:
        super().__init__()
        self._descriptor = stream.socket.fileno()
        self._readiness = readiness

    def wait(self) -> Awaitable[object]:
        self._readiness.watch(self._descriptor, self)
        return super().wait()

    def read(self) -> bytes | None:
        try:
            return os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:  # reset, or timed out
            return b""

    def interrupt(self) -> None:
        self.ring()

    def close(self) -> None:
        self._readiness.forget(self._descriptor)


class StreamOctets:
    """`Octets` of any stream."""

    __slots__ = ("_data", "_stream", "_waiting")

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._data: bytes | None = None
        self._waiting = trio.CancelScope()

    async def wait(self) -> None:
        try:
            with self._waiting:
                self._data = bytes(await self._stream.receive_some(READ_SIZE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._data = b""
        finally:
            self._waiting = trio.CancelScope()

    def read(self) -> bytes | None:
        data, self._data = self._data, None
        return data

    def interrupt(self) -> None:
        self._waiting.cancel()

    def close(self) -> None:
        pass
