"""Drives a control connection over a TCP stream: one reader, an alarm, and writes that cannot be cut in half."""

import itertools
import math
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext

import trio

from poptrio.errors import CauseOfEnd
from poptrio.protocols.pptp.control import ControlConnection
from poptrio.protocols.pptp.events import ConnectionEnded, ControlEvent
from poptrio.protocols.pptp.states import State
from poptrio.runtime.octets import Octets, Readiness, StreamOctets, TcpOctets
from poptrio.runtime.ticker import Ticker

WRITE_TIMEOUT = 5.0
"""Seconds in which the peer must take a control message; more means that it does not read at all."""


class ControlStream:
    """A control connection and its TCP stream; ``ended`` is why it is over.

    ``happened`` hears every event, `ConnectionEnded` exactly once and last, and returns at once. Several tasks may
    `flush`, which whoever asked the control connection for something must do; one task reads. Deadlines are an alarm of
    ``ticker``, which must be running; `close` ends them. ``ends`` limits how many of those that share it are cut off in
    one turn of the event loop: ten thousand at once would hold up everybody else for seconds. ``readiness``, which must
    be running too, wakes the reader where ``stream`` is a TCP connection; without one, Trio does.
    """

    __slots__ = (
        "_alarm",
        "_control",
        "_ends",
        "_failure",
        "_happened",
        "_octets",
        "_resume",
        "_stream",
        "_writable",
        "_write_lock",
        "_writes",
        "ended",
        "is_paused",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        control: ControlConnection,
        happened: Callable[[ControlEvent], None],
        ticker: Ticker,
        ends: trio.CapacityLimiter | None = None,
        readiness: Readiness | None = None,
    ) -> None:
        self.ended: ConnectionEnded | None = None
        self._stream = stream
        self._control = control
        self._happened = happened
        self._ends: AbstractAsyncContextManager[object] = nullcontext() if ends is None else ends
        self._alarm = ticker.alarm(self._deadline_reached)
        self._failure: Exception | None = None
        self._write_lock: trio.Lock | None = None  # while there are slow writes, which is seldom
        self._writes: tuple[trio.CancelScope, ...] = ()
        self._writable = True
        self._octets: Octets
        if readiness is not None and isinstance(stream, trio.SocketStream):
            self._octets = TcpOctets(stream, readiness)
        else:
            self._octets = StreamOctets(stream)
        self.is_paused = False
        self._resume: trio.Event | None = None  # from `pause` to `go_on`

    async def read(self) -> None:
        """Read until the connection is over. Whoever was cancelled may call it again."""
        await self.flush()
        while self.ended is None:
            await self._octets.wait()
            if self._failure is not None:
                raise self._failure
            if self.ended is None:
                await self._read_once()
            if self._resume is not None:
                await self._rest()

    def pause(self) -> None:
        """Read nothing until `go_on`. Once ``is_paused``, nothing that was read waits to be understood."""
        if self._resume is None or self._resume.is_set():
            self._resume = trio.Event()
            self._octets.interrupt()

    def go_on(self) -> None:
        """Read again."""
        if self._resume is not None:
            self._resume.set()

    @property
    def is_writing(self) -> bool:
        """Whether somebody waits until the peer takes what is being written."""
        return bool(self._writes)

    def take_up(self) -> None:
        """The control connection has been one before, in another process: set the alarm."""
        self._alarm.set(self._next_deadline())

    def close(self) -> None:
        """No more deadlines, and nobody reads any more."""
        self._alarm.close()
        self._octets.close()

    async def _rest(self) -> None:
        self.is_paused = True
        while self._resume is not None and not self._resume.is_set():  # may be another one after the wait
            await self._resume.wait()
        self._resume, self.is_paused = None, False
        await self.flush()

    async def _read_once(self) -> None:
        """Read what there is, if anything; send what follows from it, or what the alarm could not."""
        data = self._octets.read()
        if data:
            self._control.receive_data(data, trio.current_time())
            self._tell()
        elif data is not None:
            self._alarm.close()  # nobody is there any more who could be asked for an echo
            async with self._ends:
                if self.ended is None:  # not given up meanwhile
                    self._control.receive_eof(trio.current_time())
                    self._tell()
        await self.flush()

    def _deadline_reached(self, now: float) -> None:
        """The alarm rings, in the ticker's task, which must not suffer from what is wrong here."""
        try:
            if self.ended is None:
                self._control.handle_timeout(now)
                self._tell()
                self._send_at_once()
        except Exception as error:  # noqa: BLE001 - raised by the reader
            self._failure = error
        if self._failure is not None or self.ended is not None or self._control.wants_to_send:
            self._octets.interrupt()
        else:
            self._alarm.set(self._next_deadline())

    def _tell(self) -> None:
        while (event := self._control.next_event()) is not None:
            if isinstance(event, ConnectionEnded):
                self.ended = event
            self._happened(event)

    async def flush(self) -> None:
        """Send what the control connection has to say, and set the alarm to its new deadline.

        What the kernel does not take at once is shielded, because a message cut in half would end all calls of the
        connection; and bounded, because a peer that does not read must not hold anything.
        """
        if self.ended is None:
            self._alarm.set(self._next_deadline())
        self._send_at_once()
        if not self._writable or not (self._control.wants_to_send or self._write_lock is not None):
            return
        with trio.move_on_after(WRITE_TIMEOUT, shield=True) as scope:
            self._writes += (scope,)
            try:
                await self._write()
            finally:
                self._writes = tuple(write for write in self._writes if write is not scope)
                if not self._writes:
                    self._write_lock = None
        if scope.cancelled_caught:
            self._give_up("the other side does not read its control connection")

    def abandon(self) -> None:
        """Wait for no write any more, and say nothing more."""
        self._writable = False
        for scope in self._writes:
            scope.cancel()

    def _send_at_once(self) -> None:
        """Send as much as the kernel takes without waiting, which is nearly always all; nothing while others write."""
        if not self._writable or self._write_lock is not None or not self._control.wants_to_send:
            return
        if isinstance(self._stream, trio.SocketStream):
            try:
                sent = os.write(self._stream.socket.fileno(), self._control.peek_data_to_send())
            except OSError:
                return  # full, or broken, which shows when it is waited for
            self._control.data_sent(sent)

    async def _write(self) -> None:
        if self._write_lock is None:
            self._write_lock = trio.Lock()
        async with self._write_lock:
            data = self._control.data_to_send()
            if data and self._writable:
                try:
                    await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._writable = False  # The reader meets the end too, after what was said before it.

    def _next_deadline(self) -> float:
        """When the alarm must ring: at once where our own side has ended the control connection."""
        return -math.inf if self._control.state is State.ENDED else self._control.next_deadline()

    def _give_up(self, why: str) -> None:
        self._writable = False
        if self.ended is None:
            self.ended = ConnectionEnded(CauseOfEnd.CONTROL_CONNECTION_LOST, why)
            self._octets.interrupt()
            self._happened(self.ended)


def echo_identifiers() -> Iterator[int]:
    """Identifiers of Echo-Requests, from a random one upwards."""
    return (number & 0xFFFFFFFF for number in itertools.count(secrets.randbits(32)))
