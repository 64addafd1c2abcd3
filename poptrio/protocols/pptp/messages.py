"""The fifteen PPTP control messages as data (RFC 2637 §2.1 to §2.15), in the RFC's order, field order = wire order.

The RFC's PNS and PAC are the two ends of a call, whoever opened the TCP connection. Where a machine dials in over the
internet, the client is the PNS (it asks for an Outgoing-Call) and the server is the PAC. ``call_id`` in a message is
always the sender's own Call ID and ``peer_call_id`` the receiver's.

All numbers are unsigned and in network order. Reserved fields are sent as 0 and ignored on arrival, because known
clients do not all keep to it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, TypeVar, dataclass_transform

from poptrio.protocols.pptp.codes import PROTOCOL_VERSION, ControlType, GeneralError, spelled
from poptrio.protocols.pptp.layout import (
    DisconnectResultCode,
    EchoResultCode,
    ErrorCode,
    IncomingCallResultCode,
    Layout,
    OutgoingCallResultCode,
    StartResultCode,
    StopReasonCode,
    StopResultCode,
    Text64,
    Text128,
    u8,
    u16,
    u32,
)


class ControlMessage:
    """What all control messages have: their type, their layout, and one line for the log."""

    __slots__ = ()

    control_type: ClassVar[ControlType]
    layout: ClassVar[Layout]

    def encode(self) -> bytes:
        """The whole message, header included. Raises LocalProtocolError when a number does not fit its field."""
        return self.layout.pack(self)

    def __str__(self) -> str:
        named = [(field.name, getattr(self, field.name)) for field in fields(self)]  # type: ignore[arg-type]
        shown = (
            f" {name}={value!r}" if isinstance(value, str) else f" {name}={spelled(value)}"
            for name, value in named
            if not name.startswith("reserved")
        )
        return f"[{self.layout.name}{''.join(shown)}]"


Message = TypeVar("Message", bound=ControlMessage)

MESSAGES: dict[ControlType, Callable[..., ControlMessage]] = {}
"""Every message class by its Control Message Type; filled by `message`."""

LAYOUTS: dict[ControlType, Layout] = {}
"""Every layout by its Control Message Type; filled by `message`."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def message(control_type: ControlType, length: int) -> Callable[[type[Message]], type[Message]]:
    """Make the class a frozen dataclass, derive its layout of ``length`` octets in all, and register it."""

    def register(plain_class: type[Message]) -> type[Message]:
        message_class = dataclass(frozen=True, slots=True, kw_only=True)(plain_class)
        message_class.control_type = control_type
        message_class.layout = LAYOUTS[control_type] = Layout(message_class, control_type, length)
        MESSAGES[control_type] = message_class
        return message_class

    return register


@message(ControlType.START_CONTROL_CONNECTION_REQUEST, length=156)  # RFC 2637 §2.1
class StartControlConnectionRequest(ControlMessage):
    """Either → other: establish the control connection."""

    protocol_version: u16 = PROTOCOL_VERSION
    reserved1: u16 = 0
    framing_capabilities: u32  # bits of Framing
    bearer_capabilities: u32  # bits of Bearer
    maximum_channels: u16  # 0 from a PNS
    firmware_revision: u16
    host_name: Text64
    vendor_name: Text64


@message(ControlType.START_CONTROL_CONNECTION_REPLY, length=156)  # RFC 2637 §2.2
class StartControlConnectionReply(ControlMessage):
    """Answer to Start-Control-Connection-Request."""

    protocol_version: u16 = PROTOCOL_VERSION
    result_code: StartResultCode
    error_code: ErrorCode = GeneralError.NONE
    framing_capabilities: u32
    bearer_capabilities: u32
    maximum_channels: u16
    firmware_revision: u16
    host_name: Text64
    vendor_name: Text64


@message(ControlType.STOP_CONTROL_CONNECTION_REQUEST, length=16)  # RFC 2637 §2.3
class StopControlConnectionRequest(ControlMessage):
    """Either → other: close the control connection; all its calls are implicitly cleared."""

    reason: StopReasonCode
    reserved1: u8 = 0
    reserved2: u16 = 0


@message(ControlType.STOP_CONTROL_CONNECTION_REPLY, length=16)  # RFC 2637 §2.4
class StopControlConnectionReply(ControlMessage):
    """Answer to Stop-Control-Connection-Request."""

    result_code: StopResultCode
    error_code: ErrorCode = GeneralError.NONE
    reserved1: u16 = 0


@message(ControlType.ECHO_REQUEST, length=16)  # RFC 2637 §2.5
class EchoRequest(ControlMessage):
    """Either → other: are you there?"""

    identifier: u32


