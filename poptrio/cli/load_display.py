"""What ``poptrio load`` shows: a bar while it runs, a table when it is done."""

from collections.abc import Iterator

import trio
from rich.console import Console
from rich.markup import escape as plain
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from poptrio.client.load import Load
from poptrio.client.load_report import Distribution, Failures, LoadReport
from poptrio.observe.log import escape

BAR_INTERVAL = 0.25
"""Seconds between two looks at the run: the bar must not cost what is measured."""


class LoadBar:
    """A bar on standard error for each phase."""

    def __init__(self, run: Load) -> None:
        self._run = run

    async def run(self) -> None:
        """Show the bars until cancelled."""
        columns = (TextColumn("{task.description:<16}"), BarColumn(), TextColumn("{task.fields[text]}"))
        with Progress(
            *columns, TimeElapsedColumn(), console=Console(stderr=True), auto_refresh=False, transient=True
        ) as bars:
            bar, phase = bars.add_task("", total=None, text=""), ""
            while True:
                now = self._run.progress
                if now.phase != phase:
                    bars.reset(bar, description=now.phase, total=now.total, text="")
                    phase = now.phase
                text = f"{now.done:,.0f} of {now.total:,.0f}"
                bars.update(bar, completed=now.done, total=now.total, text=text)
                bars.refresh()
                await trio.sleep(BAR_INTERVAL)


def print_report(report: LoadReport, console: Console) -> None:
    """The table, a row for each number that matters; reasons may be longer than the terminal is wide."""
    rows = list(_rows(report))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(f"{name:<{width}}  {plain(escape(value))}", soft_wrap=True)


def _rows(report: LoadReport) -> Iterator[tuple[str, str]]:
    set_ups, held, packets, hang_ups = report.set_ups, report.held, report.packets, report.hang_ups
    yield "set up", f"{set_ups.up:,} of {report.calls:,} calls in {set_ups.seconds:.2f} s: {set_ups.per_second:,.1f}/s"
    yield "  duration", _milliseconds(set_ups.duration)
    yield "  CPU here", f"{_share(set_ups.cpu, set_ups.seconds)}, {set_ups.cpu_per_call * 1000:.2f} ms per call"
    for failures in report.failures:
        yield f"  failed: {failures.step}", _failures(failures)
    if held is not None:
        yield "held", f"{held.up:,} calls to the end of {held.seconds:.1f} s"
        yield "  CPU here", _share(held.cpu, held.seconds)
    if packets is not None:
        yield (
            "pings",
            f"{packets.sent:,} of {packets.size} octets in {packets.seconds:.1f} s: "
            f"{packets.sent_per_second:,.0f}/s out, {packets.received_per_second:,.0f}/s back",
        )
        lost = 100 * packets.lost / packets.sent if packets.sent else 0.0
        yield "  lost", f"{packets.lost:,} ({lost:.2f} %)"
        yield "  round trip", _milliseconds(packets.round_trip)
        per_packet = f"{packets.cpu_per_packet * 1e6:.1f} µs per packet"
        yield "  CPU here", f"{_share(packets.cpu, packets.seconds)}, {per_packet}"
    if report.lost is not None:
        yield "lost calls", _failures(report.lost)
    if hang_ups.calls:
        how = "vanished" if hang_ups.vanished else "hung up"
        yield how, f"{hang_ups.calls:,} calls in {hang_ups.seconds:.2f} s: {hang_ups.per_second:,.1f}/s"
        yield "  CPU here", _share(hang_ups.cpu, hang_ups.seconds)
    if report.interrupted:
        yield "interrupted", "these are the numbers up to then"


def _milliseconds(durations: Distribution) -> str:
    if durations.p50 is None or durations.p95 is None or durations.p99 is None or durations.longest is None:
        return "nothing was measured"
    named = {"p50": durations.p50, "p95": durations.p95, "p99": durations.p99, "longest": durations.longest}
    return ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in named.items())


def _share(cpu: float, seconds: float) -> str:
    return f"{cpu:.2f} s, {100 * cpu / seconds:.0f} % of one core" if seconds else f"{cpu:.2f} s"


def _failures(failures: Failures) -> str:
    most = "" if failures.with_this_reason == failures.count else f", {failures.with_this_reason:,} of them"
    return f"{failures.count:,}{most}: {failures.reason}"
