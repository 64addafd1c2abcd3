"""Endpoints about calls: who is on, one call in detail, and ending them."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

import structlog
import trio
from pydantic import Field

from poptrio.errors import CauseOfEnd
from poptrio.management.endpoint import Answer, ApiError, Ask, Asked
from poptrio.management.paging import LARGEST_PAGE
from poptrio.server.call import DROPS
from poptrio.server.call_events import CallState, ObservedCall, address_of, state_of, user_of
from poptrio.server.captures import LIST_CALLS
from poptrio.server.domains import folded
from poptrio.server.slices import SLICE, VIEWS

log = structlog.get_logger("poptrio.management")

CallId = Annotated[int, Field(ge=0, le=65535)]
Octets = Annotated[int, Field(ge=0)]
State = Literal["starting", "authenticating", "negotiating", "up", "ending"]
Order = Literal["started", "user", "peer", "address", "seconds", "bytes_in", "bytes_out", "rate_in", "rate_out"]


class SessionView(Answer):
    """One call."""

    call: CallId
    """Our Call ID (RFC 2637 §2.7)."""
    session_id: str
    """Unique over all calls and restarts; Acct-Session-Id of RADIUS."""
    user: str
    """The user as the plugins know it; empty while nobody is accepted."""
    seen_as: str
    """The name as the client sent it."""
    peer: IPv4Address
    """The client's outer address."""
    address: IPv4Address | None
    """Its inner address."""
    state: State
    seconds: float
    """Since it came up; while it is not up, since it began."""
    started: datetime
    bytes_in: Octets
    """Octets of IP packets from the client; of calls of workers, up to 5 seconds old."""
    bytes_out: Octets
    """The same to the client."""
    rate_in: float
    """Octets per second from the client, between the last two times that somebody asked."""
    rate_out: float
    """The same to the client."""
    authentication: str
    encryption: str
    plugin: str
    """The plugin that accepted the caller."""
    host_name: str
    """What the client calls its machine."""


class SessionDetails(SessionView):
    """All that is known of one call."""

    vendor: str
    firmware: int
    phone_number: str
    server: IPv4Address
    """The local outer address that the client has called."""
    peer_call: CallId
    """The client's Call ID."""
    connection_id: str
    """The same for all calls of one control connection."""
    steps_ms: dict[str, float]
    """Milliseconds from its beginning to each step that it passed."""
    packets_in: Octets
    packets_out: Octets
    drops: dict[str, int]
    """What was lost or dropped, where it is not zero, as in the last line that the call leaves in the log; not known of
    calls of workers."""
    session_timeout: float | None
    idle_timeout: float | None
    filter_ids: tuple[str, ...]
    routes: tuple[str, ...]
    """Networks behind the client."""
    cause: str
    """Why it is ending; empty while it is not."""
    why: str


class Selection(Ask):
    """Which calls; those that all given parts fit."""

    call: CallId | None = None
    session_id: Annotated[str, Field(min_length=1)] | None = None
    user: Annotated[str, Field(min_length=1)] | None = None
    """The user as the plugins know it, or the name as the client sent it; case ignored."""
    address: IPv4Address | None = None
    peer: IPv4Address | None = None


class SessionQuery(Selection):
    """Which calls, and which page of them."""

    state: State | None = None
    search: str = ""
    """Part of the user, the name as the client sent it, the host name, or the beginning of an address."""
    order: Order = "started"
    descending: bool = False
    offset: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 100


class SessionPage(Answer):
    """A page of calls."""

    total: int
    """How many calls fit the question, on all pages."""
    sessions: tuple[SessionView, ...]


class OneCall(Ask):
    """One call."""

    call: CallId


class Kick(Selection):
    """Which calls to end, and why."""

    all: bool = False
    """All calls; nothing else may select then."""
    reason: Annotated[str, Field(max_length=500)] = ""
    """For the log."""


class Kicked(Answer):
    """What was ended."""

    ended: int
    calls: tuple[CallId, ...]
    """Their Call IDs."""


async def list_sessions(asked: Asked, query: SessionQuery) -> SessionPage:
    """All calls, in whatever state, or those that fit the question; a page at a time."""
    server, rates = asked.server, asked.manager.rates
    await rates.look(server.calls())
    found = [call async for call in _selected(asked, query, _filter(query))]
    key = _ORDERS.get(query.order)
    if query.order in ("rate_in", "rate_out"):
        side = ("rate_in", "rate_out").index(query.order)
        found.sort(key=lambda call: rates.of(call.info.session_id)[side], reverse=query.descending)
    elif key is not None:
        found.sort(key=key, reverse=query.descending)
    page = found[query.offset : query.offset + query.limit]
    views: list[SessionView] = []
    for number, call in enumerate(page):
        if number % VIEWS == VIEWS - 1:
            await trio.lowlevel.checkpoint()
        views.append(SessionView(**_facts(asked, call)))
    return SessionPage(total=len(found), sessions=tuple(views))


