"""Endpoints about the server as a whole: what it counts, and what it is."""

from collections import Counter
from datetime import UTC, datetime

import trio

from poptrio import __version__
from poptrio.management.endpoint import Answer, Asked, Nothing
from poptrio.server.call_events import CallState, state_of
from poptrio.server.slices import SLICE


class ServerStats(Answer):
    """What the server counts."""

    version: str
    started: datetime
    """When the process was started. What is counted since the start was counted before it as well, by those whose calls
    it took over (`poptrio upgrade`)."""
    seconds: float
    """How long ago that was."""
    workers: int
    stopping: bool
    draining: bool
    """Whether it takes no new calls, and stops when those that it has are over."""
    drain_seconds_left: float | None
    """Seconds until the calls that are left are ended; null without a deadline, or where nothing is drained."""
    calls: dict[str, int]
    """Calls by state."""
    calls_total: int
    up_total: int
    """Calls that came up since the start."""
    refused_total: int
    """Connections and calls that were refused."""
    ended_total: dict[str, int]
    """Calls that ended since the start, by cause."""
    internal_errors_total: int
    """Bugs that ended one call or one connection each; their tracebacks are in the log."""
    rate_in: float
    """Octets per second from all clients, between the last two times that somebody asked."""
    rate_out: float
    """The same to all clients."""


async def show_stats(asked: Asked, query: Nothing) -> ServerStats:
    """What the server counts over all calls."""
    server, stats, rates = asked.server, asked.server.stats, asked.manager.rates
    calls = server.calls()
    await rates.look(calls)
    states = Counter(dict.fromkeys(CallState, 0))
    rate_in = rate_out = 0.0
    for number, call in enumerate(calls):
        if number % SLICE == SLICE - 1:
            await trio.lowlevel.checkpoint()
        states[state_of(call)] += 1
        from_client, to_client = rates.of(call.info.session_id)
        rate_in, rate_out = rate_in + from_client, rate_out + to_client
    return ServerStats(
        version=__version__,
        started=stats.started,
        seconds=round((datetime.now(UTC) - stats.started).total_seconds(), 3),
        workers=server.config.server.worker_count,
        stopping=server.stopping,
        draining=server.drain_state.active,
        drain_seconds_left=server.drain_state.seconds_left,
        calls={state.value: count for state, count in states.items()},
        calls_total=len(calls),
        up_total=stats.up,
        refused_total=stats.refused,
        ended_total={cause.label: count for cause, count in stats.ended.items()},
        internal_errors_total=stats.internal_errors,
        rate_in=round(rate_in, 1),
        rate_out=round(rate_out, 1),
    )
