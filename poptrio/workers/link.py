"""One worker as the parent sees it: its calls and connections, and what it says and asks.

A call is counted from `messages.CallBegun` to `messages.Ended`, or until the worker is lost. What it holds is given
back after its last accounting record.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from typing import Any, Protocol

import structlog
import trio

from poptrio.calls import AddressLease
from poptrio.decisions import Accept
from poptrio.errors import CauseOfEnd
from poptrio.runtime.dismantle import dismantle
from poptrio.server.call_counts import CallCounts, Stranger
from poptrio.server.call_rate import TOO_FAST
from poptrio.server.domains import seen_and_used
from poptrio.server.goodbyes import Goodbyes
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.session_limit import TooManySessions
from poptrio.server.shared import Stats
from poptrio.server.throttle import TooManyAttempts
from poptrio.workers import messages
from poptrio.workers.channel import Channel, Question
from poptrio.workers.remote_call import RemoteCall
from poptrio.workers.tallies import Tallies

log = structlog.get_logger("poptrio.workers")

_Ask = Callable[[RemoteCall, Question], Awaitable[None]]


class HearsOfCaptures(Protocol):
    """What the captures of the parent hear from links."""

    def told(self, question: Question) -> None:
        """A worker has more of a capture."""

    def call_authenticated(self, call: RemoteCall) -> None:
        """The user of a call is known."""


@dataclass(frozen=True, slots=True)
class Common:
    """What is one for all workers. Questions to plugins, and accounting, run in ``nursery``, which outlives them.

    ``stopped`` is set when the server has been told to stop; ``captures`` are those of their calls; ``call_over`` is
    called when there is one call less.
    """

    authority: LocalAuthority
    counts: CallCounts
    stats: Stats
    tallies: Tallies
    goodbyes: Goodbyes
    stopped: trio.Event
    nursery: trio.Nursery
    captures: HearsOfCaptures
    call_over: Callable[[], None]


class WorkerLink:
    """The parent's end of the conversation with one worker, over ``stream``.

    It is worker ``number``. ``started`` hears what it says about its start; ``news`` counts what it says. ``rested``
    are the Call IDs of its calls that have ended, and when, the oldest first.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        common: Common,
        number: int,
        started: Callable[[messages.Ready | messages.Failed], None],
    ) -> None:
        self.calls: dict[str, RemoteCall] = {}
        self.rested: deque[tuple[float, int]] = deque(maxlen=0x10000)
        self.news = 0
        self.number = number
        self.connection_count = 0
        self._authority = common.authority
        self._counts = common.counts
        self._stats = common.stats
        self._tallies = common.tallies
        self._goodbyes = common.goodbyes
        self._stopped = common.stopped
        self._captures = common.captures
        self._nursery = common.nursery
        self._call_over = common.call_over
        self._asking: set[trio.CancelScope] = set()
        self._strangers: dict[str, Stranger] = {}  # by connection, also when it is a stranger's no more
        self._channel = Channel(stream, self._told, self._asked)
        self.tell = self._channel.tell
        self._ears: dict[type, Callable[[Any], None]] = {
            messages.Ready: started,
            messages.Failed: started,
            messages.ConnectionOpened: self._connection_opened,
            messages.CallBegun: self._call_begun,
            messages.ConnectionClosed: self._connection_closed,
            messages.CameUp: self._came_up,
            messages.InterimDue: self._interim_due,
            messages.ProvedAgain: self._proved_again,
            messages.Ending: self._ending,
            messages.Ended: self._ended,
            messages.Progress: self._progress,
            messages.Counted: self._counted,
            messages.Refused: lambda message: self._authority.refused(message.peer, message.why),
            messages.Alive: lambda _: None,  # that something came is the news
        }

    async def run(self) -> Sequence[RemoteCall]:
        """Serve the worker until it is gone, and return the calls that were lost with it."""
        try:
            await self._channel.run()
        except* Exception as errors:
            log.error("internal error", exc_info=errors)
            self._stats.internal_errors += 1
        finally:
            self._channel.withdraw_all()
            for scope in tuple(self._asking):
                scope.cancel()
            lost = tuple(self.calls.values())
            for call in lost:
                self._lost(call)
            for stranger in self._strangers.values():
                stranger.known()
        return lost

    async def ask(self, question: object, seconds: float) -> object:
        """What the worker answers; None when it is gone, or does not answer within ``seconds``."""
        with trio.move_on_after(seconds) as scope:
            self._asking.add(scope)
            try:
                return await self._channel.ask(question)
            finally:
                self._asking.discard(scope)
        return None

    # What the worker asks.

    def _asked(self, question: Question) -> None:
        try:
            match question.message:
                case messages.AdmitConnection() as message:
                    question.answer(self._authority.hooks.admit(message.peer) or self._refuse_connection(message))
                case messages.LogIn() as message:
                    self._ask_plugins(question, message.session_id, self._log_in)
                case messages.AllocateAddress() as message:
                    self._ask_plugins(question, message.session_id, self._allocate)
                case messages.Captured():
                    self._captures.told(question)
                case _:
                    raise AssertionError(f"asked {question.message}")
        except Exception:
            log.exception("internal error")
            self._stats.internal_errors += 1

    def _refuse_connection(self, message: messages.AdmitConnection | messages.ConnectionOpened) -> str | None:
        """Why there may not be this connection, or None, and then it counts."""
        why = self._counts.refuse_stranger(message.peer)
        if why is None:
            self._strangers[message.connection_id] = self._counts.stranger(message.peer)
        return why

    def _refuse_call(self, peer: IPv4Address) -> str | None:
        if self._counts.too_fast(peer, trio.current_time()):
            return TOO_FAST
        return self._counts.refuse_call(peer)

    def _ask_plugins(self, question: Question, session_id: str, ask: _Ask) -> None:
        if (call := self.calls.get(session_id)) is not None:  # else it was refused, and is about to end
            if call.asking is not None:
                call.asking.cancel()  # a worker has one question at a time: this one is over, or was given up
            call.asking = question.scope
            self._nursery.start_soon(self._contained, call, ask, question)

    async def _contained(self, call: RemoteCall, ask: _Ask, question: Question) -> None:
        """What goes wrong here is a bug, and ends this call only."""
        try:
            with question.scope:
                await ask(call, question)
        except Exception as error:
            call.log.exception("internal error")
            call.end(CauseOfEnd.INTERNAL_ERROR, repr(error))

    async def _log_in(self, call: RemoteCall, question: Question) -> None:
        message = question.message
        assert isinstance(message, messages.LogIn)
        if call.accept is not None and not message.again:
            self._begin_anew(call)
        call.name = seen_and_used(message.request)
        request = call.asked(message.request)
        try:
            answer = await self._authority.log_in(call, request, message.plugin, partial(self._is_known, call))
        except TooManyAttempts as error:
            question.answer(messages.NotAsked(error.seconds))
            return
        except TooManySessions as error:
            question.answer(messages.NoPlace(str(error)))
            return
        first = isinstance(answer.decision, Accept) and call.accept is None
        if isinstance(answer.decision, Accept) and first:
            call.accept = answer.decision
            call.known()
            self._strangers.pop(call.info.connection_id, None)
        assign = first and call.accept is not None and not call.accept.client_chooses_address
        question.answer(messages.LoggedIn(call.answered(answer), assign))
        if first:
            self._captures.call_authenticated(call)
        if assign:
            leased = await self._lease(call, None, question.scope)
            self.tell(messages.Assigned(call.info.session_id, message.number, leased))

    async def _allocate(self, call: RemoteCall, question: Question) -> None:
        message = question.message
        assert isinstance(message, messages.AllocateAddress)
        question.answer(await self._lease(call, message.wish, question.scope))

    async def _lease(
        self, call: RemoteCall, wish: IPv4Address | None, asking: trio.CancelScope
    ) -> messages.Leased | messages.NotLeased:
        """An address for the question of ``asking``; one that comes for an earlier question goes back at once."""
        answer = await self._authority.allocate_address(call, wish)
        if not isinstance(answer, AddressLease):
            return messages.NotLeased(str(answer))
        if not self._is_known(call) or call.asking is not asking:
            answer.release()
            return messages.NotLeased("the client has begun anew meanwhile")
        if call.lease is not None:
            call.lease.release()
        call.lease = answer
        return messages.Leased(answer.address, answer.owner)

    def _begin_anew(self, call: RemoteCall) -> None:
        """The client was negotiating again when it was accepted, and has not heard of it: it is nobody yet."""
        if call.lease is not None:
            call.lease.release()
        self._authority.sessions.withdraw(call)
        call.lease = call.accept = None

    def _is_known(self, call: RemoteCall) -> bool:
        """Whether the call has not ended."""
        return call.info.session_id in self.calls

    # What the worker says.

    def _told(self, message: object) -> None:
        self.news += 1
        try:
            self._ears[type(message)](message)
        except Exception:  # a bug, which may cost one call something, but not all
            log.exception("internal error")
            self._stats.internal_errors += 1

    def _connection_opened(self, message: messages.ConnectionOpened) -> None:
        if (why := self._refuse_connection(message)) is not None:
            self.tell(messages.CloseConnection(message.connection_id, why))

    def _connection_closed(self, message: messages.ConnectionClosed) -> None:
        if (stranger := self._strangers.pop(message.connection_id, None)) is not None:
            stranger.known()

    def _call_begun(self, message: messages.CallBegun) -> None:
        info, counts = message.info, self._counts
        if (why := self._refuse_call(info.peer)) is not None:
            self.tell(messages.EndCall(info.session_id, CauseOfEnd.TOO_MANY_CALLS, why))
            return
        strangers = [counts.stranger(info.peer)]
        if info.connection_id in self._strangers:
            strangers.append(self._strangers[info.connection_id])
        self.calls[info.session_id] = RemoteCall(info, self.tell, strangers)
        counts.count(self.calls[info.session_id])
        self._authority.begun(self.calls[info.session_id])

    def _came_up(self, message: messages.CameUp) -> None:
        if (call := self.calls.get(message.session_id)) is not None:
            call.up_since = trio.current_time()
            call.authentication, call.encryption = message.authentication, message.encryption
            call.steps = message.steps
            call.interface, call.mtu = message.interface, message.mtu
            self._stats.up += 1
            self._authority.came_up(call)
            self._nursery.start_soon(self._account, call)

    def _interim_due(self, message: messages.InterimDue) -> None:
        if (call := self.calls.get(message.session_id)) is not None:
            call.moved(message.traffic)
            if call.accounting is not None:
                call.accounting.interim_due()

    def _proved_again(self, message: messages.ProvedAgain) -> None:
        if (call := self.calls.get(message.session_id)) is not None:
            call.proved_again(message.accept)

    def _ending(self, message: messages.Ending) -> None:
        if (call := self.calls.get(message.session_id)) is not None:
            call.cause = message.cause

    def _ended(self, message: messages.Ended) -> None:
        if (call := self.calls.get(message.session_id)) is not None:
            call.cause, call.encryption = message.cause, message.encryption
            call.why, call.name = message.why, message.name
            call.moved(message.traffic)
            self._over(call)

    def _progress(self, message: messages.Progress) -> None:
        for session_id, traffic in message.traffic:
            if (call := self.calls.get(session_id)) is not None:
                call.moved(traffic)

    def _counted(self, message: messages.Counted) -> None:
        self._stats.internal_errors += message.internal_errors
        self._stats.refusals.update(message.refusals)
        self._stats.left_out.update(message.left_out)
        self._tallies.add(self.number, message)
        self.connection_count = message.connections

    # The end of calls.

    def _lost(self, call: RemoteCall) -> None:
        stopped = self._stopped.is_set()  # then a worker may be quicker to end than to say everything
        call.cause = call.cause or (CauseOfEnd.SERVER_SHUTDOWN if stopped else CauseOfEnd.WORKER_LOST)
        call.why = call.why or call.cause.sentence
        self._over(call)
        if not stopped:
            call.log_end()

    def _over(self, call: RemoteCall) -> None:
        """The call counts no more; with its last record, or now if there is none, it gives back what it has."""
        assert call.cause is not None
        del self.calls[call.info.session_id]
        self._counts.uncount(call)
        self._stats.ended[call.cause] += 1
        self._stats.failed += call.up_since is None
        self.rested.append((trio.current_time(), call.info.call_id))
        self._call_over()
        call.over()
        if call.asking is not None:
            call.asking.cancel()
        if call.up_since is None:
            self._authority.leave(call)
        else:
            call.ended.cancel()

    async def _account(self, call: RemoteCall) -> None:
        accounting = call.accounting = self._authority.accounting(call)
        try:
            with call.ended:
                async with trio.open_nursery() as nursery:
                    accounting.begin(nursery)
                    await trio.sleep_forever()
        finally:
            call.cause = call.cause or CauseOfEnd.SERVER_SHUTDOWN  # cancelled: the server stops at once
            try:
                with self._goodbyes.one():
                    await accounting.stop()
            finally:
                self._authority.leave(call)
                call.accounting = None
                dismantle(accounting)  # or only the garbage collector would find the two
