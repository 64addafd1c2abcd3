"""What plugins tell about themselves: measurements, health, pools. One that fails at it costs its own report only."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar, get_args

import structlog

from poptrio.measurements import Health, Histogram, Measurement, Metric, MetricKind, PoolState
from poptrio.server.plugin_tallies import PluginTally
from poptrio.server.plugins import Plugin, pass_on

MEASUREMENTS, HEALTH, POOLS = "poptrio_measurements", "poptrio_health", "poptrio_pools"

MOST_MEASUREMENTS = 2000
"""Of one plugin: more, and one of its labels has no small set of values."""

MOST_POOLS = 2000
"""Of one plugin."""

_UNKNOWN: Health | None = Health(
    ok=False, sentence="it cannot say how it is: its health hook failed", remedy="see the log"
)

ResultT = TypeVar("ResultT")

log = structlog.get_logger("poptrio.server.hooks")


class PluginReports:
    """The reports of ``plugins``; ``tallies`` is what the host has seen of them itself.

    ``failures`` counts reports that could not be had, by plugin and hook.
    """

    def __init__(self, plugins: Mapping[str, Plugin], tallies: Mapping[str, PluginTally]) -> None:
        self.failures: Counter[tuple[str, str]] = Counter()
        self._plugins = plugins
        self._tallies = tallies
        self._failing: set[tuple[str, str]] = set()

    def measurements(self) -> Iterator[tuple[str, list[Measurement]]]:
        """What each plugin that measures anything tells, with its name."""
        for plugin in self._with(MEASUREMENTS):
            yield plugin.name, self._ask(plugin, MEASUREMENTS, _measurements, [])

    def health_of(self, name: str) -> Health:
        """What a plugin says about itself; of one that says nothing, what its last answers say."""
        plugin, tally = self._plugins[name], self._tallies[name]
        if HEALTH in plugin.hooks and (told := self._ask(plugin, HEALTH, _health, _UNKNOWN)) is not None:
            return told
        if tally.is_failing:
            remedy = "see its lines in the log, and whether what it asks can be reached"
            return Health(ok=False, sentence=tally.last_error, remedy=remedy)
        return Health(ok=True, sentence="its last answer was good" if tally.last_success else "it was not asked yet")

    def pools(self) -> list[tuple[str, PoolState]]:
        """All pools of addresses, each with the name of its plugin."""
        found: list[tuple[str, PoolState]] = []
        for plugin in self._with(POOLS):
            none: list[PoolState] = []
            found += [(plugin.name, pool) for pool in self._ask(plugin, POOLS, _pools, none)]
        return found

    def _with(self, hook: str) -> Iterator[Plugin]:
        return (plugin for plugin in self._plugins.values() if hook in plugin.hooks)

    def _ask(self, plugin: Plugin, hook: str, checked: Callable[[Any], ResultT], otherwise: ResultT) -> ResultT:
        """What the plugin says, or ``otherwise`` where it fails; the first failure in a row is logged."""
        key = plugin.name, hook
        try:
            result = checked(plugin.call(hook, {}))
        except BaseException as error:
            pass_on(error)
            self.failures[key] += 1
            if key not in self._failing:
                self._failing.add(key)
                log.exception("plugin failed", plugin=plugin.name, hook=hook)
            return otherwise
        self._failing.discard(key)
        return result


def _measurements(told: Iterable[Measurement] | None) -> list[Measurement]:
    """Raises TypeError or ValueError for what cannot be shown."""
    metrics: dict[str, Metric] = {}
    seen: dict[tuple[str, tuple[str, ...]], Measurement] = {}
    for measurement in told or ():
        if not isinstance(measurement, Measurement):
            raise TypeError(f"a {type(measurement).__name__} is no Measurement")
        metric = measurement.metric
        if metrics.setdefault(metric.name, metric) != metric:
            raise ValueError(f"there are two different metrics {metric.name}")
        key = metric.name, measurement.labels
        if key in seen:
            raise ValueError(f"{metric.name} is told twice for {measurement.labels}")
        seen[key] = measurement
        if len(seen) > MOST_MEASUREMENTS:
            raise ValueError(f"more than {MOST_MEASUREMENTS} measurements: a label has too many values")
        _check_value(measurement)
    return list(seen.values())


def _check_value(measurement: Measurement) -> None:
    """Raises TypeError or ValueError, or whatever a wrong value raises when it is used as a right one."""
    metric, value = measurement.metric, measurement.value
    if metric.kind not in get_args(MetricKind):
        raise ValueError(f"{metric.name} is a {metric.kind!r}, which is no kind of metric")
    _check_texts(metric.help, *measurement.labels)
    if isinstance(value, Histogram):
        value.cumulative()
        float(value.sum)
    else:
        float(value)


def _check_texts(*values: object) -> None:
    """Raises TypeError or ValueError for what cannot be sent as text."""
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"a {type(value).__name__} is no text")
        value.encode()


def _health(told: Health | None) -> Health | None:
    """Raises TypeError or ValueError for what cannot be shown."""
    if told is None:
        return None
    if not isinstance(told, Health):
        raise TypeError(f"a {type(told).__name__} is no Health")
    if not isinstance(told.ok, bool):
        raise TypeError(f"ok is a {type(told.ok).__name__}")
    _check_texts(told.sentence, told.remedy)
    for name, value in told.details.items():
        _check_texts(name)
        if isinstance(value, str):
            _check_texts(value)
        elif not isinstance(value, int | float | None):
            raise TypeError(f"the detail {name} is a {type(value).__name__}")
    return told


def _pools(told: Iterable[PoolState] | None) -> list[PoolState]:
    """Raises TypeError or ValueError for what cannot be shown."""
    pools = list(islice(told or (), MOST_POOLS + 1))
    if len(pools) > MOST_POOLS:
        raise ValueError(f"more than {MOST_POOLS} pools")
    for pool in pools:
        if not isinstance(pool, PoolState):
            raise TypeError(f"a {type(pool).__name__} is no PoolState")
        _check_texts(pool.name)
        if not (isinstance(pool.size, int) and isinstance(pool.held, int)):
            raise TypeError(f"size or held of the pool {pool.name} is no whole number")
    if len({pool.name for pool in pools}) < len(pools):
        raise ValueError("two pools have the same name")
    return pools
