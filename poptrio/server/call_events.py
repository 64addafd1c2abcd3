"""What the journal is told of a call, and in which state the call is; the same for calls of workers."""

from datetime import UTC, datetime
from enum import Enum
from ipaddress import IPv4Address
from typing import Protocol

import trio

from poptrio.calls import AddressLease, CallInfo
from poptrio.datapath.base import PathCounters
from poptrio.decisions import Accept
from poptrio.errors import CauseOfEnd
from poptrio.observe.journal import CallEvent, Happening
from poptrio.server.sessions import traffic


class CallState(Enum):
    """How far a call has come."""

    STARTING = "starting"
    """LCP is being negotiated, or the client has not said yet who it is."""
    AUTHENTICATING = "authenticating"
    """The client has said who it is, and nobody has accepted it yet."""
    NEGOTIATING = "negotiating"
    """Its user is known; encryption and addresses are being negotiated."""
    UP = "up"
    """It has an address, and IP packets pass."""
    ENDING = "ending"
    """It says goodbye, or gives back what it has."""


class ObservedCall(Protocol):
    """What operators see of a call.

    ``name`` is what the client calls itself, ``begun`` and ``up_since`` are times on Trio's clock, ``steps`` the
    seconds from its beginning to each step that it passed, ``why`` the sentence about its end, empty until then.
    """

    info: CallInfo
    name: str
    accept: Accept | None
    lease: AddressLease | None
    authentication: str
    encryption: str
    authenticated_by: str
    begun: float
    up_since: float | None
    cause: CauseOfEnd | None
    why: str
    steps: dict[str, float]

    @property
    def counters(self) -> PathCounters:
        """What its path has counted; of a worker's call, some seconds ago."""

    def end(self, cause: CauseOfEnd, detail: str = "") -> None:
        """End the call."""


def state_of(call: ObservedCall) -> CallState:
    """How far ``call`` has come."""
    if call.cause is not None:
        return CallState.ENDING
    if call.up_since is not None:
        return CallState.UP
    if call.accept is not None:
        return CallState.NEGOTIATING
    return CallState.AUTHENTICATING if call.name else CallState.STARTING


def user_of(call: ObservedCall) -> str:
    """The user as the plugins know it, empty while nobody is accepted."""
    return call.accept.user if call.accept is not None else ""


def address_of(call: ObservedCall) -> IPv4Address | None:
    """The client's inner address."""
    return call.lease.address if call.lease is not None else None


def event_of(call: ObservedCall, happening: Happening) -> CallEvent:
    """What happens to ``call`` now."""
    return CallEvent(
        happening=happening,
        time=datetime.now(UTC),
        peer=call.info.peer,
        call=call.info.call_id,
        session_id=call.info.session_id,
        user=user_of(call),
        seen_as=call.name,
        address=address_of(call),
        cause=call.cause,
        why=call.why,
        seconds=trio.current_time() - call.begun,
        steps=tuple(call.steps.items()),
        traffic=traffic(call.counters),
    )
