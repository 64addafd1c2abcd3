"""The PPTP control connection (RFC 2637 §3.1), sans-I/O, in both roles: originator (client) and receiver (server).

Feed it what TCP delivers and the time; it says what to send, what happened and when it wants to be woken. The
transitions stand in `states`, what they do in `actions`, the calls in `calls`. Nothing that a peer sends makes a method
raise: a broken protocol becomes the answer that the RFC has for it and a final `ConnectionEnded`.

The owner's loop: feed; drain ``next_event`` to None; send ``data_to_send``; sleep until ``next_deadline``, then call
``handle_timeout``. After `ConnectionEnded` send what is left and close TCP. ``now`` is the Trio clock in seconds.
"""

import math
from collections.abc import Callable, Iterator

from poptrio.errors import CauseOfEnd, DisconnectResult, LocalProtocolError
from poptrio.protocols.pptp.actions import ACTIONS
from poptrio.protocols.pptp.codes import (
    PROTOCOL_VERSION,
    Bearer,
    Framing,
    GeneralError,
    OutgoingCallResult,
    StartResult,
    StopReason,
    spelled,
)
from poptrio.protocols.pptp.events import CallRequested, ControlEvent
from poptrio.protocols.pptp.link import ControlSettings, Link, Role
from poptrio.protocols.pptp.messages import (
    ControlMessage,
    OutgoingCallRequest,
    StartControlConnectionReply,
    StartControlConnectionRequest,
)
from poptrio.protocols.pptp.outbox import Outbox
from poptrio.protocols.pptp.states import ORIGINATOR, RECEIVER, Input, State
from poptrio.protocols.pptp.stream import BadMessage, LostSynchronization, MessageStream

__all__ = ["ControlConnection", "ControlSettings", "Role"]

_TABLES = {
    role: {
        occasion: ([ACTIONS[name] for name in transition.actions], transition.state)
        for occasion, transition in table.items()
    }
    for role, table in ((Role.CLIENT, ORIGINATOR), (Role.SERVER, RECEIVER))
}


