"""Clients of the management API on a Unix socket, for the commands; what goes wrong is a `CannotAsk` with a remedy."""

import errno
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from poptrio.management.paging import LARGEST_PAGE

TIMEOUT = 30.0
"""Seconds for an answer; streams may be silent longer, but not longer than the server's comments in them."""


class CannotAsk(Exception):
    """The server cannot be asked, or refuses; the text says why and what to do. ``status`` is that of HTTP, or 0."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class _Asking:
    """What both clients have in common: the socket ``path``, and what went wrong with it as a `CannotAsk`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            _reach(self._path)
        except OSError as error:
            raise CannotAsk(_why_not(self._path, error)) from error
        try:
            yield
        except httpx.HTTPError as error:
            raise CannotAsk(_what_happened(self._path, error)) from error


class Client(_Asking):
    """Asks the server whose socket is ``path``; use it as a context manager."""

    def __init__(self, path: Path, timeout: float | None = None) -> None:
        super().__init__(path)
        transport = httpx.HTTPTransport(uds=str(path), verify=False)  # no TLS; reading authorities costs 20 ms
        self._http = httpx.Client(
            transport=transport, base_url="http://localhost", timeout=timeout or TIMEOUT, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """What a GET answers; parameters that are None are left out."""
        return self._ask("GET", path, params=_given(query))

    def post(self, path: str, **body: object) -> dict[str, Any]:
        """What a POST with this JSON object answers; None is left out."""
        return self._ask("POST", path, json=_given(body))

    def put(self, path: str, **body: object) -> dict[str, Any]:
        """What a PUT with this JSON object answers; None is left out."""
        return self._ask("PUT", path, json=_given(body))

    def page(self, path: str, of: str, **query: object) -> dict[str, Any]:
        """One page of the list ``of`` of a paged answer."""
        page = self.get(path, **query)
        if of not in page:
            raise CannotAsk(_no_poptrio(self._path))
        return page

    def pages(self, path: str, of: str, known_by: str, **query: object) -> Iterator[dict[str, Any]]:
        """Everything in the list ``of`` of a paged answer, once; what it is ``known_by`` is the name of a field.

        Nothing is left out that is there all the time, where what is new comes at the end of the list: what goes
        meanwhile moves the others forward, so each page begins with some of the page before.
        """
        seen: set[object] = set()
        overlap = max(1, LARGEST_PAGE // 10)
        end = again = 0
        while True:
            start = max(0, end - again)
            page = self.page(path, of, **query, offset=start, limit=LARGEST_PAGE)
            new = [one for one in page[of] if one[known_by] not in seen]
            if start and len(new) == len(page[of]):
                again *= 2  # more have gone than that, and there may be some in between
                continue
            seen.update(one[known_by] for one in new)
            yield from new
            end, again = start + len(page[of]), overlap
            if not (page["more"] if "more" in page else end < page["total"]):
                return

    def events(self, path: str, **query: object) -> Iterator[tuple[str, dict[str, Any]]]:
        """Server-sent events: kind and data of each, as they come."""
        return self._events("GET", path, query)

    def order(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The server-sent events of what a POST begins."""
        return self._events("POST", path, {})

    def _events(self, method: str, path: str, query: dict[str, object]) -> Iterator[tuple[str, dict[str, Any]]]:
        kind = ""
        with self._stream(method, path, query) as response:
            for line in _lines(response.iter_text()):
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

    def stream(self, path: str, **query: object) -> AbstractContextManager[httpx.Response]:
        """An answer that goes on; what ends it early is a `CannotAsk`."""
        return self._stream("GET", path, query)

    @contextmanager
    def _stream(self, method: str, path: str, query: dict[str, object]) -> Iterator[httpx.Response]:
        with self._readable():
            timeout = httpx.Timeout(TIMEOUT, read=None)
            with self._http.stream(method, path, params=_given(query), timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise _refused(self._path, response)
                yield response

    def _ask(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        with self._readable():
            response = self._http.request(method, path, **what)
        return _answer(self._path, response)


class AsyncClient(_Asking):
    """The same as `Client` for whoever must not be blocked; use it as an asynchronous context manager."""

    def __init__(self, path: Path, timeout: float | None = None) -> None:
        super().__init__(path)
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(path), verify=False),
            base_url="http://localhost",
            timeout=timeout or TIMEOUT,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str, **query: object) -> dict[str, Any]:
        """What a GET answers; parameters that are None are left out."""
        with self._readable():
            response = await self._http.get(path, params=_given(query))
        return _answer(self._path, response)

    async def post(self, path: str, **body: object) -> dict[str, Any]:
        """What a POST with this JSON object answers; None is left out."""
        with self._readable():
            response = await self._http.post(path, json=_given(body))
        return _answer(self._path, response)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces. Only a line feed ends one: names may have whatever else ends lines."""
    rest = ""
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        yield from lines


def _reach(path: Path) -> None:
    """Connect, and nothing else. Raises `OSError`; does not wait: a server that has no room is EAGAIN.

    Done before each request: this way we have the kernel's own word for what is wrong, and httpcore leaves no socket
    open that it could not connect.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        probe.connect(os.fsencode(path))


def _what_happened(path: Path, error: httpx.HTTPError) -> str:
    """Why there is no answer of a server that was reached."""
    if isinstance(error, httpx.TimeoutException):
        return f"{path}: the server does not answer in time; its log may say why"
    broken = isinstance(error, httpx.RemoteProtocolError)
    if isinstance(error, httpx.NetworkError) or (broken and re.search("disconnected|closed connection", str(error))):
        return f"{path}: the server went away while it answered: it was stopped or killed; its log says which"
    return _no_poptrio(path)


def _no_poptrio(path: Path) -> str:
    return (
        f"{path}: what listens there does not answer as poptrio does; --socket names the server's socket "
        "([management] socket)"
    )


def _why_not(path: Path, error: OSError) -> str:
    """Why nobody can be reached at ``path``."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return (
                f"{path}: there is no such socket: no server runs, or [management] socket names another path; "
                "--socket says which"
            )
        case errno.EACCES | errno.EPERM:
            return f"{path} may not be opened by this user: be root, or a member of the group in [management] group"
        case errno.ECONNREFUSED if path.is_socket():
            return f"{path}: nobody listens: the server was killed; start it again"
        case errno.ECONNREFUSED | errno.EPROTOTYPE:
            return f"{path} is no socket of a server; --socket names it ([management] socket)"
        case errno.EAGAIN:
            return f"{path}: the server lets nobody in: it hangs, or too many ask; its log may say why"
    return f"{path} can be no socket: {error.strerror or error}; --socket names the server's ([management] socket)"


def _given(values: dict[str, object]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _answer(path: Path, response: httpx.Response) -> dict[str, Any]:
    """The JSON object in ``response``. Raises `CannotAsk`."""
    if not response.is_success:
        raise _refused(path, response)
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CannotAsk(_no_poptrio(path), response.status_code)
    return answer


def _refused(path: Path, response: httpx.Response) -> CannotAsk:
    try:
        said = response.json()
        text, remedy = said["error"], said["remedy"]
    except (ValueError, KeyError, TypeError):
        return CannotAsk(f"{_no_poptrio(path)} (HTTP status {response.status_code})", response.status_code)
    return CannotAsk(f"{text}: {remedy}" if remedy else text, response.status_code)
