"""What a service manager is told of this process: sd_notify(3), datagrams to the socket that it names.

It watches, too: where it wants a sign of life (``WATCHDOG_USEC``), one is sent from the event loop, so that a loop that
hangs is noticed and the server started again. Without a service manager, nothing here does anything.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping

import structlog
import trio

STATUS_INTERVAL = 5.0
"""Seconds between two looks at whether there is another status to tell."""

_MICROSECONDS = 1_000_000

log = structlog.get_logger("poptrio.server")


def notify(*assignments: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send ``assignments``, as "READY=1", in one datagram; returns whether there is anybody to whom they were sent.

    Never waits and never raises: a manager that does not listen must not stop the server.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address[0] == "@":  # Linux' abstract sockets begin with a zero octet
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            sender.sendto("\n".join(assignments).encode(errors="replace"), address)
    except OSError as error:
        log.warning("service manager not told", what=assignments[0], why=error.strerror or str(error))
        return False
    return True


def ready() -> None:
    """The server takes calls; again after `reloading`."""
    notify("READY=1", f"MAINPID={os.getpid()}")


def reloading() -> None:
    """The server reads its files again; `ready` follows.

    The time is for ``Type=notify-reload`` of systemd 253 and later, which asks for it.
    """
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify("RELOADING=1", f"MONOTONIC_USEC={now}")


def stopping() -> None:
    """The server says goodbye to its calls."""
    notify("STOPPING=1", "STATUS=stopping")


def main_process_is(process: int) -> None:
    """Another process goes on in our place; the manager watches that one from now on."""
    notify(f"MAINPID={process}")


def environment_of_successor(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a process is started with that will be watched in our place: nothing of it is for us alone."""
    return {name: value for name, value in environment.items() if name != "WATCHDOG_PID"}


def is_told(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a service manager that wants to hear of us."""
    return bool(environment.get("NOTIFY_SOCKET"))


def watchdog_interval(environment: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which each sign of life must follow the one before it; None when nobody waits for any."""
    microseconds, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if process and process != str(os.getpid()):
        return None
    if not (microseconds.isascii() and microseconds.isdecimal() and int(microseconds)):
        return None
    return int(microseconds) / _MICROSECONDS


async def keep_informed(status: Callable[[], str]) -> None:
    """Tell ``status`` when it has changed, and that we live, twice as often as is wanted. Returns when nobody listens.

    To be run where the calls are: a sign of life that another thread sends says nothing about them.
    """
    watchdog = watchdog_interval()
    if not is_told():
        return
    wait = STATUS_INTERVAL if watchdog is None else min(watchdog / 2, STATUS_INTERVAL)
    told = ""
    while True:
        news = ["WATCHDOG=1"] if watchdog is not None else []
        if (now := status()) != told:
            news.append(f"STATUS={now}")
            told = now
        if news:
            notify(*news)
        await trio.sleep(wait)
