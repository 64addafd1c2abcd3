"""Who may ask: on the Unix socket whoever may open it, over TCP whoever has the token; never a foreign web page."""

import hmac
from collections.abc import Callable, Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poptrio.management.app import refusal
from poptrio.management.credentials import Credentials
from poptrio.management.page_files import PAGE_PATHS

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", ""})
"""Host names by which the Unix socket may be asked; any other is that of a page which has its name point here."""

OPEN_PATHS = PAGE_PATHS
"""What needs no token: the files of the page, which asks for it. They are the same for everybody."""

HEADERS = {
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Of every answer that does not say otherwise."""

log = structlog.get_logger("poptrio.management")


class Guard:
    """Lets through to ``app`` what may be asked; ``credentials`` is None on the Unix socket, ``by`` who is connected.

    Each request is to show the token that is wanted then. One for each connection; ``may_log`` is asked before lines
    that strangers can cause. ``trusted`` says whether its last request had the right to be answered.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials | None, by: str, may_log: Callable[[str], bool]) -> None:
        self._app = app
        self._credentials = credentials
        self._by = by
        self._may_log = may_log
        self._warned = False
        self.trusted = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._why_not(scope, Headers(scope=scope))
        self.trusted = refused is None and (self._credentials is None or scope["path"] not in OPEN_PATHS)
        await (refused or self._app)({**scope, "poptrio.by": self._by}, receive, sending)

    def _why_not(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        if scope["http_version"] not in ("1.0", "1.1"):
            return refusal(505, "this is HTTP/1.1", headers={"connection": "close"})
        if "content-length" in headers and "transfer-encoding" in headers:  # RFC 9112 §6.1: smells of smuggling
            return refusal(400, "a body has either a length or chunks", headers={"connection": "close"})
        if _is_foreign(scope, headers):
            return refusal(403, "a page of another origin may not ask")
        if self._credentials is None:
            host = headers.get("host", "")
            if _name(host) not in LOCAL_HOSTS:
                return refusal(403, f"this is not {host[:100]}", "ask for localhost")
            return None
        if scope["path"] in OPEN_PATHS:
            return None
        return self._without_token(headers, self._credentials.token)

    def _without_token(self, headers: Headers, token: bytes) -> ASGIApp | None:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token):
            return None
        if kind and not self._warned:
            self._warned = True
            if self._may_log("management token refused"):
                log.warning("management token refused", by=self._by.partition(" ")[0])
        return refusal(
            401,
            "the token is wrong" if kind else "a token is needed",
            "send the content of management.token_file as Authorization: Bearer",
            {"www-authenticate": "Bearer"},
        )


def _is_foreign(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Whether a page of another origin asks. Browsers say so in one of two ways; other clients in none.

    Following a link to the page is no asking: what comes is the page, which the other one cannot read or frame.
    """
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return not (link and scope["method"] == "GET" and scope["path"] == "/")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "null").lower()


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    return name.lower()
