"""The server's own metrics: a table of what is measured, and how measurements become text for Prometheus.

`poptrio.management.metrics` fills the table when somebody asks; nothing is counted here.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from poptrio.measurements import Histogram, Measurement, Metric
from poptrio.observe.process_metrics import ProcessMetrics

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

PREFIX = "poptrio_"

# Calls.
CALLS = Metric("calls", "gauge", "How many calls are there, and how far have they come?", ("state",))
CONNECTIONS = Metric("control_connections", "gauge", "How many control connections (TCP) are there?")
SESSIONS = Metric("sessions", "gauge", "How many calls have an address, as plugins see them?")
CALLS_MAX = Metric("calls_max", "gauge", "How many calls may there be ([server] max_calls)?")
SETUPS = Metric("call_setups", "counter", "How many calls came up, and how many ended before?", ("result",))
SETUP_SECONDS = Metric("call_setup_seconds", "histogram", "How long do calls take from the request to the address?")
STEP_SECONDS = Metric(
    "call_step_seconds", "histogram", "Which step of a set-up is slow, counted from the step before?", ("step",)
)
ENDED = Metric("calls_ended", "counter", "Why do calls end? The causes are those of causes.md.", ("cause",))
REFUSED = Metric("refused", "counter", "Which limit or plugin refuses connections and calls unasked?", ("reason",))
# Plugins.
PLUGIN_ANSWERS = Metric(
    "plugin_answers", "counter", "What do plugins answer, and do they fail?", ("plugin", "hook", "result")
)
PLUGIN_SECONDS = Metric(
    "plugin_answer_seconds", "histogram", "How long does a plugin take for an answer?", ("plugin", "hook")
)
PLUGIN_HEALTHY = Metric("plugin_healthy", "gauge", "Can the plugin do its work (1) or not (0)?", ("plugin",))
PLUGIN_SUCCESS = Metric(
    "plugin_last_success_timestamp_seconds", "gauge", "When did the plugin last answer? 0 is never.", ("plugin",)
)
PLUGIN_FAILURE = Metric(
    "plugin_last_failure_timestamp_seconds", "gauge", "When did it last fail to answer? 0 is never.", ("plugin",)
)
PLUGIN_REPORT_FAILURES = Metric(
    "plugin_report_failures", "counter", "Which plugin fails to tell its metrics, health or pools?", ("plugin", "hook")
)
WAITING = Metric("authentication_waiting", "gauge", "How many log-ins wait because others have failed before?")
THROTTLED = Metric("authentication_throttled", "counter", "How many log-ins were refused because too many waited?")
POOL_SIZE = Metric("pool_addresses", "gauge", "How many addresses has a pool?", ("plugin", "pool"))
POOL_HELD = Metric("pool_addresses_held", "gauge", "How many of them are held by calls?", ("plugin", "pool"))
POOL_FREE = Metric("pool_addresses_free", "gauge", "How many of them are free?", ("plugin", "pool"))
# Packets.
GRE = Metric("gre_packets", "counter", "How many GRE packets of calls were received and sent?", ("direction",))
GRE_ACKNOWLEDGED = Metric("gre_acknowledged_packets", "counter", "How many of ours do clients say have arrived?")
GRE_LOST = Metric("gre_lost_packets", "counter", "How many GRE packets of clients were given up as lost?")
GRE_LATE = Metric("gre_late_packets", "counter", "How many of those came after all, too late?")
GRE_DUPLICATE = Metric("gre_duplicate_packets", "counter", "How many came twice?")
GRE_REORDERED = Metric("gre_reordered_packets", "counter", "How many came out of order, but in time?")
IP_BYTES = Metric("ip_bytes", "counter", "How many octets of IP packets passed, from and to clients?", ("direction",))
IP_PACKETS = Metric("ip_packets", "counter", "How many IP packets passed?", ("direction",))
DROPPED = Metric("dropped_packets", "counter", "Why are packets of calls dropped?", ("reason",))
STRAYS = Metric("stray_packets", "counter", "Which packets belong to no call?", ("reason",))
# The server itself.
INTERNAL_ERRORS = Metric("internal_errors", "counter", "How many bugs ended a connection or a request?")
LEFT_OUT = Metric("log_lines_left_out", "counter", "Which log lines were too many to be written?", ("event",))
LAG = Metric("event_loop_lag_seconds", "histogram", "How late is the event loop, 4 times a second?", ("process",))
LONGEST_LAG = Metric(
    "event_loop_longest_lag_seconds",
    "gauge",
    "How late was it at worst in the last minute?",
    ("process",),
)
WORKERS = Metric("workers", "gauge", "How many worker processes should there be ([server] workers)? 0: no workers.")
WORKERS_RUNNING = Metric("workers_running", "gauge", "How many worker processes are there?")
WORKER_RESTARTS = Metric("worker_restarts", "counter", "How often was a worker replaced that had died?", ("worker",))
BUILD = Metric("build_info", "gauge", "Which version runs? Always 1.", ("version", "python", "datapath"))
STARTED = Metric("start_time_seconds", "gauge", "When was the server started, in Unix seconds?")
STOPPING = Metric("stopping", "gauge", "Was the server told to stop (1) or not (0)?")
RELOADS = Metric("config_reloads", "counter", "How often was the configuration read again?", ("result",))
RELOADED_AT = Metric("config_last_reload_timestamp_seconds", "gauge", "When was it last read and good? 0 is never.")

METRICS: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))
"""All of the above."""


def full_name(metric: Metric, plugin: str = "") -> str:
    """The name of ``metric`` as Prometheus shows it, without the ``_bucket`` and so on of a histogram."""
    return family_name(metric, plugin) + ("_total" if metric.kind == "counter" else "")


def family_name(metric: Metric, plugin: str = "") -> str:
    """The name of ``metric`` of the plugin with this name, or of the server."""
    of_plugin = "".join(c if c.isalnum() and c.isascii() else "_" for c in plugin.lower()) + "_" if plugin else ""
    return PREFIX + of_plugin + metric.name


class Exposer(Collector):
    """Makes text of measurements, with a registry of its own: nothing is shared with other servers of the process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._families: list[Family] = []
        self._registry.register(ProcessMetrics())
        GCCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterator[Family]:
        """What `text` is about to show."""
        yield from self._families

    def text(
        self, own: Iterable[Measurement], of_plugins: Mapping[str, Iterable[Measurement]], accept: str
    ) -> tuple[str, bytes]:
        """The server's ``own`` measurements and those of plugins, as text of the type that ``accept`` prefers."""
        families = {family_name(metric): _family(metric, family_name(metric)) for metric in METRICS}
        self._add(families, own, "")
        for plugin, measurements in of_plugins.items():
            self._add(families, measurements, plugin)
        self._families = list(families.values())
        try:
            encode, media_type = _encoder(accept)
            return media_type, encode(self._registry)
        finally:
            self._families = []

    @staticmethod
    def _add(families: dict[str, Family], measurements: Iterable[Measurement], plugin: str) -> None:
        taken = set(families) if plugin else set()
        for measurement in measurements:
            name = family_name(measurement.metric, plugin)
            if name in taken:
                continue  # of the server, or of a plugin that comes before this one
            family = families.get(name)
            if family is None:
                family = families[name] = _family(measurement.metric, name)
            _put(family, measurement)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """What makes text of the type that ``accept`` prefers, and that type; plain text where it makes no sense."""
    try:
        return choose_encoder(accept)
    except (ValueError, TypeError):  # a version that is no number
        return choose_encoder("")


def _put(family: Family, measurement: Measurement) -> None:
    value = measurement.value
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(value, Histogram)
        buckets = [("+Inf" if bound == math.inf else str(bound), count) for bound, count in value.cumulative()]
        family.add_metric(measurement.labels, buckets, value.sum)
    else:
        assert not isinstance(value, Histogram)
        family.add_metric(measurement.labels, float(value))


def _family(metric: Metric, name: str) -> Family:
    match metric.kind:
        case "counter":
            return CounterMetricFamily(name, metric.help, labels=metric.labels)
        case "gauge":
            return GaugeMetricFamily(name, metric.help, labels=metric.labels)
        case "histogram":
            return HistogramMetricFamily(name, metric.help, labels=metric.labels)
