"""The calls of one control connection (RFC 2637 §3.2.4), in both roles; a control connection may carry several.

A server's call begins with the client's Outgoing-Call-Request and is known by the client's Call ID until its owner
answers with one of ours (the RFC's wait_cs_ans). A client's call begins with our request and learns the server's Call
ID from the reply. Call-Clear-Request and Call-Disconnect-Notify carry the sender's own Call ID (§2.12, §2.13),
Set-Link-Info and WAN-Error-Notify the receiver's. A message for a Call ID that nobody has is discarded: it crossed the
end of its call.
"""

import math
from dataclasses import dataclass
from enum import Enum

from poptrio.errors import DisconnectResult, LocalProtocolError
from poptrio.protocols.pptp.codes import ControlType, GeneralError, OutgoingCallResult
from poptrio.protocols.pptp.events import (
    CallConnected,
    CallEnded,
    CallRefused,
    CallRequested,
    LinkInfoReceived,
    WanErrorsReceived,
)
from poptrio.protocols.pptp.messages import (
    CallClearRequest,
    CallDisconnectNotify,
    ControlMessage,
    OutgoingCallReply,
    OutgoingCallRequest,
    SetLinkInfo,
    WanErrorNotify,
)
from poptrio.protocols.pptp.outbox import Outbox
from poptrio.protocols.pptp.stream import BadMessage


class CallState(Enum):
    """States of a call that has a Call ID of ours: the PNS's of RFC 2637 §3.2.4.2; a server's are all established."""

    WAIT_REPLY = "wait_reply"
    ESTABLISHED = "established"
    WAIT_DISCONNECT = "wait_disconnect"


@dataclass(slots=True)
class _Call:
    call_id: int
    peer_call_id: int | None
    state: CallState
    deadline: float = math.inf


