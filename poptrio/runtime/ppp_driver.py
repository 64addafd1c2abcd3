"""Drives a PPP session: frames and deadlines in, frames and data path settings out, at once and without a task.

Frames and alarms are handled synchronously where they arise (in the reader of the data path and in the ticker), because
a hop through a task costs fifty times as much, and because the first data packet of a peer follows its last control
frame at once. Whatever raises there is a bug of ours; it is logged and ends this session only.
"""

from collections.abc import Callable

import structlog
import trio

from poptrio.datapath.base import CallPath
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.notation import log_line
from poptrio.protocols.ppp.session import Phase, PppSession
from poptrio.protocols.ppp.session_events import SessionEvent
from poptrio.runtime.flag import Flag
from poptrio.runtime.ticker import Ticker

log = structlog.get_logger("poptrio.ppp")

EARLY_FRAMES = 8
"""Frames kept until the session starts; GRE has acknowledged them, and the peer would repeat them after 3 s only."""


class PppDriver:
    """The `CallOwner` of a path, between it and ``session``.

    ``happened`` hears every session event that the driver does not carry out itself; it returns at once. ``failed``
    hears why the path cannot go on. ``heard`` is when the first frame came, ``over`` is set when the session has ended.
    ``trace`` gets a line for every control frame, without secrets: ``sent [LCP TermReq 2]``; it may change at any time.
    """

    def __init__(
        self,
        session: PppSession,
        ticker: Ticker,
        happened: Callable[[SessionEvent], None],
        failed: Callable[[str], None],
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.over = Flag()
        self.heard: float | None = None
        self._session = session
        self._happened = happened
        self._failed = failed
        self.trace = trace
        self._path: CallPath | None = None
        self._early: tuple[bytes, ...] = ()
        self._alarm = ticker.alarm(self._deadline_reached)

    def start(self, path: CallPath) -> None:
        """The GRE channel is there: begin with LCP."""
        self._path = path
        now = trio.current_time()
        self.do(self._session.start, now)
        early, self._early = self._early, ()
        for frame in early:
            self.do(self._session.receive_frame, frame, now)

    def do(self, action: Callable[..., None], *args: object) -> None:
        """Do something with the session, then everything that follows from it; nothing when it is over."""
        if self.over.is_set():
            return
        try:
            action(*args)
            while (event := self._session.next_event()) is not None:
                self._carry_out(event)
            if self._path is not None:
                for frame in self._session.frames_to_send():
                    if self.trace is not None:
                        self.trace(f"sent [{log_line(frame)}]")
                    self._path.send_frame(frame)
            self._alarm.set(self._session.next_deadline())
        except Exception as error:
            log.exception("internal error", session=type(self._session).__name__)
            self._alarm.close()
            if self._path is not None:
                self._path.close_network()
            self.over.set()
            self._happened(events.SessionEnded(CauseOfEnd.INTERNAL_ERROR, repr(error)))

    def take_up(self, path: CallPath) -> None:
        """The session has been up on this ``path`` in another process."""
        self._path = path
        self.heard = trio.current_time()
        self._alarm.set(self._session.next_deadline())

    async def say_goodbye(self, terminate: Callable[[], None], wait: float) -> None:
        """``terminate`` the session if it still lives, and give the peer ``wait`` seconds to answer."""
        if self._session.phase is not Phase.DEAD and not self.over.is_set():
            self.do(terminate)
            with trio.move_on_after(wait):
                await self.over.wait()

    def close(self) -> None:
        """No more alarms."""
        self._alarm.close()

    # What the data path says (CallOwner).

    def frame_arrived(self, frame: bytes, encrypted: bool) -> None:
        """A PPP control frame from the peer; encrypted or not makes no difference to negotiation."""
        now = trio.current_time()
        if self.heard is None:
            self.heard = now
        if self.trace is not None:
            self.trace(f"received [{log_line(frame)}]")
        if self._path is not None:
            self.do(self._session.receive_frame, frame, now)
        elif len(self._early) < EARLY_FRAMES:
            # A fast client sends LCP before `start`, while our reply to its call is still being written.
            self._early += (frame,)

    def decryption_lost(self) -> None:
        """Stateful MPPE lost its place."""
        self.do(self._session.request_encryption_reset, trio.current_time())

    def path_failed(self, reason: str) -> None:
        """The data path cannot go on."""
        self._failed(reason)

    def _deadline_reached(self, now: float) -> None:
        if self._path is not None and self._path.counters.gre_received:
            self._session.peer_heard(self._path.counters.last_received)
        self.do(self._session.handle_timeout, now)

    def _carry_out(self, event: SessionEvent) -> None:
        path = self._path
        assert path is not None  # nothing happens before `start`
        match event:
            case events.EncryptionChanged():
                path.set_encryption(event.send, event.receive)
            case events.EncryptionReset():
                path.reset_encryption()
            case events.NetworkDown():
                path.close_network()
            case events.SessionEnded():
                self._happened(event)
                self.over.set()
            case _:
                self._happened(event)
