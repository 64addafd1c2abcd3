"""The conversation of two processes of ours over a stream: messages in order, questions answered in any order.

A frame is its length, 32 bits, and a pickled list of envelopes; what is said between two turns of the event loop goes
in one. Both ends are this program, of one version, over a socket pair that nobody else has: never read pickles from
anybody else.
"""

import itertools
import math
import pickle
from collections.abc import Callable, Iterator
from enum import IntEnum
from struct import Struct
from typing import Any

import structlog
import trio

log = structlog.get_logger("poptrio.workers")

READ_SIZE = 1 << 18

LATER = 0.005
"""Seconds that a message may wait for others: being woken costs both processes more than ten messages do."""

_LENGTH = Struct("!I")


class _Kind(IntEnum):
    TOLD = 0
    ASKED = 1
    ANSWERED = 2
    WITHDRAWN = 3
    FAILED = 4


_Envelope = tuple[int, int, object]
"""A `_Kind`, the number of the question (0: none), and the message."""


class ChannelError(Exception):
    """A question or its answer cannot be carried; the text says why."""


class Question:
    """A message of the other side that wants one answer; ``scope`` is cancelled when it wants none any more."""

    __slots__ = ("_channel", "_number", "message", "scope")

    def __init__(self, channel: "Channel", number: int, message: object) -> None:
        self.message = message
        self.scope = trio.CancelScope()
        self._channel = channel
        self._number = number

    def answer(self, message: object) -> None:
        """Answer; to be called once, unless the question was withdrawn."""
        self._channel.answered(self._number, message)


class Channel:
    """One end. ``told`` hears messages, ``asked`` questions; both return at once and do not raise."""

    def __init__(
        self, stream: trio.abc.Stream, told: Callable[[object], None], asked: Callable[[Question], None]
    ) -> None:
        self._stream = stream
        self._told = told
        self._asked = asked
        self._numbers = itertools.count(1)
        self._outgoing: list[_Envelope] = []
        self._something_urgent = trio.Event()
        self._waiting = trio.CancelScope()
        self._finishing = False
        self._awaited: dict[int, tuple[trio.Event, list[object]]] = {}  # our questions: when it is there, and what
        self._open: dict[int, Question] = {}  # the other side's

    async def run(self) -> None:
        """Carry messages until the other side is gone, or until `finish` and all is said."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_all, nursery.cancel_scope)
            try:
                await self._write_all()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await trio.sleep_forever()  # the reader meets the end too, after what was said before it
            nursery.cancel_scope.cancel()
        self.withdraw_all()

    def withdraw_all(self) -> None:
        """Nobody waits for any answer of ours any more."""
        for question in self._open.values():
            question.scope.cancel()
        self._open.clear()

    def tell(self, message: object) -> None:
        """Say something that wants no answer."""
        self._send((_Kind.TOLD, 0, message))

    def tell_later(self, message: object) -> None:
        """Say something that wants no answer, in its order, and `LATER` at the latest."""
        self._outgoing.append((_Kind.TOLD, 0, message))
        if self._waiting.deadline == math.inf:
            self._waiting.deadline = trio.current_time() + LATER

    async def ask(self, message: object) -> Any:
        """The answer to a question; cancelled, it is withdrawn. Raises `ChannelError` if either cannot be carried."""
        number = next(self._numbers)
        arrived = trio.Event()
        answer: list[object] = []
        self._awaited[number] = arrived, answer
        self._send((_Kind.ASKED, number, message))
        try:
            await arrived.wait()
        finally:
            del self._awaited[number]
            if not answer:
                self._send((_Kind.WITHDRAWN, number, None))
        if isinstance(answer[0], ChannelError):
            raise answer[0]
        return answer[0]

    def finish(self) -> None:
        """Let `run` return when everything that was said before is sent."""
        self._finishing = True
        self._something_urgent.set()

    def answered(self, number: int, message: object) -> None:
        """Send the answer to a question of the other side, unless it is withdrawn."""
        if self._open.pop(number, None) is not None:
            self._send((_Kind.ANSWERED, number, message))

    def _send(self, envelope: _Envelope) -> None:
        self._outgoing.append(envelope)
        self._something_urgent.set()

    async def _write_all(self) -> None:
        while self._outgoing or not self._finishing:
            if self._outgoing:
                envelopes, self._outgoing = self._outgoing, []
                data = self._packed(envelopes)
                await self._stream.send_all(_LENGTH.pack(len(data)) + data)
            if not self._finishing:
                deadline = trio.current_time() + LATER if self._outgoing else math.inf
                with trio.CancelScope(deadline=deadline) as self._waiting:
                    await self._something_urgent.wait()
                self._something_urgent = trio.Event()

    def _packed(self, envelopes: list[_Envelope]) -> bytes:
        """``envelopes`` as octets. What cannot be carried, of a plugin for instance, costs its own message only."""
        try:
            return pickle.dumps(envelopes, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 - pickle raises whatever the objects raise
            return pickle.dumps([self._portable(envelope) for envelope in envelopes], pickle.HIGHEST_PROTOCOL)

    def _portable(self, envelope: _Envelope) -> _Envelope:
        kind, number, message = envelope
        try:
            pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            log.exception("internal error", message=type(message).__name__)
            why = f"{type(message).__name__} cannot be carried to another process: {error}"
            if kind == _Kind.ANSWERED:
                return _Kind.FAILED, number, why
            if kind == _Kind.ASKED:
                self._take(_Kind.FAILED, number, why)
            return _Kind.WITHDRAWN, number, why
        return envelope

    async def _read_all(self, running: trio.CancelScope) -> None:
        received = bytearray()
        while data := await self._receive():
            received += data
            for frame in _frames(received):
                for kind, number, message in pickle.loads(frame):
                    self._take(kind, number, message)
        running.cancel()

    async def _receive(self) -> bytes | bytearray:
        try:
            return await self._stream.receive_some(READ_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def _take(self, kind: int, number: int, message: object) -> None:
        match kind:
            case _Kind.TOLD:
                self._told(message)
            case _Kind.ASKED:
                question = self._open[number] = Question(self, number, message)
                self._asked(question)
            case _Kind.ANSWERED:
                if number in self._awaited:
                    arrived, answer = self._awaited[number]
                    answer.append(message)
                    arrived.set()
            case _Kind.FAILED:
                if number in self._awaited:
                    arrived, answer = self._awaited[number]
                    answer.append(ChannelError(message))
                    arrived.set()
            case _Kind.WITHDRAWN:
                if (withdrawn := self._open.pop(number, None)) is not None:
                    withdrawn.scope.cancel()


def _frames(received: bytearray) -> Iterator[bytes]:
    """Take all complete frames out of ``received``."""
    start = 0
    while len(received) - start >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(received, start)
        end = start + _LENGTH.size + length
        if len(received) < end:
            break
        yield bytes(received[start + _LENGTH.size : end])
        start = end
    del received[:start]
