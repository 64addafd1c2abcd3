"""Endpoints about what is logged: levels of areas, and traces of single clients."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field

from poptrio.management.endpoint import Answer, ApiError, Ask, Asked, Nothing
from poptrio.observe.areas import Level, Levels
from poptrio.server.captures import LIST_CALLS
from poptrio.server.tracing import LONGEST_TRACE, TRACE_SECONDS, Subject, TooManyTraces, UnknownArea


class TraceView(Answer):
    """One trace."""

    of: Literal["call", "user", "peer"]
    value: str
    """Which one."""
    seconds: float
    """How long it still lasts."""


class LogView(Answer):
    """What is logged."""

    level: Level
    """The level of all areas but those below."""
    areas: dict[str, Level]
    """Areas with a level of their own."""
    known_areas: tuple[str, ...]
    """All areas that there are."""
    traces: tuple[TraceView, ...]


class LogChange(Ask):
    """What to log from now on, until the server is started again."""

    level: Level | None = None
    """The level of all areas but those with one of their own."""
    areas: dict[str, Level | None] = Field(default_factory=dict)
    """New levels of areas; null takes the level of all others again."""


class TraceSubject(Ask):
    """Whom a trace is about; exactly one of the three."""

    call: Annotated[int, Field(ge=0, le=65535)] | None = None
    user: str | None = None
    """The user as plugins know it, or the name that the client sends; case ignored."""
    peer: IPv4Address | None = None
    """A client's outer address."""


class TraceOrder(TraceSubject):
    """Whom to trace, and for how long."""

    seconds: Annotated[float, Field(gt=0, le=LONGEST_TRACE)] = TRACE_SECONDS


async def show_log(asked: Asked, query: Nothing) -> LogView:
    """The levels of the log, and the traces."""
    return _view(asked)


async def change_log(asked: Asked, order: LogChange) -> LogView:
    """Log from other levels upwards, at once and in all worker processes."""
    tracing = asked.server.tracing
    areas = _changed(tracing.levels.areas, order.areas)
    try:
        tracing.change_levels(Levels(order.level or tracing.levels.level, areas), asked.by)
    except UnknownArea as error:
        raise ApiError(422, str(error), "GET /v1/log lists them as known_areas") from None
    return _view(asked)


async def begin_trace(asked: Asked, order: TraceOrder) -> LogView:
    """Log every control message and control packet of one call, user or client address, without secrets, for a time.

    Calls that begin later count, too. A user is known from its authentication on.
    """
    subject = _subject(order)
    if subject is None:
        raise ApiError(422, "say whom to trace", "give call, user or peer")
    if subject.kind == "call" and not any(call.info.call_id == order.call for call in asked.server.calls()):
        raise ApiError(404, f"there is no call {order.call}", LIST_CALLS)
    try:
        asked.server.tracing.trace(subject, order.seconds, asked.by)
    except TooManyTraces as error:
        raise ApiError(409, str(error), "POST /v1/trace/end ends them") from None
    return _view(asked)


async def end_trace(asked: Asked, order: TraceSubject) -> LogView:
    """End one trace, or all where nothing is said."""
    subject = _subject(order)
    ended = asked.server.tracing.end_traces(None if subject is None else [subject], asked.by)
    if subject is not None and not ended:
        raise ApiError(404, f"there is no trace of {subject}", "GET /v1/log lists those that there are")
    return _view(asked)


def _subject(order: TraceSubject) -> Subject | None:
    given = order.model_dump(include={"call", "user", "peer"}, exclude_none=True)
    if len(given) > 1:
        raise ApiError(422, "a trace is of one of them", "give call, user or peer")
    for kind, value in given.items():
        return Subject(kind, str(value))  # type: ignore[arg-type]  # the fields are called like the kinds
    return None


def _changed(areas: Mapping[str, Level], changes: Mapping[str, Level | None]) -> dict[str, Level]:
    changed = {**areas, **changes}
    return {area: level for area, level in changed.items() if level is not None}


def _view(asked: Asked) -> LogView:
    tracing = asked.server.tracing
    return LogView(
        level=tracing.levels.level,
        areas=dict(tracing.levels.areas),
        known_areas=tracing.areas,
        traces=tuple(
            TraceView(of=subject.kind, value=subject.value, seconds=round(seconds, 1))
            for subject, seconds in tracing.traces.items()
        ),
    )
