"""A client of the management API on a Unix socket, for the commands; what goes wrong is a `CannotAsk` with a remedy."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

TIMEOUT = 30.0
"""Seconds for an answer; streams may be silent longer, but not longer than the server's comments in them."""


class CannotAsk(Exception):
    """The server cannot be asked, or refuses; the text says why and what to do. ``status`` is that of HTTP, or 0."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Client:
    """Asks the server whose socket is ``path``; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        transport = httpx.HTTPTransport(uds=str(path))
        self._http = httpx.Client(transport=transport, base_url="http://localhost", timeout=TIMEOUT, trust_env=False)

    def __enter__(self) -> "Client":
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

    def pages(self, path: str, of: str, **query: object) -> Iterator[dict[str, Any]]:
        """Everything in the list ``of`` of a paged answer."""
        offset = 0
        while True:
            page = self.get(path, **query, offset=offset, limit=1000)
            yield from page[of]
            offset += len(page[of])
            if not page[of] or offset >= page["total"]:
                return

    def events(self, path: str, **query: object) -> Iterator[tuple[str, dict[str, Any]]]:
        """Server-sent events: kind and data of each, as they come."""
        kind = ""
        with self.stream(path, **query) as response:
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

    @contextmanager
    def stream(self, path: str, **query: object) -> Iterator[httpx.Response]:
        """An answer that goes on; what ends it early is a `CannotAsk`."""
        with self._readable():
            timeout = httpx.Timeout(TIMEOUT, read=None)
            with self._http.stream("GET", path, params=_given(query), timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise _refused(response)
                yield response

    def _ask(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        with self._readable():
            response = self._http.request(method, path, **what)
        if response.is_error:
            raise _refused(response)
        answer: dict[str, Any] = response.json()
        return answer

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise CannotAsk(self._why_not(error)) from error
        except httpx.TimeoutException as error:
            raise CannotAsk(
                f"{self._path}: the server does not answer in {TIMEOUT:.0f} s; its log may say why"
            ) from error
        except httpx.TransportError as error:
            raise CannotAsk(f"{self._path}: the server is gone: {error}") from error

    def _why_not(self, error: Exception) -> str:
        path = self._path
        if not path.exists():
            return (
                f"{path}: there is no such socket: no server runs, or [management] socket names another path; "
                "--socket says which"
            )
        if not path.is_socket():
            return f"{path} is no socket; --socket names that of the server ([management] socket)"
        if "Permission denied" in str(error):
            return f"{path} may not be opened by this user: be root, or a member of the group in [management] group"
        return f"{path}: nobody listens: the server was killed; start it again"


def _given(values: dict[str, object]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _refused(response: httpx.Response) -> CannotAsk:
    try:
        said = response.json()
        text, remedy = said["error"], said["remedy"]
    except (ValueError, KeyError, TypeError):
        text, remedy = f"the server answers with HTTP status {response.status_code}", ""
    return CannotAsk(f"{text}: {remedy}" if remedy else text, response.status_code)
