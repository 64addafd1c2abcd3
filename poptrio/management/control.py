"""Endpoints that change what the whole server does."""

from collections.abc import Iterable
from typing import Annotated, Literal

import structlog
from pydantic import Field

from poptrio.config.changes import Change
from poptrio.management.endpoint import Answer, ApiError, Ask, Asked, Nothing

log = structlog.get_logger("poptrio.management")


class Stopping(Answer):
    """The server stops."""

    calls: int
    """Calls that are told goodbye."""


class SettingChange(Answer):
    """One key of the configuration that has another value in the file."""

    setting: str
    """The key, with its table: ``server.max_calls``."""
    old: str
    """The value until now as TOML text, ``(hidden)`` for secrets, ``(none)`` where there was none."""
    new: str
    effect: Literal["at once", "new calls", "restart"]
    """When the new value counts: at once, for new calls and control connections, or after a restart."""


class Reloaded(Answer):
    """What came of a reload."""

    reloaded: bool
    """Whether the file was taken; with faults nothing was changed."""
    changes: tuple[SettingChange, ...]
    """What counts now."""
    needs_restart: tuple[SettingChange, ...]
    """What keeps its old value until the server is started again."""
    faults: tuple[str, ...]
    """What is wrong, with file and line where that is known."""


class DrainOrder(Ask):
    """How long calls that are left may go on."""

    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Seconds until they are ended; without, they end by themselves."""


class DrainView(Answer):
    """Whether the server drains: takes no new calls, and stops when those that it has are over."""

    draining: bool
    seconds_left: float | None
    """Seconds until the calls that are left are ended; null without a deadline."""
    calls: int
    """Calls that are left."""


async def reload(asked: Asked, order: Nothing) -> Reloaded:
    """Read the configuration file anew, and put what differs to use, as SIGHUP does; with one fault, nothing."""
    log.info("reloading", by=asked.by)
    report = await asked.server.reloader.reload()
    return Reloaded(
        reloaded=not report.faults,
        changes=_views(report.changes),
        needs_restart=_views(report.needs_restart),
        faults=tuple(map(str, report.faults)),
    )


async def show_drain(asked: Asked, query: Nothing) -> DrainView:
    """Whether the server drains, and what it waits for."""
    state = asked.server.drain_state
    left = state.seconds_left
    return DrainView(
        draining=state.active, seconds_left=None if left is None else round(left, 3), calls=asked.server.call_count
    )


async def drain(asked: Asked, order: DrainOrder) -> DrainView:
    """Take no new calls, and stop when those that are up are over or out of time; asked again, another deadline."""
    if asked.server.stopping:
        raise ApiError(409, "the server is stopping already")
    await asked.server.drain(order.seconds)
    return await show_drain(asked, Nothing())


async def cancel_drain(asked: Asked, order: Nothing) -> DrainView:
    """Take calls again."""
    if not await asked.server.cancel_drain():
        raise ApiError(409, "the server is not draining", "`poptrio stats` says what it does")
    return await show_drain(asked, Nothing())


async def shut_down(asked: Asked, order: Nothing) -> Stopping:
    """Stop with goodbyes, as SIGTERM does; asked again, at once."""
    calls = asked.server.call_count
    log.info("stopping", by=asked.by, calls=calls)
    asked.server.stop()
    return Stopping(calls=calls)


def _views(changes: Iterable[Change]) -> tuple[SettingChange, ...]:
    return tuple(
        SettingChange(setting=change.setting, old=change.old, new=change.new, effect=change.effect.value)
        for change in changes
    )
