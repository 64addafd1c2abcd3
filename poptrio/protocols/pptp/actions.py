"""The actions of the PPTP control connection: what the tables of `states` name, one function each (RFC 2637 §2, §3.1).

An action gets the `Link` it works on and the subject of the transition: the message that arrived, the error in it, or
the sentence that says what happened.
"""

from collections.abc import Callable, Mapping

from poptrio.errors import CauseOfEnd
from poptrio.protocols.pptp import codes, messages
from poptrio.protocols.pptp.codes import (
    Bearer,
    EchoResult,
    Framing,
    GeneralError,
    StartResult,
    StopReason,
    StopResult,
    explained,
)
from poptrio.protocols.pptp.events import (
    CallNotAccepted,
    ConnectionStarted,
    RoundTrip,
    StartRefused,
)
from poptrio.protocols.pptp.link import Echo, Link, Role
from poptrio.protocols.pptp.messages import ControlMessage, StartControlConnectionReply, StartControlConnectionRequest
from poptrio.protocols.pptp.stream import BadMessage

# Start and stop (RFC 2637 §2.1 to §2.4).


def open_connection(link: Link, _: object) -> None:
    """Client: Start-Control-Connection-Request."""
    link.outbox.send(
        StartControlConnectionRequest(
            framing_capabilities=Framing.ANY,
            bearer_capabilities=Bearer.ANY,
            maximum_channels=link.settings.max_channels,
            firmware_revision=link.settings.firmware,
            host_name=link.settings.host_name,
            vendor_name=link.settings.vendor,
        )
    )


def send_start_reply(link: Link, result: StartResult, error: int = GeneralError.NONE) -> None:
    """Server: Start-Control-Connection-Reply with this result."""
    link.outbox.send(
        StartControlConnectionReply(
            result_code=result,
            error_code=error,
            framing_capabilities=Framing.ANY,
            bearer_capabilities=Bearer.ANY,
            maximum_channels=link.settings.max_channels,
            firmware_revision=link.settings.firmware,
            host_name=link.settings.host_name,
            vendor_name=link.settings.vendor,
        )
    )


def start(link: Link, request: StartControlConnectionRequest) -> None:
    """Server: accept the control connection."""
    send_start_reply(link, StartResult.SUCCESSFUL)
    started(link, request)


def started(link: Link, message: StartControlConnectionRequest | StartControlConnectionReply) -> None:
    """The control connection is up."""
    link.outbox.emit(
        ConnectionStarted(
            protocol_version=message.protocol_version,
            framing_capabilities=message.framing_capabilities,
            bearer_capabilities=message.bearer_capabilities,
            maximum_channels=message.maximum_channels,
            firmware_revision=message.firmware_revision,
            host_name=message.host_name,
            vendor_name=message.vendor_name,
        )
    )


def refuse_version(link: Link, request: StartControlConnectionRequest) -> None:
    """Server: the client speaks an earlier version only (RFC 2637 §3.1.2)."""
    send_start_reply(link, StartResult.VERSION_NOT_SUPPORTED)
    link.blame(CauseOfEnd.PROTOCOL_ERROR, f"the client speaks version 0x{request.protocol_version:04x} of PPTP")


def already_exists(link: Link, _: object) -> None:
    """Server: a second Start-Control-Connection-Request."""
    send_start_reply(link, StartResult.COMMAND_CHANNEL_EXISTS)
    link.blame(CauseOfEnd.PROTOCOL_ERROR, "the client started the control connection twice")


def start_refused(link: Link, reply: StartControlConnectionReply) -> None:
    """Client: the server will not have us."""
    reason = explained(reply.result_code, reply.error_code)
    link.outbox.emit(StartRefused(reply.result_code, reply.error_code))
    link.blame(CauseOfEnd.CONTROL_CONNECTION_LOST, f"the server refused the control connection: {reason}")


def other_version(link: Link, reply: StartControlConnectionReply) -> None:
    """Client: the server answered with a version that we do not speak (RFC 2637 §3.1.1)."""
    link.stop_reason = StopReason.STOP_PROTOCOL
    link.blame(CauseOfEnd.PROTOCOL_ERROR, f"the server speaks version 0x{reply.protocol_version:04x} of PPTP")


def send_stop_request(link: Link, _: object) -> None:
    """Stop-Control-Connection-Request, for the reason that was set before."""
    link.outbox.send(messages.StopControlConnectionRequest(reason=link.stop_reason))


def stopped(link: Link, request: messages.StopControlConnectionRequest) -> None:
    """The peer says goodbye: Stop-Control-Connection-Reply."""
    link.outbox.send(messages.StopControlConnectionReply(result_code=StopResult.OK))
    cause = CauseOfEnd.CLIENT_HUNG_UP if link.role is Role.SERVER else CauseOfEnd.SERVER_SHUTDOWN
    link.blame(
        cause, f"the {link.peer.value} stopped the control connection: {explained(request.reason, GeneralError.NONE)}"
    )


