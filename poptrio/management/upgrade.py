"""The endpoint that starts the program anew without dropping a call."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import structlog

from poptrio.management.endpoint import ApiError, Asked, Nothing, Stream
from poptrio.upgrade.hand_over import UpgradeFailed

log = structlog.get_logger("poptrio.management")


async def upgrade(asked: Asked, order: Nothing) -> Stream:
    """Start the new program and hand everything over to it, without dropping a call.

    The answer is a stream of server-sent events: `step` says what happens. When the new program has taken over, the
    stream just ends, since nobody is there any more who could say so, and requests are answered by the new program;
    when it has not, the last event is `failed`, says why, and nothing has changed.
    """
    hand_over = asked.manager.upgrade
    if hand_over is None:
        raise ApiError(501, "this server does not know how it was started", "upgrade it by a restart")
    log.info("upgrading", by=asked.by)
    return Stream("text/event-stream", _events(hand_over.hand_over(asked.server)))


async def _events(steps: AsyncGenerator[str, None]) -> AsyncIterator[bytes]:
    try:
        async with aclosing(steps):
            async for step in steps:
                log.info("upgrading", step=step)
                yield _event("step", step=step)
    except UpgradeFailed as error:
        log.error("upgrade failed", why=str(error))
        yield _event("failed", why=str(error))


def _event(kind: str, **data: str) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