class Calls:
    """The calls of one control connection; the messages and events that they cause go to ``outbox``."""

    __slots__ = ("_cleared", "_ours", "_outbox", "_theirs", "_waiting", "last_ended")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._ours: dict[int, _Call] = {}
        self._theirs: dict[int, _Call] = {}
        self._waiting: dict[int, CallRequested] = {}  # by peer Call ID: not yet accepted or refused
        self._cleared: dict[int, CallRequested] = {}  # the same, and the client gave up meanwhile
        self.last_ended = -math.inf  # when the last call that had a Call ID of ours ended

    def __bool__(self) -> bool:
        """Whether there is a call, in whatever state."""
        return bool(self._ours or self._waiting or self._cleared)

    def next_deadline(self) -> float:
        """By when the server owes us a reply about a call; math.inf when it owes none."""
        return min((call.deadline for call in self._ours.values()), default=math.inf)

    def describe_overdue(self, now: float) -> str:
        """Which replies did not come by ``now``, as half a sentence."""
        overdue = [call for call in self._ours.values() if call.deadline <= now]
        return ", ".join(f"call {call.call_id} is still in {call.state.value}" for call in overdue)

    # What the peer says.

    def receive(self, message: ControlMessage, now: float) -> None:
        """Take a message about a call. Raises BadMessage when it contradicts what the peer said before."""
        match message:
            case OutgoingCallRequest():
                self._requested(message)
            case OutgoingCallReply():
                self._replied(message, now)
            case CallClearRequest():
                self._clear_requested(message, now)
            case CallDisconnectNotify():
                self._disconnect_notified(message, now)
            case SetLinkInfo() if message.peer_call_id in self._ours:
                self._outbox.emit(LinkInfoReceived(message.peer_call_id, message.send_accm, message.receive_accm))
            case WanErrorNotify() if message.peer_call_id in self._ours:
                self._outbox.emit(_wan_errors(message))

    def _requested(self, message: OutgoingCallRequest) -> None:
        peer_call_id = message.call_id
        if peer_call_id in self._theirs or peer_call_id in self._waiting or peer_call_id in self._cleared:
            self._send_refusal(peer_call_id, OutgoingCallResult.GENERAL_ERROR, GeneralError.BAD_CALL_ID)
            return
        request = CallRequested(
            peer_call_id=peer_call_id,
            serial_number=message.call_serial_number,
            minimum_bps=message.minimum_bps,
            maximum_bps=message.maximum_bps,
            window_size=message.packet_window_size,
            phone_number=message.phone_number,
            subaddress=message.subaddress,
        )
        self._waiting[peer_call_id] = request
        self._outbox.emit(request)

    def _replied(self, reply: OutgoingCallReply, now: float) -> None:
        call = self._ours.get(reply.peer_call_id)
        if call is None or call.peer_call_id is not None:
            return
        if reply.result_code != OutgoingCallResult.CONNECTED:
            self._refused(call, reply, now)
            return
        if reply.call_id in self._theirs:
            raise BadMessage(f"the server gave Call ID {reply.call_id} to two calls", GeneralError.BAD_CALL_ID)
        call.peer_call_id = reply.call_id
        self._theirs[reply.call_id] = call
        if call.state is CallState.WAIT_REPLY:
            call.state, call.deadline = CallState.ESTABLISHED, math.inf
            self._outbox.emit(
                CallConnected(
                    call_id=call.call_id,
                    peer_call_id=reply.call_id,
                    connect_speed=reply.connect_speed,
                    window_size=reply.packet_window_size,
                )
            )

    def _refused(self, call: _Call, reply: OutgoingCallReply, now: float) -> None:
        self._forget(call, now)
        if call.state is CallState.WAIT_REPLY:
            self._outbox.emit(CallRefused(call.call_id, reply.result_code, reply.error_code))
        else:
            self._emit_end(call, reply.control_type, reply.result_code, reply.error_code)

    def _clear_requested(self, message: CallClearRequest, now: float) -> None:
        if self._withdraw(message.call_id):
            return
        call = self._theirs.get(message.call_id)
        if call is not None:
            self._forget(call, now)
            self._outbox.send(CallDisconnectNotify(call_id=call.call_id, result_code=DisconnectResult.REQUEST))
            self._emit_end(call, message.control_type, DisconnectResult.REQUEST, GeneralError.NONE)

    def _disconnect_notified(self, message: CallDisconnectNotify, now: float) -> None:
        if self._withdraw(message.call_id):
            return
        call = self._theirs.get(message.call_id) or self._cleared_before_reply()
        if call is not None:
            self._forget(call, now)
            self._emit_end(call, message.control_type, message.result_code, message.error_code, message.call_statistics)

    def _cleared_before_reply(self) -> _Call | None:
        """The oldest call that we cleared before its reply: its notify carries a Call ID we never saw (§2.13)."""
        cleared = (call for call in self._ours.values() if call.state is CallState.WAIT_DISCONNECT)
        return next((call for call in cleared if call.peer_call_id is None), None)

    def _withdraw(self, peer_call_id: int) -> bool:
        """The client gave up a request that is not answered yet: the answer will be a Call-Disconnect-Notify."""
        request = self._waiting.pop(peer_call_id, None)
        if request is not None:
            self._cleared[peer_call_id] = request
        return peer_call_id in self._cleared

    # What our owner says.

    def accept(self, request: CallRequested, call_id: int, connect_speed: int, window_size: int, now: float) -> bool:
        """Server: Outgoing-Call-Reply Connected; False, with a Call-Disconnect-Notify, when the client gave up."""
        if call_id in self._ours or not 0 < call_id <= 0xFFFF:
            raise LocalProtocolError(f"Call ID {call_id} is in use or not a number between 1 and 65535")
        if self._answer(request):
            self._outbox.send(CallDisconnectNotify(call_id=call_id, result_code=DisconnectResult.REQUEST))
            self.last_ended = now
            return False
        self._theirs[request.peer_call_id] = self._ours[call_id] = _Call(
            call_id, request.peer_call_id, CallState.ESTABLISHED
        )
        self._outbox.send(
            OutgoingCallReply(
                call_id=call_id,
                peer_call_id=request.peer_call_id,
                result_code=OutgoingCallResult.CONNECTED,
                connect_speed=connect_speed,
                packet_window_size=window_size,
            )
        )
        return True

    def refuse(self, request: CallRequested, result: int, error: int) -> None:
        """Server: Outgoing-Call-Reply with this result, which also ends the call of a client that gave up."""
        self._answer(request)
        self._send_refusal(request.peer_call_id, result, error)

    def _answer(self, request: CallRequested) -> bool:
        """Take the request off the list of those without answer; whether the client gave up meanwhile."""
        for requests in (self._waiting, self._cleared):
            if requests.get(request.peer_call_id) is request:
                del requests[request.peer_call_id]
                if not requests:
                    requests.clear()  # gives back its memory, which it would keep for as long as the connection lives
                return requests is self._cleared
        raise LocalProtocolError(f"the request for peer Call ID {request.peer_call_id} is answered already")

    def disconnect(self, call_id: int, result: DisconnectResult, text: str, now: float) -> None:
        """Server: Call-Disconnect-Notify with our Call ID; nothing when the call has just ended."""
        call = self._ours.get(call_id)
        if call is not None:
            self._forget(call, now)
            error = GeneralError.PAC_ERROR if result == DisconnectResult.GENERAL_ERROR else GeneralError.NONE
            self._outbox.send(
                CallDisconnectNotify(call_id=call_id, result_code=result, error_code=error, call_statistics=text)
            )

    def request(self, message: OutgoingCallRequest, deadline: float) -> None:
        """Client: send this Outgoing-Call-Request; the server owes the reply by the deadline."""
        if message.call_id in self._ours:
            raise LocalProtocolError(f"Call ID {message.call_id} is in use")
        self._outbox.send(message)
        self._ours[message.call_id] = _Call(message.call_id, None, CallState.WAIT_REPLY, deadline)

    def clear(self, call_id: int, deadline: float) -> None:
        """Client: Call-Clear-Request; the server owes a Call-Disconnect-Notify. Nothing when the call has ended."""
        call = self._ours.get(call_id)
        if call is not None and call.state is not CallState.WAIT_DISCONNECT:
            call.state, call.deadline = CallState.WAIT_DISCONNECT, deadline
            self._outbox.send(CallClearRequest(call_id=call_id))

    def _send_refusal(self, peer_call_id: int, result: int, error: int) -> None:
        self._outbox.send(OutgoingCallReply(call_id=0, peer_call_id=peer_call_id, result_code=result, error_code=error))

    def _forget(self, call: _Call, now: float) -> None:
        del self._ours[call.call_id]
        if call.peer_call_id is not None:
            del self._theirs[call.peer_call_id]
        self.last_ended = now

    def _emit_end(self, call: _Call, message: ControlType, result: int, error: int, text: str = "") -> None:
        self._outbox.emit(CallEnded(call_id=call.call_id, message=message, result=result, error=error, text=text))


def _wan_errors(message: WanErrorNotify) -> WanErrorsReceived:
    return WanErrorsReceived(
        call_id=message.peer_call_id,
        crc_errors=message.crc_errors,
        framing_errors=message.framing_errors,
        hardware_overruns=message.hardware_overruns,
        buffer_overruns=message.buffer_overruns,
        time_out_errors=message.time_out_errors,
        alignment_errors=message.alignment_errors,
    )
