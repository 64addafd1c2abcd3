"""What the plugin tells operators: its metrics and its health, from what the pools of connections count."""

from collections.abc import Iterator, Mapping

from poptrio.api import Health, Histogram, Measurement, Metric
from poptrio_ldap.pool import Purpose, ServerState
from poptrio_ldap.threads import ThreadedDirectory

SECONDS = Metric("operation_seconds", "histogram", "How long do searches and binds take?", ("directory", "operation"))
UNANSWERED = Metric("unanswered", "counter", "How many questions did no server answer?", ("directory",))
UP = Metric("server_up", "gauge", "Does a server answer (1), or has it failed lately (0)?", ("directory", "server"))
FAILURES = Metric("server_failures", "counter", "How often did a server fail?", ("directory", "server"))
IDLE = Metric("connections_idle", "gauge", "How many connections wait for the next question?", ("directory", "server"))
BUSY = Metric("threads_busy", "gauge", "How many questions are asked just now?", ("directory",))
LIMITED = Metric("questions_waiting", "gauge", "How many wait, because as many as may be are asked?", ("directory",))

METRICS = (SECONDS, UNANSWERED, UP, FAILURES, IDLE, BUSY, LIMITED)

DEFAULT = "default"
"""What the directory for everybody is called; others are called as their domain."""


def measurements(directories: Mapping[str, ThreadedDirectory]) -> Iterator[Measurement]:
    """All that is counted, of each of ``directories``."""
    for name, directory in directories.items():
        for purpose in Purpose:
            yield SECONDS.at(_copy(directory.pool.seconds[purpose]), name, purpose.value)
        yield UNANSWERED.at(directory.pool.unanswered, name)
        yield BUSY.at(directory.busy, name)
        yield LIMITED.at(directory.waiting, name)
        for server in _servers(directory):
            yield UP.at(not server.dead, name, server.url)
            yield FAILURES.at(server.failures, name, server.url)
            yield IDLE.at(server.idle, name, server.url)


def health(directories: Mapping[str, ThreadedDirectory]) -> Health:
    """Well while each directory has a server that has not failed lately."""
    details: dict[str, str | int | float | bool | None] = {}
    without = []
    for name, directory in directories.items():
        servers = _servers(directory)
        details |= {f"{name} {server.url}": "failed lately" if server.dead else "well" for server in servers}
        if all(server.dead for server in servers):
            without.append(name)
    if without:
        remedy = "see whether its servers run and can be reached, and whether the service account may bind"
        return Health(ok=False, sentence=f"no server answers for {', '.join(without)}", remedy=remedy, details=details)
    return Health(ok=True, sentence="every directory has a server", details=details)


def _servers(directory: ThreadedDirectory) -> list[ServerState]:
    """A server that is named twice is told once."""
    return list({server.url: server for server in directory.pool.servers()}.values())


def _copy(histogram: Histogram) -> Histogram:
    """As it is now: threads go on counting."""
    copy = Histogram(histogram.bounds)
    copy.add(histogram)
    return copy
