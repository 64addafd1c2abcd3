"""The `Authority` of a worker: asks the parent, and tells it what becomes of the calls."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import assert_never

import trio

from poptrio.calls import AddressLease, Traffic
from poptrio.decisions import Accept
from poptrio.errors import NoAddress
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.server.authentication import Answer
from poptrio.server.authority import Accounting, KnownCall
from poptrio.server.session_limit import TooManySessions
from poptrio.server.sessions import traffic
from poptrio.server.throttle import TooManyAttempts
from poptrio.workers import messages
from poptrio.workers.channel import Channel

MOST_IN_ONE_REPORT = 500
"""Calls in one `Progress`, so that packets have their turn in between."""


class RemoteAuthority:
    """Everything that a worker's calls need of the parent at the other end of ``channel``."""

    ask_first = False
    """Whether the parent must be asked before anything is read from a connection."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._strange: set[str] = set()  # connections on which nobody has logged in
        self._numbers = itertools.count()
        self._promised: dict[str, _Promise] = {}  # addresses by call
        self._calls: dict[str, KnownCall] = {}
        self._reported: dict[str, Traffic] = {}  # the traffic of calls that are up, as last told

    async def admit_connection(self, connection_id: str, peer: IPv4Address) -> str | None:
        """Ask, if plugins want to be asked; else tell, and if there are too many the connection is closed soon."""
        self._strange.add(connection_id)
        if not self.ask_first:
            self._channel.tell_later(messages.ConnectionOpened(connection_id, peer))
            return None
        why: str | None = await self._channel.ask(messages.AdmitConnection(connection_id, peer))
        return why

    def refused(self, peer: IPv4Address, why: str) -> None:
        """Tell."""
        self._channel.tell_later(messages.Refused(peer, why))

    def connection_closed(self, connection_id: str) -> None:
        """Tell, if the parent counts this one."""
        if connection_id in self._strange:
            self._strange.remove(connection_id)
            self._channel.tell_later(messages.ConnectionClosed(connection_id))

    async def admit_call(self, call: KnownCall) -> str | None:
        """Tell; if there are too many, the parent ends the call before anybody can log in."""
        self._calls[call.info.session_id] = call
        self._channel.tell_later(messages.CallBegun(call.info))
        return None

    async def log_in(self, call: KnownCall, request: AuthRequest, plugin: str, awaited: Callable[[], bool]) -> Answer:
        """Ask. Where nobody awaits the answer any more, the next attempt gives back what this one took."""
        session_id = call.info.session_id
        promise = self._promised[session_id] = _Promise(next(self._numbers))  # kept, maybe, before this task runs again
        question = messages.LogIn(promise.number, session_id, request, plugin, again=call.accept is not None)
        answer: messages.LoggedIn | messages.NotAsked | messages.NoPlace = await self._channel.ask(question)
        if not (isinstance(answer, messages.LoggedIn) and answer.address_follows):
            self._promised.pop(session_id, None)
        match answer:
            case messages.LoggedIn():
                if isinstance(answer.answer.decision, Accept):
                    self._strange.discard(call.info.connection_id)
                return answer.answer
            case messages.NotAsked():
                raise TooManyAttempts(answer.seconds)
            case messages.NoPlace():
                raise TooManySessions(answer.why)
            case _:
                assert_never(answer)

    async def allocate_address(self, call: KnownCall, wish: IPv4Address | None = None) -> AddressLease | NoAddress:
        """Ask, unless it comes unasked. The parent takes the lease back when the call is over."""
        session_id = call.info.session_id
        answer: messages.Leased | messages.NotLeased
        if session_id in self._promised and wish is None:
            answer = await self._promised[session_id].kept()
            self._promised.pop(session_id, None)
        else:
            answer = await self._channel.ask(messages.AllocateAddress(session_id, wish))
        if isinstance(answer, messages.Leased):
            return AddressLease(answer.address, answer.owner, _nothing)
        return NoAddress(answer.reason)

    def accounting(self, call: KnownCall) -> Accounting:
        """The parent makes the records."""
        return _RemoteAccounting(self._channel, call)

    def came_up(self, call: KnownCall) -> None:
        """Tell."""
        self._reported[call.info.session_id] = Traffic()
        message = messages.CameUp(
            call.info.session_id, call.authentication, call.encryption, dict(call.steps), call.interface, call.mtu
        )
        self._channel.tell_later(message)

    def ending(self, call: KnownCall) -> None:
        """Tell, so that it counts for its user no more."""
        assert call.cause is not None
        self._channel.tell(messages.Ending(call.info.session_id, call.cause))  # at once: the client may redial

    def changed(self, call: KnownCall) -> None:
        """Tell."""
        assert call.accept is not None
        self._channel.tell(messages.ProvedAgain(call.info.session_id, call.accept))

    def leave(self, call: KnownCall) -> None:
        """Tell; what the call had is free when the parent has heard it."""
        assert call.cause is not None
        session_id = call.info.session_id
        self._calls.pop(session_id, None)
        self._reported.pop(session_id, None)
        self._promised.pop(session_id, None)
        counted = traffic(call.counters)
        ended = messages.Ended(session_id, call.cause, call.why, call.name, call.encryption, counted)
        self._channel.tell_later(ended)

    # What the parent wants.

    def assigned(self, message: messages.Assigned) -> None:
        """An address that was promised."""
        promise = self._promised.get(message.session_id)
        if promise is not None and promise.number == message.number:  # else of an attempt that was given up
            promise.keep(message.answer)

    def end_call(self, order: messages.EndCall) -> None:
        """End a call, if there still is one."""
        if (call := self._calls.get(order.session_id)) is not None:
            call.end(order.cause, order.detail)

    def change_call(self, order: messages.ChangeCall) -> None:
        """Change a call, if there still is one."""
        call = self._calls.get(order.session_id)
        if call is not None and call.cause is None and call.limits is not None:
            call.accept = order.accept
            call.limits.changed(trio.current_time())

    async def report_traffic(self) -> None:
        """Tell of the calls that have moved packets since they were last told of."""
        session_ids = list(self._reported)
        for start in range(0, len(session_ids), MOST_IN_ONE_REPORT):
            moved = tuple(self._moved(session_ids[start : start + MOST_IN_ONE_REPORT]))
            self._reported.update(moved)
            if moved:
                self._channel.tell(messages.Progress(moved))
            await trio.lowlevel.checkpoint()

    def _moved(self, session_ids: Iterable[str]) -> Iterator[tuple[str, Traffic]]:
        for session_id in session_ids:
            last = self._reported.get(session_id)
            if last is not None:
                counters = self._calls[session_id].counters
                if counters.packets_in != last.packets_in or counters.packets_out != last.packets_out:
                    yield session_id, traffic(counters)


class _Promise:
    """An address that comes unasked after the log-in with this ``number``."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._is_kept = trio.Event()
        self._answer: messages.Leased | messages.NotLeased | None = None

    def keep(self, answer: messages.Leased | messages.NotLeased) -> None:
        """It has come."""
        self._answer = answer
        self._is_kept.set()

    async def kept(self) -> messages.Leased | messages.NotLeased:
        """The answer, when it has come."""
        await self._is_kept.wait()
        assert self._answer is not None
        return self._answer


class _RemoteAccounting:
    """Tells the parent when an interim record is due; the rest it knows by itself."""

    def __init__(self, channel: Channel, call: KnownCall) -> None:
        self._channel = channel
        self._call = call

    def begin(self, nursery: trio.Nursery) -> None:
        """Nothing: it follows from `messages.CameUp`."""

    def interim_due(self) -> None:
        """Tell."""
        call = self._call
        self._channel.tell(messages.InterimDue(call.info.session_id, traffic(call.counters)))

    async def stop(self) -> None:
        """Nothing: it follows from `messages.Ended`."""


def _nothing() -> None:
    """How a worker releases a lease: it does not."""
