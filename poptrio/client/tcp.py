"""The TCP connection of a call that we make, or a sentence why there is none."""

import errno
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import cast

import trio

from poptrio.runtime.exception_groups import leaves


@dataclass(frozen=True, slots=True)
class Line:
    """An open TCP connection to the port of a server at ``peer``; ``begun`` is when we began to connect."""

    stream: trio.abc.Stream
    local: IPv4Address
    peer: IPv4Address
    port: int
    begun: float


async def connect(host: str, port: int, seconds: float, stop: trio.Event) -> Line | None:
    """Connect by IPv4, which is all that PPTP knows; None when ``stop`` was set before the connection was there.

    Raises OSError with a sentence for the user when there is none after so many ``seconds``, or before.
    """
    begun = trio.current_time()
    stream: trio.SocketStream | None = None
    failure = ""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when, stop, nursery.cancel_scope)
        try:
            with trio.fail_after(seconds):
                stream = await trio.open_tcp_stream(host, port, local_address="0.0.0.0")
        except (OSError, trio.TooSlowError) as error:
            failure = _sentence(f"{host}, TCP port {port}", seconds, error)
        nursery.cancel_scope.cancel()
    if failure:
        raise OSError(failure)
    return None if stream is None else _line(stream, begun)


async def connect_from(source: IPv4Address | None, peer: IPv4Address, port: int, seconds: float) -> Line:
    """Connect to ``peer`` from our address ``source``, or from what the routing table says; for many calls at once.

    Raises OSError with a sentence for the user when there is no connection after so many ``seconds``, or before.
    """
    begun = trio.current_time()
    connection = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_STREAM)
    try:
        if source is not None:
            await connection.bind((str(source), 0))
        with trio.fail_after(seconds):
            await connection.connect((str(peer), port))
        return _line(trio.SocketStream(connection), begun)
    except (OSError, trio.TooSlowError) as error:
        connection.close()
        raise OSError(_sentence(f"{peer}, TCP port {port}", seconds, error)) from error
    except BaseException:
        connection.close()
        raise


async def resolve(host: str, port: int) -> IPv4Address:
    """The first IPv4 address of ``host``. Raises OSError with a sentence for the user."""
    try:
        found = await trio.socket.getaddrinfo(host, port, trio.socket.AF_INET, trio.socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(_sentence(f"{host}, TCP port {port}", 0.0, error)) from error
    return IPv4Address(cast("tuple[str, int]", found[0][4])[0])


def _line(stream: trio.SocketStream, begun: float) -> Line:
    (local, _), (peer, port) = stream.socket.getsockname(), stream.socket.getpeername()
    return Line(stream, IPv4Address(local), IPv4Address(peer), port, begun)


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    """Cancel ``scope`` when ``event`` is set."""
    await event.wait()
    scope.cancel()


def _sentence(where: str, seconds: float, error: OSError | trio.TooSlowError) -> str:
    if isinstance(error, trio.TooSlowError):
        return f"no answer from {where} in {seconds:g} s: a firewall drops it, or the host is down"
    cause = next(leaves(error.__cause__ or error))
    if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
        return f"{where}: connection refused, no PPTP server listens there"
    return f"{where}: {cause.strerror if isinstance(cause, OSError) and cause.strerror else cause}"