async def show_session(asked: Asked, query: OneCall) -> SessionDetails:
    """All that is known of one call."""
    await asked.manager.rates.look(asked.server.calls())
    for call in asked.server.calls():
        if call.info.call_id == query.call:
            return SessionDetails(**_facts(asked, call), **_details(call))
    raise ApiError(404, f"there is no call {query.call}", LIST_CALLS)


async def kick(asked: Asked, order: Kick) -> Kicked:
    """End calls, with goodbyes, as an administrator's act (admin-reset)."""
    selects = order.model_dump(exclude={"reason", "all"}, exclude_none=True)
    if order.all and selects:
        raise ApiError(422, "all calls are to be ended, and some", f"leave out all, or {' and '.join(selects)}")
    if not order.all and not selects:
        raise ApiError(422, "say which calls to end", f"give {', '.join(Selection.model_fields)}, or all")
    chosen: list[int] = []
    async for call in _selected(asked, order, _any):
        if call.cause is None:  # else it is ending by itself
            call.end(CauseOfEnd.ADMIN_RESET, order.reason)
            chosen.append(call.info.call_id)
    which = {name: str(value) for name, value in selects.items()} or {"all": "all"}
    log.info("calls kicked", ended=len(chosen), by=asked.by, reason=order.reason, **which)
    return Kicked(ended=len(chosen), calls=tuple(chosen))


async def _selected(
    asked: Asked, selection: Selection, fits: Callable[[ObservedCall], bool]
) -> AsyncIterator[ObservedCall]:
    """The calls that ``selection`` and ``fits`` are true of; packets have their turn in between."""
    name = folded(selection.user) if selection.user is not None else None
    wanted = selection.call, selection.session_id, selection.address, selection.peer
    for number, call in enumerate(asked.server.calls()):
        if number % SLICE == SLICE - 1:
            await trio.lowlevel.checkpoint()
        has = call.info.call_id, call.info.session_id, address_of(call), call.info.peer
        if not all(one is None or one == other for one, other in zip(wanted, has, strict=True)):
            continue
        if (name is None or name in (folded(user_of(call)), folded(call.name))) and fits(call):
            yield call


def _any(call: ObservedCall) -> bool:
    return True


def _filter(query: SessionQuery) -> Callable[[ObservedCall], bool]:
    """Whether a call is in a state, and has a text somewhere."""
    if not query.search and query.state is None:
        return _any
    text, state = folded(query.search), query.state and CallState(query.state)

    def fits(call: ObservedCall) -> bool:
        if state is not None and state_of(call) is not state:
            return False
        return (
            not text
            or text in folded(user_of(call))
            or text in folded(call.name)
            or text in folded(call.info.host_name)
            or str(call.info.peer).startswith(text)
            or str(address_of(call) or "").startswith(text)
        )

    return fits


_NOWHERE = IPv4Address(0)
_ORDERS: dict[str, Callable[[ObservedCall], Any]] = {
    "started": lambda call: call.begun,
    "user": lambda call: folded(user_of(call) or call.name),
    "peer": lambda call: call.info.peer,
    "address": lambda call: address_of(call) or _NOWHERE,
    "seconds": lambda call: _seconds(call),
    "bytes_in": lambda call: call.counters.bytes_in,
    "bytes_out": lambda call: call.counters.bytes_out,
}


def _seconds(call: ObservedCall) -> float:
    return trio.current_time() - (call.up_since if call.up_since is not None else call.begun)


def _facts(asked: Asked, call: ObservedCall) -> dict[str, Any]:
    info, counters = call.info, call.counters
    rate_in, rate_out = asked.manager.rates.of(info.session_id)
    return {
        "call": info.call_id,
        "session_id": info.session_id,
        "user": user_of(call),
        "seen_as": call.name,
        "peer": info.peer,
        "address": address_of(call),
        "state": state_of(call).value,
        "seconds": round(_seconds(call), 3),
        "started": info.started,
        "bytes_in": counters.bytes_in,
        "bytes_out": counters.bytes_out,
        "rate_in": round(rate_in, 1),
        "rate_out": round(rate_out, 1),
        "authentication": call.authentication,
        "encryption": call.encryption,
        "plugin": call.authenticated_by,
        "host_name": info.host_name,
    }


def _details(call: ObservedCall) -> dict[str, Any]:
    info, accept, counters = call.info, call.accept, call.counters
    return {
        "vendor": info.vendor,
        "firmware": info.firmware,
        "phone_number": info.phone_number,
        "server": info.server,
        "peer_call": info.peer_call_id,
        "connection_id": info.connection_id,
        "steps_ms": {step: round(seconds * 1000, 1) for step, seconds in call.steps.items()},
        "packets_in": counters.packets_in,
        "packets_out": counters.packets_out,
        "drops": {name: value for name in DROPS if (value := getattr(counters, name))},
        "session_timeout": accept.session_timeout if accept is not None else None,
        "idle_timeout": accept.idle_timeout if accept is not None else None,
        "filter_ids": accept.filter_ids if accept is not None else (),
        "routes": tuple(map(str, accept.framed_routes)) if accept is not None else (),
        "cause": call.cause.label if call.cause is not None else "",
        "why": call.why,
    }
