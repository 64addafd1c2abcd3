"""Drives a control connection over a TCP stream: one reader, and writes that cannot be cut in half."""

import itertools
import math
import secrets
from collections.abc import Callable, Iterator

import trio

from poptrio.errors import CauseOfEnd
from poptrio.protocols.pptp.control import ControlConnection
from poptrio.protocols.pptp.events import ConnectionEnded, ControlEvent
from poptrio.protocols.pptp.states import State

READ_SIZE = 4096

WRITE_TIMEOUT = 5.0
"""Seconds in which the peer must take a control message; more means that it does not read at all."""


class ControlStream:
    """A control connection and its TCP stream; ``ended`` is why it is over.

    ``happened`` hears every event, `ConnectionEnded` exactly once and last, and returns at once. Several tasks may
    `flush`, which whoever asked the control connection for something must do; one task reads.
    """

    def __init__(
        self, stream: trio.abc.Stream, control: ControlConnection, happened: Callable[[ControlEvent], None]
    ) -> None:
        self.ended: ConnectionEnded | None = None
        self._stream = stream
        self._control = control
        self._happened = happened
        self._write_lock = trio.Lock()
        self._writes: set[trio.CancelScope] = set()
        self._writable = True
        self._reading = trio.CancelScope()
        self._waiting = trio.CancelScope()

    async def read(self) -> None:
        """Read, and keep the deadlines, until the connection is over. Whoever was cancelled may call it again."""
        with trio.CancelScope() as self._reading:
            while self.ended is None:
                await self._read_once()

    async def _read_once(self) -> None:
        data: bytes | bytearray | None = None
        with trio.CancelScope(deadline=self._next_deadline()) as self._waiting:
            try:
                data = await self._stream.receive_some(READ_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
        now = trio.current_time()
        if data is None:
            self._control.handle_timeout(now)
        elif data:
            self._control.receive_data(bytes(data), now)
        else:
            self._control.receive_eof(now)
        while (event := self._control.next_event()) is not None:
            if isinstance(event, ConnectionEnded):
                self.ended = event
            self._happened(event)
        await self.flush()

    async def flush(self) -> None:
        """Send what the control connection has to say, and let the reader know its new deadline.

        Shielded, because a message cut in half would end all calls of the connection; bounded, because a peer that
        does not read must not hold anything.
        """
        self._waiting.deadline = self._next_deadline()
        if not self._writable:
            return
        with trio.move_on_after(WRITE_TIMEOUT, shield=True) as scope:
            self._writes.add(scope)
            try:
                await self._write()
            finally:
                self._writes.discard(scope)
        if scope.cancelled_caught:
            self._give_up("the other side does not read its control connection")

    def abandon(self) -> None:
        """Wait for no write any more, and say nothing more."""
        self._writable = False
        for scope in self._writes:
            scope.cancel()

    async def _write(self) -> None:
        async with self._write_lock:
            data = self._control.data_to_send()
            if data and self._writable:
                try:
                    await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._writable = False  # The reader meets the end too, after what was said before it.

    def _next_deadline(self) -> float:
        """When the reader must look up: at once where our own side has ended the control connection."""
        return -math.inf if self._control.state is State.ENDED else self._control.next_deadline()

    def _give_up(self, why: str) -> None:
        self._writable = False
        if self.ended is None:
            self.ended = ConnectionEnded(CauseOfEnd.CONTROL_CONNECTION_LOST, why)
            self._reading.cancel()
            self._happened(self.ended)


def echo_identifiers() -> Iterator[int]:
    """Identifiers of Echo-Requests, from a random one upwards."""
    return (number & 0xFFFFFFFF for number in itertools.count(secrets.randbits(32)))
