"""The captures of a server: who may have one, of which call, and what the log says of it.

A capture is a privileged act: it holds what users send, and answers to challenges, from which passwords can be guessed.
So its beginning and its end are logged, and ``[capture] enabled`` forbids it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog
import trio

from poptrio.config import Config
from poptrio.datapath.base import CallPath
from poptrio.datapath.call_path import GreCallPath
from poptrio.datapath.kernel.device import device_prefix
from poptrio.datapath.tap import tap
from poptrio.runtime.ticker import Ticker
from poptrio.server.call_events import ObservedCall, user_of
from poptrio.server.capture import Capture
from poptrio.server.domains import folded

CAPTURE_OCTETS = 10_000_000
CAPTURE_SECONDS = 60.0
"""How large a capture may grow, and how long it lasts, unless something else is asked for."""

MOST_CAPTURES = 8
"""Captures at the same time: each may hold `poptrio.server.capture.MOST_WAITING` octets."""

LIST_CALLS = "`poptrio sessions` lists those that there are"

log = structlog.get_logger("poptrio.server")


@dataclass(frozen=True, slots=True)
class CaptureOrder:
    """What to capture: the call with this Call ID, or, if that is None, the one that ``user`` has.

    ``wait``: if the user has none, the next one. ``seconds`` is for the capture, and before that for the waiting.
    ``by`` says who has asked.
    """

    call: int | None = None
    user: str = ""
    wait: bool = False
    octets: int = CAPTURE_OCTETS
    seconds: float = CAPTURE_SECONDS
    by: str = ""


class CaptureRefused(Exception):
    """There can be no such capture; ``remedy`` says what can be done about it."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.remedy = remedy


class NothingToCapture(CaptureRefused):
    """There is no such call."""


class ReadCapture(Protocol):
    """What the reader of a capture has."""

    async def next_chunk(self) -> bytes:
        """More of the file; nothing at its end."""

    def abandon(self) -> None:
        """The reader is gone; may be called at any time."""


class Captures:
    """What is one for all captures, whichever process has the calls; ``calls`` are those of now.

    While ``refused`` is a sentence that says why, none begins.
    """

    def __init__(self, config: Config, calls: Callable[[], Iterable[ObservedCall]]) -> None:
        self.configure(config)
        self.refused = ""
        self._calls = calls
        self._waiting: list[_Waiting] = []
        self._open = 0

    def configure(self, config: Config) -> None:
        """Other limits for captures that begin from now on."""
        self._config = config

    def start(self, order: CaptureOrder) -> ReadCapture:
        """Begin a capture, or wait for a call to capture. Raises `CaptureRefused`; somebody has to read the result."""
        self._check(order)
        call = self._find(order)
        if call is not None:
            return self._begin(call, order)
        waiting = _Waiting(order, self._waiting)
        log.warning("capture waits", user=order.user, seconds=order.seconds, by=order.by)
        return waiting

    def call_authenticated(self, call: ObservedCall) -> None:
        """A plugin has accepted the client of ``call``, for which somebody may wait."""
        for waiting in list(self._waiting):
            if _is_of(call, waiting.order.user):
                try:
                    waiting.goes_on_with(self._begin(call, waiting.order))
                except CaptureRefused as error:
                    waiting.goes_on_with(empty_capture(f"{error}: {error.remedy}"))

    @property
    def count(self) -> int:
        """How many captures there are, with those that wait."""
        return self._open + len(self._waiting)

    def _begin(self, call: ObservedCall, order: CaptureOrder) -> ReadCapture:
        """Capture ``call``. Raises `CaptureRefused`."""
        raise NotImplementedError

    def _check(self, order: CaptureOrder) -> None:
        limits = self._config.capture
        if self.refused:
            raise CaptureRefused(self.refused, "ask again when that is over")
        if not limits.enabled:
            raise CaptureRefused("captures are forbidden", "[capture] enabled = true allows them")
        if order.octets > limits.max_octets:
            most = limits.max_octets
            raise CaptureRefused(f"a capture may have at most {most} octets", "[capture] max_octets says how many")
        if order.seconds > limits.max_seconds:
            longest = limits.max_seconds
            raise CaptureRefused(f"a capture may last at most {longest:g} s", "[capture] max_seconds says how long")
        if self.count >= MOST_CAPTURES:
            raise CaptureRefused(f"there are {MOST_CAPTURES} captures already", "wait for one to end")

    def _find(self, order: CaptureOrder) -> ObservedCall | None:
        """The call that is meant; None: it is to be waited for."""
        if order.call is not None:
            found = [call for call in self._calls() if call.info.call_id == order.call]
            if not found:
                raise NothingToCapture(f"there is no call {order.call}", LIST_CALLS)
        else:
            found = [call for call in self._calls() if call.cause is None and _is_of(call, order.user)]
        if len(found) > 1:
            numbers = ", ".join(str(call.info.call_id) for call in found)
            raise CaptureRefused(f"{order.user} has {len(found)} calls: {numbers}", "name one of them by its Call ID")
        if not found and not order.wait:
            raise NothingToCapture(f"there is no call of {order.user}", "--wait waits for the next one")
        return found[0] if found else None