@message(ControlType.ECHO_REPLY, length=20)  # RFC 2637 §2.6
class EchoReply(ControlMessage):
    """Answer to Echo-Request, with its identifier."""

    identifier: u32
    result_code: EchoResultCode
    error_code: ErrorCode = GeneralError.NONE
    reserved1: u16 = 0


@message(ControlType.OUTGOING_CALL_REQUEST, length=168)  # RFC 2637 §2.7
class OutgoingCallRequest(ControlMessage):
    """Client → server: please open a call (RFC: PNS → PAC, place a call)."""

    call_id: u16  # chosen by the client; our replies carry it as peer_call_id
    call_serial_number: u16
    minimum_bps: u32
    maximum_bps: u32
    bearer_type: u32  # bits of Bearer
    framing_type: u32  # bits of Framing
    packet_window_size: u16
    packet_processing_delay: u16 = 0  # 1/10 s
    phone_number_length: u16 = 0
    reserved1: u16 = 0
    phone_number: Text64 = ""
    subaddress: Text64 = ""


@message(ControlType.OUTGOING_CALL_REPLY, length=32)  # RFC 2637 §2.8
class OutgoingCallReply(ControlMessage):
    """Server → client: answer to Outgoing-Call-Request."""

    call_id: u16
    peer_call_id: u16
    result_code: OutgoingCallResultCode
    error_code: ErrorCode = GeneralError.NONE
    cause_code: u16 = 0
    connect_speed: u32 = 0  # bit/s
    packet_window_size: u16 = 0
    packet_processing_delay: u16 = 0  # 1/10 s
    physical_channel_id: u32 = 0


@message(ControlType.INCOMING_CALL_REQUEST, length=220)  # RFC 2637 §2.9
class IncomingCallRequest(ControlMessage):
    """PAC → PNS: somebody calls in on a telephone line."""

    call_id: u16
    call_serial_number: u16
    bearer_type: u32
    physical_channel_id: u32
    dialed_number_length: u16 = 0
    dialing_number_length: u16 = 0
    dialed_number: Text64 = ""
    dialing_number: Text64 = ""
    subaddress: Text64 = ""


@message(ControlType.INCOMING_CALL_REPLY, length=24)  # RFC 2637 §2.10
class IncomingCallReply(ControlMessage):
    """PNS → PAC: answer to Incoming-Call-Request."""

    call_id: u16
    peer_call_id: u16
    result_code: IncomingCallResultCode
    error_code: ErrorCode = GeneralError.NONE
    packet_window_size: u16 = 0
    packet_transmit_delay: u16 = 0  # 1/10 s
    reserved1: u16 = 0


@message(ControlType.INCOMING_CALL_CONNECTED, length=28)  # RFC 2637 §2.11
class IncomingCallConnected(ControlMessage):
    """PAC → PNS: the third step of an incoming call."""

    peer_call_id: u16
    reserved1: u16 = 0
    connect_speed: u32  # bit/s
    packet_window_size: u16
    packet_transmit_delay: u16  # 1/10 s
    framing_type: u32


@message(ControlType.CALL_CLEAR_REQUEST, length=16)  # RFC 2637 §2.12
class CallClearRequest(ControlMessage):
    """Client → server (PNS → PAC): end this call. Carries the sender's own Call ID."""

    call_id: u16
    reserved1: u16 = 0


@message(ControlType.CALL_DISCONNECT_NOTIFY, length=148)  # RFC 2637 §2.13
class CallDisconnectNotify(ControlMessage):
    """Server → client (PAC → PNS): this call has ended. Carries the sender's own Call ID."""

    call_id: u16
    result_code: DisconnectResultCode
    error_code: ErrorCode = GeneralError.NONE
    cause_code: u16 = 0
    reserved1: u16 = 0
    call_statistics: Text128 = ""


@message(ControlType.WAN_ERROR_NOTIFY, length=40)  # RFC 2637 §2.14
class WanErrorNotify(ControlMessage):
    """Server → client (PAC → PNS): counters of errors on the line behind the PAC, since the call began."""

    peer_call_id: u16
    reserved1: u16 = 0
    crc_errors: u32
    framing_errors: u32
    hardware_overruns: u32
    buffer_overruns: u32
    time_out_errors: u32
    alignment_errors: u32


@message(ControlType.SET_LINK_INFO, length=24)  # RFC 2637 §2.15
class SetLinkInfo(ControlMessage):
    """Client → server (PNS → PAC): the ACCMs that LCP settled; meaningless where no line is asynchronous."""

    peer_call_id: u16
    reserved1: u16 = 0
    send_accm: u32
    receive_accm: u32
