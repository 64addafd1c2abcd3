"""A call as the parent knows it: its counters lag behind by seconds, and whatever is done to it is told its worker."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog
import trio

from poptrio.calls import AddressLease, CallInfo, Traffic
from poptrio.datapath.base import PathCounters
from poptrio.decisions import Accept, Challenge
from poptrio.errors import CauseOfEnd
from poptrio.observe.diagnosis import human_bytes, human_seconds
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.runtime.flag import Flag
from poptrio.server.authentication import Answer
from poptrio.server.authority import Accounting
from poptrio.server.call_counts import Stranger
from poptrio.server.sessions import SessionCall
from poptrio.workers import messages


class RemoteCall:
    """A `KnownCall` of a worker, to which ``tell`` speaks.

    ``strangers`` count it, and then its control connection, until its user is known. ``accounting``
    makes its records once it is up, until ``ended`` is cancelled; ``asking`` is the
    question to plugins about it that was begun last.
    """

    def __init__(self, info: CallInfo, tell: Callable[[object], None], strangers: Sequence[Stranger]) -> None:
        self.info = info
        self.accept: Accept | None = None
        self.lease: AddressLease | None = None
        self.counters = PathCounters()
        self.cause: CauseOfEnd | None = None
        self.why = ""
        self.name = ""
        self.steps: dict[str, float] = {}
        self.up_since: float | None = None
        self.authentication = ""
        self.encryption = "none"
        self.authenticated_by = ""
        self.interface = ""
        self.mtu = 0
        self.counted_names: frozenset[str] = frozenset()
        self.replaced: Sequence[SessionCall] = ()
        self.released = Flag()
        self.asking: trio.CancelScope | None = None
        self.accounting: Accounting | None = None
        self.ended = trio.CancelScope()
        self.begun = trio.current_time()
        self.log = structlog.get_logger("poptrio.call").bind(call=info.call_id, peer=str(info.peer))
        self._tell = tell
        self._strangers = strangers
        self._context: object = None
        self._context_number = 0

    @property
    def limits(self) -> "RemoteCall":
        """The call itself hears that it is limited otherwise."""
        return self

    def changed(self, now: float) -> None:
        """``accept`` is another one."""
        assert self.accept is not None
        self._tell(messages.ChangeCall(self.info.session_id, self._without_context(self.accept)))

    def end(self, cause: CauseOfEnd, detail: str = "") -> None:
        """End the call; the first cause counts."""
        if self.cause is None:
            self.cause = cause
            self._tell(messages.EndCall(self.info.session_id, cause, detail))

    def known(self) -> None:
        """The user is known: neither call nor control connection is a stranger's."""
        for stranger in self._strangers:
            stranger.known()

    def over(self) -> None:
        """The call counts no more; its control connection may still be a stranger's."""
        self._strangers[0].known()

    def moved(self, traffic: Traffic) -> None:
        """Its packets so far."""
        counters = self.counters
        counters.bytes_in, counters.bytes_out = traffic.bytes_in, traffic.bytes_out
        counters.packets_in, counters.packets_out = traffic.packets_in, traffic.packets_out

    def log_end(self) -> None:
        """The last line of a call whose worker cannot write it any more."""
        assert self.cause is not None
        seconds = trio.current_time() - self.begun
        self.log.info(
            "call ended",
            user=self.accept.user if self.accept else "",
            seen_as=self.name,
            address=str(self.lease.address) if self.lease else "",
            seconds=round(seconds, 3),
            duration=human_seconds(seconds),
            received=human_bytes(self.counters.bytes_in),
            sent=human_bytes(self.counters.bytes_out),
            cause=self.cause.label,
            why=self.why or self.cause.sentence,
        )

    # What plugins want to remember may be anything, and stays here.

    def asked(self, request: AuthRequest) -> AuthRequest:
        """``request`` with what its plugin wanted to remember."""
        return replace(request, context=self._recall(request.context))

    def answered(self, answer: Answer) -> Answer:
        """``answer`` for the worker; what the plugin wants to remember is remembered."""
        decision = answer.decision
        if not isinstance(decision, Accept | Challenge) or decision.context is None:
            return answer
        self._context_number += 1
        self._context = decision.context
        return replace(answer, decision=replace(decision, context=messages.Remembered(self._context_number)))

    def proved_again(self, accept: Accept) -> None:
        """``accept`` is what counts now."""
        self.accept = replace(accept, context=self._recall(accept.context))

    def _recall(self, context: object) -> object:
        newest = isinstance(context, messages.Remembered) and context.number == self._context_number
        return self._context if newest else None

    def _without_context(self, accept: Accept) -> Accept:
        if accept.context is None:
            return accept
        return replace(accept, context=messages.Remembered(self._context_number))
