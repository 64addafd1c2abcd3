"""What an answer of ``/metrics`` costs with many calls: how long it takes, and how long others wait for the event loop.

``python benchmarks/metrics.py [CALLS]``. The calls are stand-ins with counters of their own; all else is as in a server
that runs. The pauses are those that a task sees that gives way all the time, with and without somebody who asks.
"""

import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address

import trio

from poptrio.calls import CallInfo
from poptrio.datapath.base import PathCounters
from poptrio.management.metrics import exposition
from poptrio.observe.metrics import Exposer
from poptrio.testing.server import memory_server

ANSWERS = 20


class StandIn:
    """A call that is up."""

    cause = None
    up_since = 1.0
    accept = name = None

    def __init__(self, number: int) -> None:
        self.counters = PathCounters(*range(number, number + 18))
        self.info = CallInfo(
            session_id=f"session-{number}",
            call_id=number,
            peer_call_id=number,
            peer=IPv4Address("203.0.113.9"),
            server=IPv4Address("192.0.2.1"),
            started=datetime.now(UTC),
        )


async def longest_pause(during: Callable[[], Awaitable[object]]) -> float:
    """The longest time, in seconds, that a task had to wait for its turn meanwhile."""
    longest, scope = 0.0, trio.CancelScope()

    async def watch() -> None:
        nonlocal longest
        with scope:
            while True:
                begun = time.perf_counter()
                await trio.lowlevel.checkpoint()
                longest = max(longest, time.perf_counter() - begun)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await during()
        scope.cancel()
    return longest


async def main(count: int) -> None:
    """Measure and print."""
    exposer = Exposer()
    async with memory_server() as memory:
        server = memory.server
        await memory.dial()
        for number in range(count - 1):
            server.registry.calls[-1 - number] = StandIn(number)  # type: ignore[assignment]
        text = b""

        async def ask() -> None:
            nonlocal text
            _, text = await exposition(server, exposer)  # type: ignore[arg-type]

        async def ask_often() -> None:
            for _ in range(ANSWERS):
                await ask()

        begun, busy = time.perf_counter(), time.process_time()
        await ask_often()
        took, cpu = time.perf_counter() - begun, time.process_time() - busy
        quiet = await longest_pause(partial(trio.sleep, took))
        pause = await longest_pause(ask_often)
        begun = time.perf_counter()
        exposer.text([], {}, "")
        alone = time.perf_counter() - begun
        for number in range(count - 1):
            del server.registry.calls[-1 - number]
    print(f"{count} calls, {len(text)} octets of text, {ANSWERS} answers")
    print(f"one answer: {took / ANSWERS * 1000:.1f} ms, of which CPU {cpu / ANSWERS * 1000:.1f} ms")
    print(f"longest pause of the event loop: {pause * 1000:.1f} ms; with nobody who asks: {quiet * 1000:.1f} ms")
    print(f"text of the library's own metrics alone, in one piece: {alone * 1000:.1f} ms")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
