"""What a PPTP control connection tells its owner: one frozen dataclass per event.

``call_id`` is always our Call ID and ``peer_call_id`` the peer's, exactly as received (RFC 2637 §3.2.2).
Texts come from the peer and are shown as they came: they may hold anything printable or not.
"""

from dataclasses import dataclass

from poptrio.errors import CauseOfEnd
from poptrio.protocols.pptp.codes import ControlType


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStarted:
    """The control connection is established; what the peer says about itself (RFC 2637 §2.1, §2.2)."""

    protocol_version: int
    framing_capabilities: int
    bearer_capabilities: int
    maximum_channels: int
    firmware_revision: int
    host_name: str
    vendor_name: str


@dataclass(frozen=True, slots=True)
class StartRefused:
    """Client role: the server refused the control connection (StartResult, GeneralError); its end follows at once."""

    result: int
    error: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequested:
    """Server role: answer with ``accept_call`` or ``refuse_call`` (RFC 2637 §2.7). Speeds are bit/s as received."""

    peer_call_id: int
    serial_number: int
    minimum_bps: int
    maximum_bps: int
    window_size: int
    phone_number: str
    subaddress: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallConnected:
    """Client role: the server accepted our call; GRE may flow (RFC 2637 §2.8)."""

    call_id: int
    peer_call_id: int
    connect_speed: int
    window_size: int


@dataclass(frozen=True, slots=True)
class CallRefused:
    """Client role: the server refused our call (OutgoingCallResult, GeneralError); ``call_id`` is free again."""

    call_id: int
    result: int
    error: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """The peer ended this call, or in the client role confirmed that it ended; ``call_id`` is free again.

    ``message`` is what it sent: a Call-Clear-Request, a Call-Disconnect-Notify with its result (DisconnectResult),
    error and statistics text, or the refusing Outgoing-Call-Reply that crossed our Call-Clear-Request.
    """

    call_id: int
    message: ControlType
    result: int
    error: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class LinkInfoReceived:
    """Set-Link-Info for a call (RFC 2637 §2.15). PPTP over the internet has no asynchronous line: for the log only."""

    call_id: int
    send_accm: int
    receive_accm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WanErrorsReceived:
    """WAN-Error-Notify for a call (RFC 2637 §2.14): the peer's counters since the call began, for the log only."""

    call_id: int
    crc_errors: int
    framing_errors: int
    hardware_overruns: int
    buffer_overruns: int
    time_out_errors: int
    alignment_errors: int


@dataclass(frozen=True, slots=True)
class CallNotAccepted:
    """The peer asked for a call of a kind that we do not take, and was refused.

    ``message`` is an Incoming-Call-Request, or in the client role an Outgoing-Call-Request.
    """

    message: ControlType
    peer_call_id: int


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Our Echo-Request was answered after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """The last event, exactly once: close TCP after ``data_to_send`` is sent. Every call that still lived has ended."""

    cause: CauseOfEnd
    text: str


ControlEvent = (
    ConnectionStarted
    | StartRefused
    | CallRequested
    | CallConnected
    | CallRefused
    | CallEnded
    | LinkInfoReceived
    | WanErrorsReceived
    | CallNotAccepted
    | RoundTrip
    | ConnectionEnded
)
