"""A conversation with one PPP session, in which the test is the peer and the clock.

    server = Playbook(ServerSession(SessionSettings(), CountingRandom()))
    server.start()
    assert server.hear("LCP ConfReq 1 <magic 0a0b0c0d>")[-1] == "LCP ConfAck 1 <magic 0a0b0c0d>"

Lines are those of `protocols.ppp.notation`.
"""

import math
from collections.abc import Callable
from typing import TypeVar

from poptrio.protocols.ppp.notation import line_from_frame
from poptrio.protocols.ppp.session import PppSession
from poptrio.protocols.ppp.session_events import SessionEnded, SessionEvent
from poptrio.testing.ppp_notation import frame_from_line

_Event = TypeVar("_Event")


class CountingRandom:
    """Octets that a test can foretell: all 01 at the first call, all 02 at the second."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, size: int) -> bytes:
        self._calls = self._calls % 0xFF + 1
        return bytes((self._calls,)) * size


class Playbook:
    """``session`` under test; ``now`` in seconds moves by `wait` only; ``happened`` are its events so far."""

    def __init__(self, session: PppSession) -> None:
        self.session = session
        self.now = 0.0
        self.happened: list[SessionEvent] = []

    def start(self) -> list[str]:
        """Begin; what the session says first."""
        self.session.start(self.now)
        return self.said()

    def hear(self, *lines: str) -> list[str]:
        """The peer sends these frames; what the session answers."""
        return self.hear_frames(*map(frame_from_line, lines))

    def hear_frames(self, *frames: bytes) -> list[str]:
        """The same with octets, for what has no notation."""
        for frame in frames:
            self.session.receive_frame(frame, self.now)
        return self.said()

    def do(self, action: Callable[..., None], *args: object) -> list[str]:
        """Call a method of the session that takes the time as its last argument; what the session says then."""
        action(*args, self.now)
        return self.said()

    def said(self) -> list[str]:
        """What the session has sent since the last look."""
        return [line_from_frame(frame) for frame in self.session.frames_to_send()]

    def wait(self, seconds: float = math.inf) -> list[str]:
        """Time passes: to the next deadline, or ``seconds`` with every deadline in them; what the session says."""
        until = self.now + seconds if seconds < math.inf else self.session.next_deadline()
        while self.session.next_deadline() <= until < math.inf:
            self.now = max(self.now, self.session.next_deadline())
            self.session.handle_timeout(self.now)
            if seconds == math.inf:
                break
        self.now = max(self.now, until) if until < math.inf else self.now
        return self.said()

    def events(self, *kinds: type[_Event]) -> list[_Event]:
        """What happened since the beginning, of these kinds (``object`` for everything)."""
        while (event := self.session.next_event()) is not None:
            self.happened.append(event)
        return [event for event in self.happened if isinstance(event, kinds)]

    @property
    def ended(self) -> SessionEnded | None:
        """Why the session ended; None while it lives."""
        events = self.events(SessionEnded)
        return events[0] if events else None
