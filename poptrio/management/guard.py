"""Who may ask: on the Unix socket whoever may open it, over TCP whoever has the token; never a foreign web page."""

import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from poptrio.management.app import refusal

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", "poptrio", ""})
"""Host names by which the Unix socket may be asked; any other is that of a page which has its name point here."""

OPEN_PATHS = frozenset({"/"})
"""What needs no token: the page, which asks for it."""


class Guard:
    """Lets through to ``app`` what may be asked; ``token`` is None on the Unix socket, ``by`` who is connected."""

    def __init__(self, app: ASGIApp, token: bytes | None, by: str) -> None:
        self._app = app
        self._token = token
        self._by = by

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        headers = Headers(scope=scope)
        why = self._why_not(scope, headers)
        if why is None:
            await self._app({**scope, "poptrio.by": self._by}, receive, send)
            return
        await why(scope, receive, send)

    def _why_not(self, scope: Scope, headers: Mapping[str, str]) -> ASGIApp | None:
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return refusal(403, "a page of another origin may not ask")
        host = headers.get("host", "")
        if self._token is None:
            name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
            if name.lower() not in LOCAL_HOSTS:
                return refusal(403, f"this is not {host[:100]}", "ask for localhost")
            return None
        if scope["path"] in OPEN_PATHS:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
            return None
        return refusal(
            401,
            "the token is wrong" if kind else "a token is needed",
            "send the content of management.token_file as Authorization: Bearer",
            {"www-authenticate": "Bearer"},
        )
