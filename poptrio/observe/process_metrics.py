"""``process_*`` metrics under the names that all Prometheus clients use.

Not the library's collector: that one lists ``/proc/self/fd``, which takes 30 ms with 10,000 calls.
"""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

_PAGE = resource.getpagesize()
_TICKS = os.sysconf("SC_CLK_TCK")

# Of /proc/PID/stat (proc(5)), counted after the name of the program.
_USER_TICKS, _SYSTEM_TICKS, _START_TICKS, _VIRTUAL_BYTES, _RESIDENT_PAGES = 11, 12, 19, 20, 21


class ProcessMetrics(Collector):
    """This process: CPU, memory, start, descriptors."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        # Not from /proc/stat, which is not there for a service that sees processes only (ProcSubset=pid).
        self._booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """As they are now."""
        stat = (self._proc / "self/stat").read_bytes().rpartition(b")")[2].split()
        cpu = (int(stat[_USER_TICKS]) + int(stat[_SYSTEM_TICKS])) / _TICKS
        started = self._booted + int(stat[_START_TICKS]) / _TICKS
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield CounterMetricFamily("process_cpu_seconds", "User and system CPU time.", value=cpu)
        yield _gauge("process_virtual_memory_bytes", "Virtual memory.", int(stat[_VIRTUAL_BYTES]))
        yield _gauge("process_resident_memory_bytes", "Resident memory.", int(stat[_RESIDENT_PAGES]) * _PAGE)
        yield _gauge("process_start_time_seconds", "When the process was started, in Unix seconds.", started)
        yield _gauge("process_max_fds", "How many descriptors may be open.", most)
        if descriptors := (self._proc / "self/fd").stat().st_size:  # from Linux 6.2 on the kernel counts them
            yield _gauge("process_open_fds", "How many descriptors are open.", descriptors)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)
