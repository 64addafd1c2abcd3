"""Drives a control connection over a TCP stream: one reader, and writes that cannot be cut in half."""

import itertools
import math
import secrets
from collections.abc import Callable, Iterator

import trio

from poptrio.errors import CauseOfEnd
from poptrio.protocols.pptp.control import ControlConnection
from poptrio.protocols.pptp.events import ConnectionEnded, ControlEvent

READ_SIZE = 4096

WRITE_TIMEOUT = 5.0
"""Seconds in which the peer must take a control message; more means that it does not read at all."""


class ControlStream:
    """A control connection and its TCP stream; ``ended`` is why it is over.

    ``happened`` hears every event in order and returns at once. Several tasks may `flush`; one task reads.
    """

    def __init__(
        self, stream: trio.abc.Stream, control: ControlConnection, happened: Callable[[ControlEvent], None]
    ) -> None:
        self.ended: ConnectionEnded | None = None
        self._stream = stream
        self._control = control
        self._happened = happened
        self._write_lock = trio.Lock()
        self._reading = trio.CancelScope()

    async def read(self) -> None:
        """Read, and keep the deadlines, until the connection is over."""
        with self._reading:
            while self.ended is None:
                await self._read_once()

    async def _read_once(self) -> None:
        data: bytes | bytearray | None = None
        deadline = self._control.next_deadline()
        with trio.move_on_at(deadline) if deadline < math.inf else trio.CancelScope():
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
        """Send what the control connection has to say.

        Shielded, because a message cut in half would end all calls of the connection; bounded, because a peer that
        does not read must not hold anything.
        """
        with trio.move_on_after(WRITE_TIMEOUT, shield=True) as scope:
            async with self._write_lock:
                data = self._control.data_to_send()
                if data:
                    try:
                        await self._stream.send_all(data)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        self._lost("TCP was closed by the other side")
        if scope.cancelled_caught:
            self._lost("the other side does not read its control connection")

    def _lost(self, why: str) -> None:
        if self.ended is None:
            self.ended = ConnectionEnded(CauseOfEnd.CONTROL_CONNECTION_LOST, why)
            self._reading.cancel()


def echo_identifiers() -> Iterator[int]:
    """Identifiers of Echo-Requests, from a random one upwards."""
    return (number & 0xFFFFFFFF for number in itertools.count(secrets.randbits(32)))
