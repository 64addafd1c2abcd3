"""``/metrics``: reads what server and plugins have counted, when somebody asks for it."""

import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version

import trio

from poptrio.errors import CauseOfEnd
from poptrio.management.endpoint import Asked, Nothing, Text
from poptrio.measurements import Measurement
from poptrio.observe import metrics as m
from poptrio.server.call_events import CallState, state_of
from poptrio.server.operated import Operated
from poptrio.server.refusals import LABELS
from poptrio.server.slices import SLICE

DROP_REASONS = ("clear_text", "foreign_source", "no_network", "undecryptable", "too_big", "malformed", "send_failed")
"""The `PathCounters` of packets that were dropped."""

STRAY_REASONS = ("no_such_call", "wrong_source", "malformed", "no_such_address", "receive_failed")
"""The `DataPathCounters`."""


async def metrics(asked: Asked, query: Nothing) -> Text:
    """All metrics of server and plugins, as text for Prometheus: OpenMetrics where the Accept header prefers it."""
    return Text(*await exposition(asked.server, asked.manager.exposer, asked.accept))


async def exposition(server: Operated, exposer: m.Exposer, accept: str = "") -> tuple[str, bytes]:
    """The media type and the text. All calls are walked through in slices, and nothing waits for anybody outside."""
    states = await _states(server)
    packets = await server.packets()
    await trio.lowlevel.checkpoint()
    own = [*_calls(server, states), *_plugins(server), *_packets(server, packets), *_process(server)]
    return exposer.text(own, dict(server.authority.hooks.reports.measurements()), accept)


async def _states(server: Operated) -> Counter[CallState]:
    states = Counter(dict.fromkeys(CallState, 0))
    for number, call in enumerate(server.calls()):
        if number % SLICE == SLICE - 1:
            await trio.lowlevel.checkpoint()
        states[state_of(call)] += 1
    return states


def _calls(server: Operated, states: Counter[CallState]) -> Iterator[Measurement]:
    authority, stats = server.authority, server.stats
    yield from (m.CALLS.at(count, state.value) for state, count in states.items())
    yield m.CONNECTIONS.at(server.connection_count)
    yield m.SESSIONS.at(authority.sessions.count)
    yield m.CALLS_MAX.at(server.config.server.max_calls)
    yield m.SETUPS.at(stats.up, "up")
    yield m.SETUPS.at(stats.failed, "failed")
    yield m.SETUP_SECONDS.at(authority.setup_times.whole)
    yield from (m.STEP_SECONDS.at(seconds, step) for step, seconds in authority.setup_times.steps.items())
    # Those that have not happened too: Prometheus sees no increase in a counter that was not there before.
    yield from (m.ENDED.at(stats.ended[cause], cause.label) for cause in CauseOfEnd)
    yield from (m.REFUSED.at(stats.refusals[label], label) for label in LABELS)


def _plugins(server: Operated) -> Iterator[Measurement]:
    hooks, throttle = server.authority.hooks, server.authority.throttle
    for plugin in hooks.table():
        name, tally = plugin.name, hooks.tallies[plugin.name]
        for (hook, label), count in tally.answers.items():
            yield m.PLUGIN_ANSWERS.at(count, name, hook.removeprefix(m.PREFIX), label)
        for hook, seconds in tally.seconds.items():
            yield m.PLUGIN_SECONDS.at(seconds, name, hook.removeprefix(m.PREFIX))
        yield m.PLUGIN_HEALTHY.at(hooks.reports.health_of(name).ok, name)
        yield m.PLUGIN_SUCCESS.at(tally.last_success, name)
        yield m.PLUGIN_FAILURE.at(tally.last_failure, name)
    for plugin_name, pool in hooks.reports.pools():
        yield m.POOL_SIZE.at(pool.size, plugin_name, pool.name)
        yield m.POOL_HELD.at(pool.held, plugin_name, pool.name)
        yield m.POOL_FREE.at(pool.free, plugin_name, pool.name)
    for (name, hook), count in hooks.reports.failures.items():
        yield m.PLUGIN_REPORT_FAILURES.at(count, name, hook.removeprefix(m.PREFIX))
    yield m.WAITING.at(throttle.waiting)
    yield m.THROTTLED.at(throttle.too_many)


def _packets(server: Operated, packets: Counter[str]) -> Iterator[Measurement]:
    yield m.GRE.at(packets["gre_received"], "received")
    yield m.GRE.at(packets["gre_sent"], "sent")
    yield m.GRE_ACKNOWLEDGED.at(packets["acknowledged"])
    yield m.GRE_LOST.at(packets["lost"])
    yield m.GRE_LATE.at(packets["late"])
    yield m.GRE_DUPLICATE.at(packets["duplicate"])
    yield m.GRE_REORDERED.at(packets["reordered"])
    for direction in ("in", "out"):
        yield m.IP_BYTES.at(packets[f"bytes_{direction}"], direction)
        yield m.IP_PACKETS.at(packets[f"packets_{direction}"], direction)
    yield from (m.DROPPED.at(packets[reason], reason.replace("_", "-")) for reason in DROP_REASONS)
    strays = server.strays()
    yield from (m.STRAYS.at(getattr(strays, reason), reason.replace("_", "-")) for reason in STRAY_REASONS)


def _process(server: Operated) -> Iterator[Measurement]:
    stats, config = server.stats, server.config
    yield m.INTERNAL_ERRORS.at(stats.internal_errors)
    yield from (m.LEFT_OUT.at(count, event) for event, count in stats.left_out.items())
    for process, lag in server.lags().items():
        yield m.LAG.at(lag.histogram, process)
        yield m.LONGEST_LAG.at(lag.longest, process)
    workers = config.server.worker_count if config.server.worker_count > 1 else 0
    yield m.WORKERS.at(workers)
    yield m.WORKERS_RUNNING.at(server.workers_running)
    yield from (m.WORKER_RESTARTS.at(stats.worker_restarts[number], str(number)) for number in range(workers))
    yield m.BUILD.at(1, version("poptrio"), platform.python_version(), config.server.datapath)
    yield m.STARTED.at(stats.started.timestamp())
    yield m.STOPPING.at(server.stopping)
    yield from (m.RELOADS.at(stats.reloads[good], "good" if good else "bad") for good in (True, False))
    yield m.RELOADED_AT.at(stats.reloaded_at)