class ControlConnection:
    """One control connection. ``identifiers`` yields numbers below 2**32 for our Echo-Requests, best random ones.

    ``trace``, where given, gets one line per message, ``sent [Echo-Request identifier=7]``, for a debug log.
    """

    __slots__ = ("_entered", "_last_received", "_link", "_outbox", "_settings", "_stream", "_table")

    def __init__(
        self,
        role: Role,
        settings: ControlSettings,
        now: float,
        identifiers: Iterator[int],
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self._outbox = Outbox(trace)
        self._link = Link(role, settings, now, identifiers, self._outbox)
        self._table = _TABLES[role]
        self._settings = settings
        self._stream = MessageStream()
        self._entered = now  # when the present state began
        self._last_received = now  # when the last message came

    @property
    def role(self) -> Role:
        """Which end we are."""
        return self._link.role

    @property
    def state(self) -> State:
        """Where the connection stands (RFC 2637 §3.1)."""
        return self._link.state

    def trace(self, heard: Callable[[str], None] | None) -> None:
        """From now on ``heard`` gets a line for each message, as ``trace`` at the beginning; None ends that."""
        self._outbox.trace = heard

    # What comes in.

    def receive_data(self, data: bytes | bytearray, now: float) -> None:
        """Octets from TCP, cut anywhere. Never raises; after the end they are discarded."""
        self._link.now = now
        if self.state is not State.ENDED:
            self._stream.feed(data)
        while self.state is not State.ENDED:
            try:
                message = self._stream.next_message()
                if message is None:
                    return
                self._receive(message)
            except BadMessage as fault:
                self._step(Input.BAD_MESSAGE, fault)
            except LostSynchronization as fault:
                self._step(Input.LOST_SYNCHRONIZATION, fault)

    def receive_eof(self, now: float) -> None:
        """TCP was closed or reset by the peer; idempotent."""
        self._link.now = now
        started = self.state in (State.ESTABLISHED, State.WAIT_STOP_REPLY)
        how = "without a goodbye" if started else "before the control connection was established"
        text = f"the {self._link.peer.value} closed TCP {how}"
        if self._stream.pending:
            text += f", {self._stream.pending} octets into a message"
        self._step(Input.TCP_CLOSED, text)

    def handle_timeout(self, now: float) -> None:
        """The time is ``now``; does what ``next_deadline`` was about, nothing if it is still to come."""
        link, settings, peer = self._link, self._settings, self._link.peer.value
        link.now = now
        if now < self.next_deadline():
            return
        if self.state is not State.ESTABLISHED:
            self._step(Input.REPLY_TIMEOUT, f"the {peer} did not start the control connection in time")
        elif self._call_deadline() <= now:
            self._step(Input.CALL_TIMEOUT, self._describe_call_timeout())
        elif link.echo is not None:
            self._step(
                Input.ECHO_TIMEOUT, f"the {peer} left an Echo-Request unanswered for {settings.echo_timeout:g} s"
            )
        else:
            self._step(Input.ECHO_INTERVAL)

    # What goes out.

    def next_event(self) -> ControlEvent | None:
        """What the owner must know next, None when there is nothing more."""
        return self._outbox.events.pop(0) if self._outbox.events else None

    def peek_data_to_send(self) -> bytes:
        """What `data_to_send` would return, which stays until `data_sent`."""
        return bytes(self._outbox.output)

    def data_sent(self, count: int) -> None:
        """The first ``count`` octets of `peek_data_to_send` are on their way."""
        del self._outbox.output[:count]

    @property
    def wants_to_send(self) -> bool:
        """Whether `data_to_send` has anything."""
        return bool(self._outbox.output)

    def data_to_send(self) -> bytes:
        """Everything that TCP shall send now, empty when nothing."""
        data = self.peek_data_to_send()
        self.data_sent(len(data))
        return data

    def next_deadline(self) -> float:
        """When ``handle_timeout`` is due; math.inf when nothing is waited for."""
        match self.state:
            case State.WAIT_CTL_REPLY:
                return self._entered + self._settings.start_timeout
            case State.IDLE if self.role is Role.SERVER:
                return self._entered + self._settings.start_timeout
            case State.ESTABLISHED:
                return min(self._echo_deadline(), self._call_deadline())
            case State.WAIT_STOP_REPLY:
                return self._entered + self._settings.stop_timeout
            case _:
                return math.inf

    # What the owner wants.

    def start(self, now: float) -> None:
        """Client: TCP is open, send Start-Control-Connection-Request."""
        self._link.now = now
        self._step(Input.LOCAL_START)

    def stop(self, reason: StopReason, now: float, cause: CauseOfEnd | None = None, text: str = "") -> None:
        """Say goodbye; the end comes with the peer's reply, its EOF or after ``stop_timeout``. Idempotent.

        ``cause`` and ``text`` are what `ConnectionEnded` will say: by default a client hung up, a server shut down.
        """
        link = self._link
        link.now = now
        by_default = CauseOfEnd.SERVER_SHUTDOWN if self.role is Role.SERVER else CauseOfEnd.CLIENT_HUNG_UP
        link.blame(cause or by_default, text or f"we stopped the control connection: {spelled(reason)}")
        link.stop_reason = reason
        self._step(Input.LOCAL_STOP)

    def accept_call(self, request: CallRequested, call_id: int, now: float) -> bool:
        """Server: Outgoing-Call-Reply, Connected; our Call ID is 1 to 65535 and unused.

        False, when the client gave the call up or the connection has ended meanwhile: ``call_id`` is free again, and no
        `CallEnded` follows. Raises LocalProtocolError for a request that is answered already or a Call ID in use.
        """
        self._link.now = now
        if self.state is not State.ESTABLISHED:
            return False
        fastest = self._settings.connect_speed
        speed = min(request.maximum_bps or fastest, fastest)
        return self._link.calls.accept(request, call_id, speed, self._settings.window_size, now)

    def refuse_call(
        self, request: CallRequested, result: OutgoingCallResult, error: GeneralError = GeneralError.NONE
    ) -> None:
        """Server: Outgoing-Call-Reply with a result that is not Connected; nothing when the connection has ended.

        Raises LocalProtocolError for a request that is answered already.
        """
        if self.state is State.ESTABLISHED:
            self._link.calls.refuse(request, result, error)

    def disconnect_call(self, call_id: int, result: DisconnectResult, now: float, text: str = "") -> None:
        """End a call; nothing when it or the connection has just ended.

        Server: Call-Disconnect-Notify with ``result`` and ``text`` as its statistics; the call is gone, no event
        follows. Client: Call-Clear-Request, which has room for neither; `CallEnded` follows when the server confirms.
        """
        self._link.now = now
        if self.state is not State.ESTABLISHED:
            return
        if self.role is Role.SERVER:
            self._link.calls.disconnect(call_id, result, text, now)
        else:
            self._link.calls.clear(call_id, now + self._settings.call_timeout)

    def request_call(self, call_id: int, now: float, *, serial_number: int = 0, phone_number: str = "") -> None:
        """Client: Outgoing-Call-Request; `CallConnected` or `CallRefused` follows, or the connection ends.

        Raises LocalProtocolError before `ConnectionStarted`, in the server role, and for a Call ID in use.
        """
        self._link.now = now
        if self.role is Role.SERVER or self.state in (State.IDLE, State.WAIT_CTL_REPLY):
            raise LocalProtocolError(f"request_call as {self.role.value} in state {self.state.value}")
        if self.state is State.ESTABLISHED:
            request = OutgoingCallRequest(
                call_id=call_id,
                call_serial_number=serial_number,
                minimum_bps=300,
                maximum_bps=self._settings.connect_speed,
                bearer_type=Bearer.ANY,
                framing_type=Framing.ANY,
                packet_window_size=self._settings.window_size,
                phone_number_length=min(len(phone_number.encode()), 64),
                phone_number=phone_number,
            )
            self._link.calls.request(request, now + self._settings.call_timeout)

    # Inside.

    def _receive(self, message: ControlMessage) -> None:
        self._last_received = self._link.now
        if self._outbox.trace is not None:
            self._outbox.trace(f"received {message}")
        self._step(_occasion(message), message)

    def _step(self, occasion: Input, subject: object = None) -> None:
        link = self._link
        if link.state is State.ENDED:
            return
        try:
            actions, next_state = self._table[link.state, occasion]
        except KeyError:
            raise LocalProtocolError(f"{occasion.value} as {self.role.value} in state {link.state.value}") from None
        for action in actions:
            action(link, subject)
        if next_state is not link.state:
            link.state, self._entered = next_state, link.now
            if next_state is State.ENDED:
                self._outbox.emit(link.ends[0])

    def _echo_deadline(self) -> float:
        echo = self._link.echo
        if echo is None:
            return self._last_received + self._settings.echo_interval
        return echo.sent + self._settings.echo_timeout

    def _call_deadline(self) -> float:
        calls = self._link.calls
        if self.role is Role.CLIENT:
            return calls.next_deadline()
        return math.inf if calls else max(self._entered, calls.last_ended) + self._settings.call_timeout

    def _describe_call_timeout(self) -> str:
        calls, patience = self._link.calls, f"{self._settings.call_timeout:g} s"
        if self.role is Role.CLIENT:
            return f"the server did not answer within {patience}: {calls.describe_overdue(self._link.now)}"
        if calls.last_ended == -math.inf:
            return f"the client requested no call within {patience}"
        return f"the client requested no other call within {patience} after its last one ended"


def _occasion(message: ControlMessage) -> Input:
    """Which row of the tables a message is; a start is divided by its version and result (RFC 2637 §3.1)."""
    match message:
        case StartControlConnectionRequest() if message.protocol_version < PROTOCOL_VERSION:
            return Input.START_REQUEST_OLD_VERSION
        case StartControlConnectionReply() if message.result_code != StartResult.SUCCESSFUL:
            return Input.START_REPLY_REFUSED
        case StartControlConnectionReply() if message.protocol_version >> 8 != PROTOCOL_VERSION >> 8:
            return Input.START_REPLY_OTHER_VERSION
        case _:
            return Input(message.layout.name)
