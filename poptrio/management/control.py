"""Endpoints that change what the whole server does."""

import structlog

from poptrio.management.endpoint import Answer, Asked, Nothing

log = structlog.get_logger("poptrio.management")


class Stopping(Answer):
    """The server stops."""

    calls: int
    """Calls that are told goodbye."""


async def shut_down(asked: Asked, order: Nothing) -> Stopping:
    """Stop with goodbyes, as SIGTERM does; asked again, at once."""
    calls = asked.server.call_count
    log.info("stopping", by=asked.by, calls=calls)
    asked.server.stop()
    return Stopping(calls=calls)
