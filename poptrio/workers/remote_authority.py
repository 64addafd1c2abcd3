"""The `Authority` of a worker: asks the parent, and tells it what becomes of the calls."""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import assert_never

import trio

from poptrio.calls import AddressLease, Traffic
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

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._asked_for: set[str] = set()  # connections that the parent knows
        self._calls: dict[str, KnownCall] = {}
        self._reported: dict[str, Traffic] = {}  # the traffic of calls that are up, as last told

    async def admit_connection(self, connection_id: str, peer: IPv4Address) -> str | None:
        """Ask."""
        self._asked_for.add(connection_id)
        why: str | None = await self._channel.ask(messages.AdmitConnection(connection_id, peer))
        return why

    def connection_closed(self, connection_id: str) -> None:
        """Tell, if the parent was asked for this one."""
        if connection_id in self._asked_for:
            self._asked_for.remove(connection_id)
            self._channel.tell(messages.ConnectionClosed(connection_id))

    async def admit_call(self, call: KnownCall) -> str | None:
        """Ask."""
        self._calls[call.info.session_id] = call
        why: str | None = await self._channel.ask(messages.AdmitCall(call.info))
        return why

    async def log_in(self, call: KnownCall, request: AuthRequest, plugin: str, awaited: Callable[[], bool]) -> Answer:
        """Ask. Where nobody awaits the answer any more, the next attempt gives back what this one took."""
        question = messages.LogIn(call.info.session_id, request, plugin, again=call.accept is not None)
        answer: messages.LoggedIn | messages.NotAsked | messages.NoPlace = await self._channel.ask(question)
        match answer:
            case messages.LoggedIn():
                return answer.answer
            case messages.NotAsked():
                raise TooManyAttempts(answer.seconds)
            case messages.NoPlace():
                raise TooManySessions(answer.why)
            case _:
                assert_never(answer)

    async def allocate_address(self, call: KnownCall, wish: IPv4Address | None = None) -> AddressLease | NoAddress:
        """Ask. The parent takes the lease back when the call is over."""
        question = messages.AllocateAddress(call.info.session_id, wish)
        answer: messages.Leased | messages.NotLeased = await self._channel.ask(question)
        if isinstance(answer, messages.Leased):
            return AddressLease(answer.address, answer.owner, _nothing)
        return NoAddress(answer.reason)

    def accounting(self, call: KnownCall) -> Accounting:
        """The parent makes the records."""
        return _RemoteAccounting(self._channel, call)

    def came_up(self, call: KnownCall) -> None:
        """Tell."""
        self._reported[call.info.session_id] = Traffic()
        self._channel.tell(messages.CameUp(call.info.session_id, call.authentication, call.encryption))

    def ending(self, call: KnownCall) -> None:
        """Tell, so that it counts for its user no more."""
        assert call.cause is not None
        self._channel.tell(messages.Ending(call.info.session_id, call.cause))

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
        self._channel.tell(messages.Ended(session_id, call.cause, call.encryption, traffic(call.counters)))

    # What the parent wants.

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


class _RemoteAccounting:
    """Tells the parent when an interim record is due; the rest it knows by itself."""

    def __init__(self, channel: Channel, call: KnownCall) -> None:
        self._channel = channel
        self._call = call

    async def run(self) -> None:
        """Nothing."""

    def interim_due(self) -> None:
        """Tell."""
        call = self._call
        self._channel.tell(messages.InterimDue(call.info.session_id, traffic(call.counters)))

    async def stop(self) -> None:
        """Nothing: it follows from `messages.Ended`."""


def _nothing() -> None:
    """How a worker releases a lease: it does not."""
