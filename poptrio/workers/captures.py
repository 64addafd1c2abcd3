"""Captures of calls of workers: the worker makes the file, the parent hands it on as fast as its reader takes it.

A worker sends one chunk and waits until the reader wants the next. What comes meanwhile waits in the worker, within the
bounds of `poptrio.server.capture`, so that neither process and nobody's packets depend on how fast a reader is.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import structlog
import trio

from poptrio.config import Config
from poptrio.server.call_events import ObservedCall, user_of
from poptrio.server.capture import Capture
from poptrio.server.captures import (
    LIST_CALLS,
    CaptureOrder,
    CaptureRefused,
    Captures,
    LocalCaptures,
    ReadCapture,
    empty_capture,
)
from poptrio.workers import messages
from poptrio.workers.channel import Channel, Question
from poptrio.workers.link import WorkerLink

log = structlog.get_logger("poptrio.server")


class ParentCaptures(Captures):
    """The captures of all workers, in their parent."""

    def __init__(
        self, config: Config, calls: Callable[[], Iterable[ObservedCall]], links: Mapping[int, WorkerLink]
    ) -> None:
        super().__init__(config, calls)
        self._links = links
        self._relays: dict[int, _Relay] = {}
        self._numbers = itertools.count()

    @property
    def count(self) -> int:
        return len(self._relays) + len(self._waiting)

    def told(self, question: Question) -> None:
        """A worker has more of a capture, and asks whether it is wanted."""
        assert isinstance(question.message, messages.Captured)
        relay = self._relays.get(question.message.number)
        if relay is None:
            question.answer(False)
        else:
            relay.offer(question)

    def worker_gone(self, worker: int, died: bool) -> None:
        """What was captured there has no more to come; one that ``died`` has not logged that."""
        for relay in tuple(self._relays.values()):
            if relay.worker == worker:
                relay.break_off()
                if died:
                    log.warning("capture ended", why="its worker is gone", **relay.who)

    def _begin(self, call: ObservedCall, order: CaptureOrder) -> ReadCapture:
        session_id = call.info.session_id
        for worker, link in self._links.items():
            if session_id in link.calls:
                number = next(self._numbers)
                relay = self._relays[number] = _Relay(worker, partial(self._relays.pop, number, None), call, order)
                link.tell(messages.StartCapture(number, session_id, order))
                return relay
        raise CaptureRefused(f"call {call.info.call_id} has ended", LIST_CALLS)


class _Relay:
    """One capture of ``call`` on its way from a worker; ``over`` hears that nothing more is wanted.

    ``who`` is captured for whom, as the log says it.
    """

    def __init__(self, worker: int, over: Callable[[], object], call: ObservedCall, order: CaptureOrder) -> None:
        self.worker = worker
        self._over = over
        self.who = {"call": call.info.call_id, "user": user_of(call), "by": order.by}
        self._offered: Question | None = None
        self._news = trio.Event()
        self._instead: Capture | None = None
        self._broken_off = False

    def offer(self, question: Question) -> None:
        """The worker has more; it is answered when that is taken."""
        self._offered = question
        self._news.set()

    def break_off(self) -> None:
        """The worker is gone, and with it the rest."""
        self._broken_off = True
        self._offered = None
        self._over()
        self._news.set()

    async def next_chunk(self) -> bytes:
        if self._instead is not None:
            return await self._instead.next_chunk()
        await self._news.wait()
        self._news = trio.Event()
        if self._broken_off:
            self._news.set()
            return b""
        question, self._offered = self._offered, None
        assert question is not None
        message = question.message
        assert isinstance(message, messages.Captured)
        question.answer(True)
        if message.refused:
            self._over()
            self._instead = empty_capture(message.refused)
            return await self._instead.next_chunk()
        if not message.chunk:
            self._over()
        return message.chunk

    def abandon(self) -> None:
        """The worker hears of it with its next chunk."""
        self._over()
        if self._offered is not None:
            self._offered.answer(False)
            self._offered = None


async def send_capture(order: messages.StartCapture, captures: LocalCaptures, channel: Channel) -> None:
    """In a worker: make the capture, and hand it to the parent."""
    try:
        capture = captures.of_session(order.session_id, order.order)
    except CaptureRefused as error:
        await channel.ask(messages.Captured(order.number, b"", f"{error}: {error.remedy}"))
        return
    try:
        while True:
            chunk = await capture.next_chunk()
            if not await channel.ask(messages.Captured(order.number, chunk)) or not chunk:
                return
    finally:
        capture.abandon()
