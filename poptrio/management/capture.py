"""The endpoint that streams what passes in a call."""

from collections.abc import AsyncIterator
from typing import Annotated

from pydantic import Field

from poptrio.management.endpoint import ApiError, Ask, Asked, Stream
from poptrio.server.captures import (
    CAPTURE_OCTETS,
    CAPTURE_SECONDS,
    CaptureOrder,
    CaptureRefused,
    NothingToCapture,
    ReadCapture,
)

MEDIA_TYPE = "application/x-pcapng"
SMALLEST = 10_000
"""Octets of a capture, below which nothing is in it."""


class CaptureQuery(Ask):
    """What to capture: one call, by itself or by its user."""

    call: Annotated[int, Field(ge=0, le=65535)] | None = None
    user: Annotated[str, Field(min_length=1)] | None = None
    """The user as plugins know it, or the name that the client sent; case ignored."""
    wait: bool = False
    """If the user has no call, wait for the next one; it is captured from its authentication on."""
    octets: Annotated[int, Field(ge=SMALLEST)] | None = None
    """How large the file may be: 10,000,000 unless something else is said, at most [capture] max_octets."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """How long it lasts, and before that, how long is waited: 60 unless something else is said, at most [capture]
    max_seconds."""


async def capture(asked: Asked, query: CaptureQuery) -> Stream:
    """What passes in a call from now on, as pcapng: GRE as on the wire, PPP decrypted, IP inside.

    Passwords in clear are masked; keys are not in it. A client that reads too slowly loses packets, which the
    statistics at the end of the file count.
    """
    if (query.call is None) == (query.user is None):
        raise ApiError(422, "say what to capture", "give call or user")
    if query.wait and query.user is None:
        raise ApiError(422, "only the call of a user can be waited for", "give user")
    limits = asked.server.config.capture
    octets = min(CAPTURE_OCTETS, limits.max_octets) if query.octets is None else query.octets
    seconds = min(CAPTURE_SECONDS, limits.max_seconds) if query.seconds is None else query.seconds
    order = CaptureOrder(query.call, query.user or "", query.wait, octets, seconds, asked.by)
    try:
        return Stream(MEDIA_TYPE, _Chunks(asked.server.captures.start(order)))
    except CaptureRefused as error:
        raise ApiError(404 if isinstance(error, NothingToCapture) else 409, str(error), error.remedy) from None


class _Chunks(AsyncIterator[bytes]):
    """A capture as it is sent; no generator, so that it is given up also where nobody has begun to read."""

    def __init__(self, capture: ReadCapture) -> None:
        self._capture = capture

    async def __anext__(self) -> bytes:
        chunk = await self._capture.next_chunk()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Nobody reads any more."""
        self._capture.abandon()
