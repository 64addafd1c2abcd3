"""The API on its sockets: takes connections, so many at a time, and serves them in a nursery of ours."""

import socket
import struct
from collections.abc import Callable

import structlog
import trio
from starlette.types import ASGIApp

from poptrio.config.management import MOST_CONNECTIONS
from poptrio.management.connection import Connection
from poptrio.management.doors import Door, Doors
from poptrio.management.guard import Guard

log = structlog.get_logger("poptrio.management")


async def serve_http(
    app: ASGIApp,
    doors: Doors,
    may_log: Callable[[str], bool],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` on all ``doors``, also on those that are opened later, until cancelled.

    ``may_log`` is asked before lines that strangers can cause.
    """
    entrances: dict[Door, _Entrance] = {}

    def opened(door: Door) -> None:
        entrance = entrances[door] = _Entrance(app, door, nursery, may_log)
        nursery.start_soon(entrance.run)

    try:
        async with trio.open_nursery() as nursery:
            with doors.served(opened, lambda door: entrances.pop(door).close()):
                task_status.started()
                await trio.sleep_forever()
    finally:
        doors.close()


class _Entrance:
    """What takes the connections of one door, in ``nursery``; those of one cannot shut out those of another."""

    def __init__(self, app: ASGIApp, door: Door, nursery: trio.Nursery, may_log: Callable[[str], bool]) -> None:
        self._app = app
        self._door = door
        self._may_log = may_log
        self._nursery = nursery
        self._listener = trio.socket.from_stdlib_socket(door.listener)
        self._connections: dict[Connection, Guard] = {}  # the oldest first
        self._one_less = trio.Event()

    async def run(self) -> None:
        """Until cancelled, or closed."""
        while True:
            try:
                accepted, _ = await self._listener.accept()
            except trio.ClosedResourceError:
                return
            except OSError as error:
                if self._may_log("management connection not accepted"):
                    log.warning("management connection not accepted", why=error.strerror or str(error))
                await trio.sleep(0.1)  # no descriptors left, most likely
                continue
            try:
                await self._room()
            except trio.Cancelled:
                accepted.close()
                raise
            credentials = self._door.credentials
            guard = Guard(self._app, credentials, _who(accepted), self._may_log)
            connection = Connection(guard, accepted, credentials.tls if credentials is not None else None)
            self._connections[connection] = guard
            self._nursery.start_soon(self._serve, connection)

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        self._listener.close()

    async def _room(self) -> None:
        """Wait until there is room; for it, close the oldest connection on which nobody who may ask is answered."""
        while len(self._connections) >= MOST_CONNECTIONS:
            for connection, guard in self._connections.items():
                if not (connection.answering and guard.trusted):
                    connection.end()
                    break
            self._one_less = trio.Event()
            with trio.move_on_after(1.0):  # then another may be idle
                await self._one_less.wait()

    async def _serve(self, connection: Connection) -> None:
        """One connection, until it is closed or we are cancelled; nothing that happens on it ends anything else."""
        try:
            await connection.run()
        except* Exception:
            log.exception("internal error")
        finally:
            del self._connections[connection]
            self._one_less.set()


def _who(connection: trio.socket.SocketType) -> str:
    """Who is at the other end, for the log."""
    try:
        if connection.family == socket.AF_UNIX:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            process, user, _ = struct.unpack("3i", credentials)
            return f"user {user} (process {process})"
        return f"{connection.getpeername()[0]} with the token"
    except OSError:
        return "a client that is gone"
