"""The API on its sockets, served by Hypercorn's TCP server for Trio in a nursery of ours.

Hypercorn shields what it writes from cancellation; so that a client which reads nothing holds nobody up, a write has a
deadline of its own, and at the end all connections are closed under it.
"""

import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from starlette.types import ASGIApp

from poptrio.management.guard import Guard

WRITE_TIMEOUT = 30.0
"""Seconds that a client has to read anything of what is written to it."""

KEEP_ALIVE = 60.0
"""Seconds that a connection without a request is kept."""

MOST_CONNECTIONS = 200
"""Connections at the same time; more wait to be accepted."""

log = structlog.get_logger("poptrio.management")


@dataclass(frozen=True, slots=True)
class Door:
    """One socket that listens; over TCP, with its TLS settings and the token that must be shown."""

    listener: socket.socket
    tls: ssl.SSLContext | None = None
    token: bytes | None = None


class _Stream(trio.abc.HalfCloseableStream):
    """A socket's stream whose writes end."""

    def __init__(self, connection: trio.socket.SocketType) -> None:
        self.socket = connection
        self._stream = trio.SocketStream(connection)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write, or close the stream when nobody reads."""
        try:
            with trio.fail_after(WRITE_TIMEOUT):
                await self._stream.send_all(data)
        except trio.TooSlowError:
            await trio.aclose_forcefully(self)
            raise trio.BrokenResourceError("the client does not read") from None

    async def wait_send_all_might_not_block(self) -> None:
        """Until there is room."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Read."""
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Write no more."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()


async def serve_http(
    app: ASGIApp, doors: Sequence[Door], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve ``app`` on all ``doors`` until cancelled."""
    config = HypercornConfig()
    config.keep_alive_timeout = KEEP_ALIVE
    config.read_timeout = None
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    config.errorlog = config.accesslog = None
    limit = trio.CapacityLimiter(MOST_CONNECTIONS)
    context = WorkerContext(None)
    try:
        async with trio.open_nursery() as nursery:
            for door in doors:
                nursery.start_soon(_accept, nursery, _Connections(app, config, context, door), door, limit)
            task_status.started()
    finally:
        for door in doors:
            door.listener.close()


async def _accept(nursery: trio.Nursery, connections: "_Connections", door: Door, limit: trio.CapacityLimiter) -> None:
    listener = trio.socket.from_stdlib_socket(door.listener)
    while True:
        ticket = object()
        await limit.acquire_on_behalf_of(ticket)
        try:
            accepted, _ = await listener.accept()
        except OSError as error:
            limit.release_on_behalf_of(ticket)
            log.warning("management connection not accepted", why=error.strerror or str(error))
            await trio.sleep(0.1)  # no descriptors left, most likely
            continue
        nursery.start_soon(connections.serve, accepted, partial(limit.release_on_behalf_of, ticket))


class _Connections:
    """What serves the connections of one door."""

    def __init__(self, app: ASGIApp, config: HypercornConfig, context: WorkerContext, door: Door) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._door = door

    async def serve(self, accepted: trio.socket.SocketType, done: "partial[None]") -> None:
        """One connection, until it is closed or we are cancelled; nothing that happens on it ends anything else."""
        raw = _Stream(accepted)
        stream = raw if self._door.tls is None else trio.SSLStream(raw, self._door.tls, server_side=True)
        guarded = Guard(self._app, self._door.token, _who(accepted))
        server = TCPServer(ASGIWrapper(guarded), self._config, self._context, {}, stream)  # type: ignore[arg-type]
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_close_when_cancelled, raw)
                await server.run()
                nursery.cancel_scope.cancel()
        except* Exception:
            log.exception("internal error")
        finally:
            await trio.aclose_forcefully(raw)
            done()


async def _close_when_cancelled(stream: _Stream) -> None:
    """Write no more when we are told to stop, also where somebody shields the writing."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


def _who(connection: trio.socket.SocketType) -> str:
    """Who is at the other end, for the log."""
    if connection.family == socket.AF_UNIX:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        process, user, _ = struct.unpack("3i", credentials)
        return f"user {user} (process {process})"
    try:
        return f"{connection.getpeername()[0]} with the token"
    except OSError:
        return "a client that is gone"
