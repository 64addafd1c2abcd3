"""One control connection on the server: the nursery in which its calls live, and their part of the control connection.

When the connection ends, all its calls end; when its last call has ended, the connection waits ``call_timeout`` for
another one (pptp-linux sends all calls of a machine over one connection) and then goes.
"""

from datetime import UTC, datetime
from ipaddress import IPv4Address
from uuid import uuid4

import structlog
import trio

from poptrio.calls import CallInfo
from poptrio.errors import CauseOfEnd
from poptrio.protocols.pptp import control_state, events
from poptrio.protocols.pptp.codes import GeneralError, OutgoingCallResult, StopReason
from poptrio.protocols.pptp.control import ControlConnection, Role
from poptrio.runtime.control_stream import ControlStream
from poptrio.server import drain
from poptrio.server.call import Call
from poptrio.server.call_rate import TOO_FAST
from poptrio.server.call_task import UpBefore, run_call
from poptrio.server.refusals import NO_CALL_ID, WRONG_REQUEST
from poptrio.server.shared import Shared
from poptrio.server.tracing import trace_log

log = structlog.get_logger("poptrio.connection")

MOST_TOO_FAST = 1000
"""Requests for calls in one connection that came too fast; more, and it is ended: each costs time to refuse."""


class Connection:
    """One control connection with a client at ``peer``, on our address ``local``."""

    def __init__(
        self, server: Shared, stream: trio.abc.Stream, connection_id: str, peer: IPv4Address, local: IPv4Address
    ) -> None:
        self.server = server
        self.peer = peer
        self.local = local
        self.started: events.ConnectionStarted | None = None
        self.stranger = server.registry.stranger(peer)
        self.calls: dict[int, Call] = {}
        self.id = connection_id
        self._unanswered: dict[int, events.CallRequested] = {}
        self._control = ControlConnection(
            Role.SERVER, server.control_settings, trio.current_time(), server.echo_identifiers
        )
        self.retrace()
        self._wire = ControlStream(stream, self._control, self._happened, server.ticker, server.ends, server.readiness)
        self.stream = stream
        self._nursery: trio.Nursery | None = None
        self._calls_seen = 0
        self._too_fast = 0
        self._no_calls: trio.Event | None = None  # at shutdown only
        self._up_before: dict[Call, UpBefore] = {}

    async def run(self) -> None:
        """Serve the connection until it ends, then its calls until they are gone."""
        async with trio.open_nursery() as self._nursery:
            for call, up_before in self._up_before.items():
                self._nursery.start_soon(run_call, call, self, up_before)
            self._up_before = {}
            try:
                await self._wire.read()
            except Exception as error:
                self._end_calls(CauseOfEnd.INTERNAL_ERROR, repr(error))
                raise
            finally:
                self._wire.close()
                self._end_calls(CauseOfEnd.SERVER_SHUTDOWN)  # unless they know better: the reader was cancelled
        await self._wire.flush()
        if not self._calls_seen and self._wire.ended is not None:
            ended = self._wire.ended
            if self._may_log("connection ended without a call"):
                self._log.info("connection ended without a call", cause=ended.cause.label, why=ended.text)

    async def stop(self) -> None:
        """Shutdown: end the calls, wait for their goodbyes, then Stop-Control-Connection-Request."""
        self._no_calls = trio.Event()
        self._end_calls(CauseOfEnd.SERVER_SHUTDOWN)
        if self.calls:
            await self._no_calls.wait()
        if self._wire.ended is None:
            self._control.stop(StopReason.STOP_LOCAL_SHUTDOWN, trio.current_time())
            await self._wire.flush()

    def cancel(self) -> None:
        """End the connection, and its calls, without a word."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def abandon(self) -> None:
        """The server stops at once: wait for nothing that is being written."""
        self._wire.abandon()

    def retrace(self) -> None:
        """Decide anew whether control messages are traced, and the packets of the calls."""
        wanted = self.server.tracing.wants_messages(self.peer, self.calls.values())
        self._control.trace(self._trace if wanted else None)
        for call in self.calls.values():
            call.retrace()

    # Hand-over to another process (`poptrio.server.server_state`).

    def take_up(self, call: Call, up_before: UpBefore) -> None:
        """Before `run`: this call was up on this connection in another process."""
        self.calls[call.info.call_id] = call
        self._up_before[call] = up_before

    @property
    def is_quiet(self) -> bool:
        """Whether the control connection is established, and no request waits for an answer of ours."""
        return control_state.is_quiet(self._control)

    def pause(self) -> None:
        """Read nothing more for the moment."""
        self._wire.pause()

    def go_on(self) -> None:
        """Read again."""
        self._wire.go_on()

    # What calls ask for (`call_task.ControlPart`).

    async def accept_call(self, call_id: int) -> bool:
        """Send the Outgoing-Call-Reply that connects the call; False when the client has given it up meanwhile."""
        request = self._unanswered.pop(call_id)
        if not self._unanswered:
            self._unanswered.clear()  # gives back its memory
        accepted = self._control.accept_call(request, call_id, trio.current_time())
        await self._wire.flush()
        return accepted

    async def end_call(self, call_id: int, cause: CauseOfEnd) -> None:
        """The call is over: Call-Disconnect-Notify, or a refusing Outgoing-Call-Reply where it was never accepted.

        Nothing when the client has said so itself.
        """
        request = self._unanswered.pop(call_id, None)
        if request is not None:
            self._control.refuse_call(request, OutgoingCallResult.GENERAL_ERROR, GeneralError.PAC_ERROR)
        else:
            self._control.disconnect_call(call_id, cause.disconnect_result, trio.current_time(), cause.label)
        await self._wire.flush()

    def forget_call(self, call: Call) -> None:
        """The call is released."""
        del self.calls[call.info.call_id]
        self.retrace()
        if self._no_calls is not None and not self.calls:
            self._no_calls.set()

    # What the client says.

    def _happened(self, event: events.ControlEvent) -> None:
        match event:
            case events.ConnectionStarted():
                self.started = event
                self._log.debug("control connection", host_name=event.host_name, vendor=event.vendor_name)
            case events.CallRequested():
                self._call_requested(event)
            case events.CallEnded():
                if (call := self.calls.get(event.call_id)) is not None:
                    call.end(CauseOfEnd.CLIENT_HUNG_UP)
                    call.client_gone()
            case events.LinkInfoReceived():
                self._log.debug("set-link-info", call=event.call_id, accm=f"{event.send_accm:08x}")
            case events.WanErrorsReceived():
                if self._may_log("wan-error-notify"):
                    self._log.warning("wan-error-notify", call=event.call_id, errors=str(event))
            case events.CallNotAccepted():
                self._call_refused(f"{WRONG_REQUEST}, not {event.message.name}")
            case events.ConnectionEnded():
                for call in list(self.calls.values()):
                    call.end(event.cause, sentence=event.text)
                    call.client_gone()
            case _:  # RoundTrip, and what only a client hears
                pass

    def _call_requested(self, request: events.CallRequested) -> None:
        registry, now = self.server.registry, trio.current_time()
        if registry.too_fast(self.peer, now):
            why: str | None = TOO_FAST
            self._too_fast += 1
            if self._too_fast == MOST_TOO_FAST:
                self._control.stop(
                    StopReason.NONE, now, CauseOfEnd.PROTOCOL_ERROR, "the client asks for too many calls"
                )
                return
        elif self.server.draining:
            self._call_refused(drain.WHY)
            self._control.refuse_call(request, OutgoingCallResult.DO_NOT_ACCEPT)
            return
        else:
            why = self.server.refuses or registry.refuse_call(self.peer)
        call_id = None if why else registry.call_ids.take(now)
        if call_id is None or self._nursery is None:
            self._call_refused(why or NO_CALL_ID)
            self._control.refuse_call(request, OutgoingCallResult.GENERAL_ERROR, GeneralError.NO_RESOURCE)
            return
        call = Call(self.server, self._call_info(request, call_id), self.stranger)
        self._calls_seen += 1
        self.calls[call_id] = call
        self._unanswered[call_id] = request
        registry.add(call)
        self._nursery.start_soon(run_call, call, self)

    def _call_refused(self, why: str) -> None:
        self.server.stats.refuse(why)
        if self._may_log("call refused"):
            self._log.warning("call refused", why=why)
            self.server.authority.refused(self.peer, why)

    @property
    def _log(self) -> structlog.typing.FilteringBoundLogger:
        logger: structlog.typing.FilteringBoundLogger = log.bind(peer=str(self.peer))
        return logger

    def _may_log(self, kind: str) -> bool:
        """Whether one more line that strangers can cause is not too many."""
        return self.server.log_limit.allows(kind)

    def _call_info(self, request: events.CallRequested, call_id: int) -> CallInfo:
        started = self.started
        return CallInfo(
            session_id=uuid4().hex[:16],
            call_id=call_id,
            peer_call_id=request.peer_call_id,
            peer=self.peer,
            server=self.local,
            started=datetime.now(UTC),
            host_name=started.host_name if started else "",
            vendor=started.vendor_name if started else "",
            firmware=started.firmware_revision if started else 0,
            phone_number=request.phone_number,
            connection_id=self.id,
        )

    def _end_calls(self, cause: CauseOfEnd, detail: str = "") -> None:
        for call in list(self.calls.values()):
            call.end(cause, detail)

    def _trace(self, line: str) -> None:
        log = trace_log.bind(peer=str(self.peer))
        log.debug("control message", message=line)