def _is_of(call: ObservedCall, user: str) -> bool:
    return call.accept is not None and folded(user) in (folded(user_of(call)), folded(call.name))


def comment_on(call: ObservedCall) -> str:
    """What a file says of its call."""
    info = call.info
    return f"call {info.call_id} of {user_of(call) or 'nobody yet'} from {info.peer}, session {info.session_id}"


def empty_capture(why: str) -> Capture:
    """The capture of a call that never was, and ``why``."""
    capture = Capture("no call", CAPTURE_OCTETS, lambda capture: None)
    capture.end(why)
    return capture


class _Waiting:
    """A capture that waits for its call, among ``others``."""

    def __init__(self, order: CaptureOrder, others: "list[_Waiting]") -> None:
        self.order = order
        self._others = others
        self._others.append(self)
        self._until = trio.current_time() + order.seconds
        self._there = trio.Event()
        self._capture: ReadCapture | None = None

    def goes_on_with(self, capture: ReadCapture) -> None:
        """The call is there."""
        self._capture = capture
        self._others.remove(self)
        self._there.set()

    async def next_chunk(self) -> bytes:
        if self._capture is None:
            with trio.move_on_at(self._until):
                await self._there.wait()
        if self._capture is None:
            self.goes_on_with(empty_capture(f"{self.order.user} did not call within {self.order.seconds:g} s"))
        assert self._capture is not None
        return await self._capture.next_chunk()

    def abandon(self) -> None:
        if self._capture is not None:
            self._capture.abandon()
        elif self in self._others:
            self._others.remove(self)


class LocalCaptures(Captures):
    """The captures of a process that has calls itself."""

    def __init__(self, config: Config, ticker: Ticker, calls: Callable[[], Iterable[ObservedCall]]) -> None:
        super().__init__(config, calls)
        self._ticker = ticker
        self._captures: set[Capture] = set()

    def end_all(self, why: str) -> None:
        """End every capture, also those that wait for a call."""
        for capture in tuple(self._captures):
            capture.end(why)
        for waiting in tuple(self._waiting):
            waiting.goes_on_with(empty_capture(why))

    def of_session(self, session_id: str, order: CaptureOrder) -> ReadCapture:
        """Capture the call with this ``session_id``, which a parent has chosen. Raises `CaptureRefused`."""
        for call in self._calls():
            if call.info.session_id == session_id:
                return self._begin(call, order)
        raise NothingToCapture("the call has ended", LIST_CALLS)

    def _begin(self, call: ObservedCall, order: CaptureOrder) -> ReadCapture:
        path: CallPath | None = getattr(call, "path", None)
        number = call.info.call_id
        if path is None:
            raise CaptureRefused(f"call {number} has no packets yet, or no more", "try again")
        if not isinstance(path, GreCallPath):
            device = f"{device_prefix(self._config.server.interface)}{number}"
            raise CaptureRefused(
                f"the packets of call {number} pass in the kernel, where poptrio does not see them",
                f"`tcpdump -i {device}` shows the inner ones, `tcpdump host {call.info.peer} and proto gre` the others",
            )
        if path.tap is not None:
            raise CaptureRefused(f"call {number} is being captured already", "wait for the end of that")
        alarm = self._ticker.alarm(lambda now: capture.end("its time is over"))
        capture = Capture(comment_on(call), order.octets, partial(self._ended, call, order.by, lambda: close()))
        untap = tap(path, capture.record, partial(capture.end, "the call is over"))

        def close() -> None:
            untap()
            alarm.close()

        alarm.set(trio.current_time() + order.seconds)
        self._open += 1
        self._captures.add(capture)
        log.warning(
            "capture begun",
            call=number,
            user=user_of(call),
            peer=str(call.info.peer),
            octets=order.octets,
            seconds=order.seconds,
            by=order.by,
        )
        return capture

    def _ended(self, call: ObservedCall, by: str, close: Callable[[], None], capture: Capture) -> None:
        close()
        self._open -= 1
        self._captures.discard(capture)
        log.warning(
            "capture ended",
            call=call.info.call_id,
            user=user_of(call),
            why=capture.why,
            octets=capture.octets,
            packets=sum(capture.received.values()),
            dropped=sum(capture.dropped.values()),
            by=by,
        )
