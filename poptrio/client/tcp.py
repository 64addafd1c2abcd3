"""The TCP connection of a call that we make, or a sentence why there is none."""

import errno

import trio

from poptrio.runtime.exception_groups import leaves


async def connect(host: str, port: int, seconds: float, stop: trio.Event) -> trio.SocketStream | None:
    """Connect by IPv4, which is all that PPTP knows; None when ``stop`` was set before the connection was there.

    Raises OSError with a sentence for the user when there is none after so many ``seconds``, or before.
    """
    stream: trio.SocketStream | None = None
    failure = ""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_when, stop, nursery.cancel_scope)
        try:
            with trio.fail_after(seconds):
                stream = await trio.open_tcp_stream(host, port, local_address="0.0.0.0")
        except (OSError, trio.TooSlowError) as error:
            failure = _sentence(f"{host}, TCP port {port}", seconds, error)
        nursery.cancel_scope.cancel()
    if failure:
        raise OSError(failure)
    return stream


async def cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
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