# Echo (RFC 2637 §2.5, §2.6, §3.1.4).


def send_echo_request(link: Link, _: object) -> None:
    """Nothing was heard for a while: Echo-Request."""
    link.echo = Echo(next(link.identifiers), link.now)
    link.outbox.send(messages.EchoRequest(identifier=link.echo.identifier))


def send_echo_reply(link: Link, request: messages.EchoRequest) -> None:
    """Echo-Reply with the request's identifier."""
    link.outbox.send(messages.EchoReply(identifier=request.identifier, result_code=EchoResult.OK))


def echo_answered(link: Link, reply: messages.EchoReply) -> None:
    """The reply to our Echo-Request; any result proves that the peer lives, another identifier proves nothing."""
    if link.echo is not None and link.echo.identifier == reply.identifier:
        link.outbox.emit(RoundTrip(link.now - link.echo.sent))
        link.echo = None


# Calls (RFC 2637 §2.7 to §2.15).


def receive_call_message(link: Link, message: ControlMessage) -> None:
    """Whatever is about a call."""
    link.calls.receive(message, link.now)


def refuse_call_of_this_kind(link: Link, request: messages.IncomingCallRequest | messages.OutgoingCallRequest) -> None:
    """A server takes no Incoming-Calls, a client none at all: Do Not Accept (RFC 2637 §2.10, §2.8)."""
    if isinstance(request, messages.IncomingCallRequest):
        incoming = codes.IncomingCallResult.DO_NOT_ACCEPT
        link.outbox.send(messages.IncomingCallReply(call_id=0, peer_call_id=request.call_id, result_code=incoming))
    else:
        outgoing = codes.OutgoingCallResult.DO_NOT_ACCEPT
        link.outbox.send(messages.OutgoingCallReply(call_id=0, peer_call_id=request.call_id, result_code=outgoing))
    link.outbox.emit(CallNotAccepted(request.control_type, request.call_id))


# Faults.


def not_connected(
    link: Link, request: messages.EchoRequest | messages.OutgoingCallRequest | messages.IncomingCallRequest
) -> None:
    """A request before the start: its own reply, General Error, Not-Connected (RFC 2637 §2.16)."""
    error = GeneralError.NOT_CONNECTED
    if isinstance(request, messages.EchoRequest):
        failed = EchoResult.GENERAL_ERROR
        link.outbox.send(messages.EchoReply(identifier=request.identifier, result_code=failed, error_code=error))
    elif isinstance(request, messages.OutgoingCallRequest):
        outgoing = codes.OutgoingCallResult.GENERAL_ERROR
        link.outbox.send(
            messages.OutgoingCallReply(call_id=0, peer_call_id=request.call_id, result_code=outgoing, error_code=error)
        )
    else:
        incoming = codes.IncomingCallResult.GENERAL_ERROR
        link.outbox.send(
            messages.IncomingCallReply(call_id=0, peer_call_id=request.call_id, result_code=incoming, error_code=error)
        )
    blame_illegal(link, request)


def blame_illegal(link: Link, message: ControlMessage) -> None:
    """A message that is not legal in this state."""
    link.blame(
        CauseOfEnd.PROTOCOL_ERROR,
        f"the {link.peer.value} sent {message.layout.name} in state {link.state.value}",
    )


def blame_bad(link: Link, fault: Exception) -> None:
    """A message that cannot be understood."""
    link.blame(CauseOfEnd.PROTOCOL_ERROR, f"the {link.peer.value} broke the protocol: {fault}")


def refuse_bad_start(link: Link, fault: BadMessage) -> None:
    """Server: the first message is a bad one; Start-Control-Connection-Reply with a General Error."""
    send_start_reply(link, StartResult.GENERAL_ERROR, fault.error)


def blame_loss(link: Link, text: str) -> None:
    """TCP closed without a goodbye, or the peer let a deadline pass."""
    link.blame(CauseOfEnd.CONTROL_CONNECTION_LOST, text)


def blame_no_echo(link: Link, text: str) -> None:
    """Our Echo-Request was not answered in time."""
    link.blame(CauseOfEnd.CONTROL_ECHO_TIMEOUT, text)


ACTIONS: Mapping[str, Callable[..., None]] = {
    "open": open_connection,
    "start": start,
    "started": started,
    "refused": start_refused,
    "version": refuse_version,
    "other": other_version,
    "exists": already_exists,
    "stop": send_stop_request,
    "stopped": stopped,
    "echo_request": send_echo_request,
    "echo_reply": send_echo_reply,
    "echo_answered": echo_answered,
    "call": receive_call_message,
    "refuse": refuse_call_of_this_kind,
    "not_connected": not_connected,
    "ill": blame_illegal,
    "bad": blame_bad,
    "bad_start": refuse_bad_start,
    "lost": blame_loss,
    "no_start": blame_loss,
    "no_call": blame_loss,
    "no_echo": blame_no_echo,
}
"""The names that stand in the tables. Each function takes the link and the subject that its inputs come with."""
