"""Endpoints about what happens: the last failures, and everything as a stream of server-sent events."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from ipaddress import IPv4Address
from typing import Annotated, Literal

import trio
from pydantic import Field

from poptrio.management.endpoint import Answer, ApiError, Ask, Asked, Stream
from poptrio.observe.journal import FAILURES_KEPT, CallEvent, Journal
from poptrio.server.domains import folded
from poptrio.server.slices import VIEWS

EventKind = Literal["call-starting", "call-up", "call-down", "call-failed", "refused"]

MOST_LISTENERS = 100
"""Streams of events at the same time. They never end, and must not take all connections of a socket."""

KEEP_ALIVE = 15.0
"""Seconds of silence on a stream of events after which a comment is sent, so that nobody in between forgets it."""


class EventView(Answer):
    """One thing that happened to one call, or to a client that was refused before it had one."""

    event: EventKind
    time: datetime
    peer: IPv4Address
    call: int | None
    session_id: str
    user: str
    seen_as: str
    address: IPv4Address | None
    cause: str
    """The label of why it ended; empty while it has not."""
    why: str
    """The sentence of the log."""
    remedy: str
    """What can be done about it; empty where nothing is wrong."""
    windows_errors: tuple[int, ...]
    """The numbers that a Windows client may show its user for this cause."""
    seconds: float
    """Since the call began."""
    bytes_in: int
    bytes_out: int


class FailureQuery(Ask):
    """Which failures."""

    limit: Annotated[int, Field(ge=1, le=FAILURES_KEPT)] = 100
    cause: str = ""
    """Those with this label only."""
    user: str | None = None
    """Those with this user only, as plugins or clients name it; empty where no name was said."""
    peer: IPv4Address | None = None


class Failures(Answer):
    """The newest first; the server remembers the last 1000 failed calls, and the last 1000 refusals."""

    failures: tuple[EventView, ...]


class EventQuery(Ask):
    """Which events; all, if nothing is said."""

    user: str | None = None
    peer: IPv4Address | None = None


async def list_failures(asked: Asked, query: FailureQuery) -> Failures:
    """Calls that failed before they were up, and clients that were refused, with the reason and what to do."""
    found: list[EventView] = []
    for event in asked.server.authority.journal.failures:
        if len(found) == query.limit:
            break
        if query.cause and (event.cause is None or event.cause.label != query.cause):
            continue
        if _is_about(event, query.user, query.peer):
            found.append(_view(event))
            if len(found) % VIEWS == 0:
                await trio.lowlevel.checkpoint()
    return Failures(failures=tuple(found))


async def stream_events(asked: Asked, query: EventQuery) -> Stream:
    """What happens from now on, as server-sent events whose data is one `EventView`; ``event: missed`` counts those
    that were lost because the client read too slowly."""
    if asked.server.authority.journal.listener_count >= MOST_LISTENERS:
        raise ApiError(503, f"{MOST_LISTENERS} clients listen already", "wait for one of them to go")
    return Stream("text/event-stream", _stream(asked.server.authority.journal, query))


async def _stream(journal: Journal, query: EventQuery) -> AsyncIterator[bytes]:
    with journal.listener() as listener:
        yield b": events follow\n\n"
        missed = 0
        while True:
            event = None
            with trio.move_on_after(KEEP_ALIVE):
                event = await listener.next()
            if listener.missed > missed:
                yield _message("missed", json.dumps({"missed": listener.missed - missed}))
                missed = listener.missed
            if event is None:
                yield b": still here\n\n"
            elif _is_about(event, query.user, query.peer):
                yield _message(event.happening.value, _view(event).model_dump_json())


def _message(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()


def _is_about(event: CallEvent, user: str | None, peer: IPv4Address | None) -> bool:
    names = folded(event.user), folded(event.seen_as)
    fits = user is None or (folded(user) in names if user else not any(names))
    return fits and peer in (None, event.peer)


def _view(event: CallEvent) -> EventView:
    return EventView(
        event=event.happening.value,
        time=event.time,
        peer=event.peer,
        call=event.call,
        session_id=event.session_id,
        user=event.user,
        seen_as=event.seen_as,
        address=event.address,
        cause=event.cause.label if event.cause is not None else "",
        why=event.why,
        remedy=event.remedy,
        windows_errors=event.cause.windows_errors if event.cause is not None else (),
        seconds=round(event.seconds, 3),
        bytes_in=event.traffic.bytes_in,
        bytes_out=event.traffic.bytes_out,
    )
