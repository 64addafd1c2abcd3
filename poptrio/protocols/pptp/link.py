"""What a PPTP control connection is made of: its role, its settings, and the state that its actions work on."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from poptrio.errors import CauseOfEnd
from poptrio.protocols.pptp.calls import Calls
from poptrio.protocols.pptp.codes import StopReason
from poptrio.protocols.pptp.events import ConnectionEnded
from poptrio.protocols.pptp.outbox import Outbox
from poptrio.protocols.pptp.states import State


class Role(Enum):
    """Which end we are: the client opened the TCP connection (RFC 2637 §3.1)."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """What we say about ourselves, and how long we wait, in seconds (RFC 2637 §3.1.4).

    ``start_timeout``: for the Start-Control-Connection-Request or -Reply. ``call_timeout``: a server's patience with a
    connection without a call, a client's with the reply to a request. ``echo_interval``: silence before an
    Echo-Request; ``echo_timeout``: for its reply. ``stop_timeout``: for the Stop-Control-Connection-Reply.
    ``connect_speed`` in bit/s and ``window_size`` in packets are what our messages name.
    """

    host_name: str = ""
    vendor: str = "poptrio"
    firmware: int = 1
    start_timeout: float = 10.0
    call_timeout: float = 30.0
    echo_interval: float = 60.0
    echo_timeout: float = 60.0
    stop_timeout: float = 5.0
    max_channels: int = 0
    connect_speed: int = 100_000_000
    window_size: int = 64


@dataclass(frozen=True, slots=True)
class Echo:
    """Our Echo-Request that waits for its reply."""

    identifier: int
    sent: float


class Link:
    """What the actions work on: the state of one control connection, what it has to say, and its calls."""

    __slots__ = (
        "calls", "echo", "ends", "identifiers", "now", "outbox", "peer", "role", "settings", "state", "stop_reason",
    )  # fmt: skip

    def __init__(
        self, role: Role, settings: ControlSettings, now: float, identifiers: Iterator[int], outbox: Outbox
    ) -> None:
        self.role = role
        self.peer = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        self.settings = settings
        self.state = State.IDLE
        self.now = now
        self.identifiers = identifiers
        self.outbox = outbox
        self.calls = Calls(outbox)
        self.echo: Echo | None = None
        self.stop_reason = StopReason.NONE
        self.ends: tuple[ConnectionEnded, ...] = ()  # the first is the one that counts

    def blame(self, cause: CauseOfEnd, text: str) -> None:
        """Say why the connection will end; later causes are consequences and not told."""
        self.ends += (ConnectionEnded(cause, text),)
