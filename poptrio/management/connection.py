"""One connection of the API: HTTP/1.1 by Hypercorn's protocol on h11, with our own reading, writing and deadlines.

Hypercorn's own handler of connections is not used: it shields what it writes from cancellation, changes to HTTP/2 for
whoever asks, waits for ever for a body, and waits for itself when an answer is given before the whole body is read.
"""

import ssl
from typing import Any

import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp, Message, Receive, Scope, Send

WRITE_TIMEOUT = 30.0
"""Seconds that a client has to make room for the next `SENT_AT_ONCE` octets; it may be slow, but not stand still."""

SENT_AT_ONCE = 65536

KEEP_ALIVE = 60.0
"""Seconds that a connection without a request is kept; the head of a request must come in this time too."""

HANDSHAKE_TIMEOUT = 10.0
"""Seconds for the handshake of TLS."""

CLOSE_TIMEOUT = 1.0
"""Seconds to say goodbye in TLS."""

READ_AT_ONCE = 65536

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class Connection:
    """What serves ``app`` on one connection; ``tls`` is None where there is none.

    ``answering`` says whether a request is being read or answered; otherwise it is idle.
    """

    def __init__(self, app: ASGIApp, socket: trio.socket.SocketType, tls: ssl.SSLContext | None) -> None:
        self._app = app
        self._raw = trio.SocketStream(socket)
        self._stream: Stream = self._raw
        if tls is not None:
            self._stream = trio.SSLStream(self._raw, tls, server_side=True)
        self._scope = trio.CancelScope()
        self._writing = trio.Lock()
        self._reader: trio.lowlevel.Task | None = None
        self._read_enough = False
        self.answering = False

    async def run(self) -> None:
        """Until either end closes it. What goes wrong on it ends it, and is raised only where it is a bug."""
        try:
            with self._scope:
                if isinstance(self._stream, trio.SSLStream):
                    self._scope.deadline = trio.current_time() + HANDSHAKE_TIMEOUT
                    await self._stream.do_handshake()
                self._idle(True)
                await self._serve()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone, or does not speak TLS
        finally:
            await self._close()

    def end(self) -> None:
        """Close it now."""
        self._scope.cancel()

    async def _serve(self) -> None:
        async with TaskGroup() as tasks:
            protocol = _Http1(
                ASGIWrapper(_Drained(self._app)),  # type: ignore[arg-type]
                _CONFIG,
                WorkerContext(None),
                tasks,
                ConnectionState({}),
                self._stream is not self._raw,
                None,
                None,
                self._send,
            )
            self._reader = trio.lowlevel.current_task()
            while not self._read_enough and (data := await self._stream.receive_some(READ_AT_ONCE)):
                await protocol.handle(RawData(bytes(data)))
            # Who has asked and then closed its half still gets its answer, unless that is a stream.
            if not self._read_enough:
                await protocol.handle(RawData(b""))
            await protocol.handle(Closed())

    async def _send(self, event: Event) -> None:
        if isinstance(event, RawData):
            try:
                async with self._writing:
                    for start in range(0, len(event.data), SENT_AT_ONCE):
                        with trio.fail_after(WRITE_TIMEOUT):
                            await self._stream.send_all(event.data[start : start + SENT_AT_ONCE])
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                self._scope.cancel()  # also what waits for the answer to be sent before it reads on
        elif isinstance(event, Closed):
            if trio.lowlevel.current_task() is self._reader:
                self._read_enough = True  # what follows is no HTTP; an answer to what came before is still sent
            else:
                self._scope.cancel()  # the last answer is sent
        elif isinstance(event, Updated):
            self._idle(event.idle)

    def _idle(self, idle: bool) -> None:
        self.answering = not idle
        self._scope.deadline = trio.current_time() + KEEP_ALIVE if idle else float("inf")

    async def _close(self) -> None:
        try:
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self._stream.aclose()
        except (OSError, trio.BrokenResourceError):
            pass
        finally:
            await trio.aclose_forcefully(self._raw)


class _Http1(H11Protocol):
    """HTTP/1.1, and never anything else on the same connection."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Do not change to HTTP/2."""

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of an answer; when the connection is being ended, nothing more.

        Hypercorn would begin another answer then, in the middle of one, and raise what is no error of ours.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await super().stream_send(event)

    async def _create_stream(self, request: h11.Request) -> None:
        """Answer a request; one to change the protocol as if it were none (RFC 9110 §7.8)."""
        headers = [(name, value) for name, value in request.headers.raw_items() if name.lower() != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        )


class _Drained:
    """Runs an application; what it leaves of a body is thrown away while its answer is sent.

    Otherwise the reader would wait for room for the body, and the end of the answer for the reader.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        names = {name for name, _ in scope["headers"]}
        complete = not names & {b"content-length", b"transfer-encoding"}

        async def receiving() -> Message:
            nonlocal complete
            message = await receive()
            complete = complete or not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and not complete:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            elif message["type"] == "http.response.body" and not message.get("more_body", False) and not complete:
                nursery.start_soon(_drain, receive)
            await send(message)

        async with trio.open_nursery() as nursery:
            await self._app(scope, receiving, sending)
            nursery.cancel_scope.cancel()


async def _drain(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _config() -> HypercornConfig:
    config: Any = HypercornConfig()
    config.include_server_header = False
    config.errorlog = config.accesslog = None
    return config  # type: ignore[no-any-return]


_CONFIG = _config()
