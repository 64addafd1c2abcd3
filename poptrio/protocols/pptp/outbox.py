"""What a PPTP control connection has to say: octets for TCP and events for its owner, until somebody fetches them."""

from collections.abc import Callable

from poptrio.protocols.pptp.events import ControlEvent
from poptrio.protocols.pptp.messages import ControlMessage


class Outbox:
    """Messages go in encoded and events as they are. ``trace`` hears of every message, for a debug log."""

    __slots__ = ("events", "output", "trace")

    def __init__(self, trace: Callable[[str], None] | None) -> None:
        self.trace = trace
        self.output = bytearray()
        self.events: list[ControlEvent] = []  # short and mostly empty: a deque takes 600 octets for that

    def send(self, message: ControlMessage) -> None:
        """Append the message to what TCP shall send. Raises LocalProtocolError when it cannot be encoded."""
        self.output += message.encode()
        if self.trace is not None:
            self.trace(f"sent {message}")

    def emit(self, event: ControlEvent) -> None:
        """Append the event to what the owner shall know."""
        self.events.append(event)
