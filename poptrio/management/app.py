"""The Starlette application: routes made of the table of endpoints, and what is wrong with a request as JSON."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import cache
from typing import Any

import structlog
import trio
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from poptrio.management.endpoint import Answer, ApiError, Asked, Endpoint, Manager, Stream
from poptrio.management.endpoints import ENDPOINTS
from poptrio.management.openapi import description
from poptrio.management.page_files import page_routes

LARGEST_BODY = 64 * 1024
"""Octets of what may be asked in one body."""

BODY_TIMEOUT = 10.0
"""Seconds in which the whole of it must come."""

LONGEST_SENTENCE = 1000
"""Characters of the sentence about what is wrong; what the client sent itself may be long."""

log = structlog.get_logger("poptrio.management")


def application(manager: Manager) -> ASGIApp:
    """The API of the server that ``manager`` has, and the page."""
    routes = [Route(_route(endpoint), _view(manager, endpoint), methods=[endpoint.method]) for endpoint in ENDPOINTS]
    routes += [Route("/openapi.json", _openapi, methods=["GET"]), *page_routes()]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_routed, ApiError: _api_error})
    app.router.redirect_slashes = False  # there is one path to each thing
    return app


def _route(endpoint: Endpoint) -> str:
    """Its path, in which the name of a pool may have slashes."""
    return endpoint.path.replace("{pool}", "{pool:path}")


def _view(manager: Manager, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    def failed() -> None:
        """To be called while the exception is handled."""
        log.exception("internal error", endpoint=endpoint.path)
        manager.server.stats.internal_errors += 1

    async def view(request: Request) -> Response:
        ask = await _ask(endpoint, request)
        asked = Asked(manager, request.scope.get("poptrio.by", "unknown"), request.headers.get("accept", ""))
        try:
            answer = await endpoint.handler(asked, ask)
            if isinstance(answer, Answer):
                return Response(answer.model_dump_json(), media_type="application/json")
        except ApiError:
            raise
        except Exception:  # noqa: BLE001 - a bug in one answer is that answer's
            failed()
            return refusal(500, "an error inside poptrio; the traceback is in the log", "report it as a bug")
        if isinstance(answer, Stream):
            return _StreamResponse(answer, failed)
        return Response(answer.content, media_type=answer.media_type)

    return view


async def _ask(endpoint: Endpoint, request: Request) -> BaseModel:
    """What is asked, checked. Raises `ApiError` with every fault."""
    values: dict[str, Any] = {}
    if endpoint.has_body:
        if request.query_params:
            raise ApiError(422, "what is asked here stands in the body, as JSON", "leave the query out")
        values |= _json_object(await _body(request))
    else:
        for name, value in request.query_params.multi_items():
            if name in values:
                raise ApiError(422, f"{name} is given twice", "give it once")
            values[name] = value
    for name in request.path_params:
        if name in values:
            raise ApiError(422, f"{name} stands in the path already", "leave it out")
    try:
        return endpoint.ask.model_validate(values | request.path_params)
    except ValidationError as error:
        faults = ["{}: {}".format(".".join(map(str, one["loc"])) or "body", one["msg"]) for one in error.errors()]
        raise ApiError(422, "; ".join(faults), "/openapi.json says what may be asked") from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        with trio.fail_after(BODY_TIMEOUT):
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        raise ApiError(413, f"the body has more than {LARGEST_BODY} octets", "ask for less at a time")
    except trio.TooSlowError:
        raise ApiError(408, f"the body has not come in {BODY_TIMEOUT:.0f} s") from None
    except ClientDisconnect:
        raise ApiError(400, "the request is not complete") from None
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # A form of a foreign page cannot send this type without asking first.
        raise ApiError(415, "the body must be JSON", "send it with Content-Type: application/json")
    return bytes(body)


def _json_object(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(422, "the body must be a JSON object", "/openapi.json says what may be asked")
    return value


class _StreamResponse(Response):
    """Sends chunks as they come, until the client goes; ends its source with itself.

    ``failed`` is called while an exception of the source is handled, which ends the connection: the answer has begun.
    """

    def __init__(self, stream: Stream, failed: Callable[[], None]) -> None:
        super().__init__(media_type=stream.media_type)
        self._stream = stream
        self._failed = failed
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(_closable(self._stream.chunks)) as chunks:  # also where nobody hears the beginning
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_disconnected, receive, nursery.cancel_scope)
                    await self._send_chunks(chunks, send)
                    nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_chunks(self, chunks: AsyncIterator[bytes], send: Send) -> None:
        try:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except Exception:
            self._failed()
            raise


async def _until_disconnected(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _closable(chunks: AsyncIterator[bytes]) -> Any:
    return chunks


@cache
def _openapi_text() -> bytes:
    return json.dumps(description(ENDPOINTS)).encode()


async def _openapi(request: Request) -> Response:
    return Response(_openapi_text(), media_type="application/json")


def refusal(status: int, sentence: str, remedy: str = "", headers: dict[str, str] | None = None) -> Response:
    """The answer that something is wrong."""
    if len(sentence) > LONGEST_SENTENCE:
        sentence = sentence[:LONGEST_SENTENCE] + "…"
    text = json.dumps({"error": sentence, "remedy": remedy})  # ASCII: what was sent may be no Unicode
    return Response(text, status, headers, media_type="application/json")


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return refusal(error.status, error.sentence, error.remedy)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {
        404: f"there is no {request.url.path}",
        405: f"{request.method} is not possible with {request.url.path}",
    }
    sentence = sentences.get(error.status_code, str(error.detail))
    return refusal(error.status_code, sentence, "/openapi.json lists what there is", dict(error.headers or {}))
