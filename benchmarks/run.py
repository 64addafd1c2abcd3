"""How fast poptrio is and how much it carries on this machine: `make bench`.

    python benchmarks/run.py [--json FILE] [--markdown FILE] [--quick]        root; needs gcc, libssl-dev and iperf3

Everything runs in network namespaces of its own, for some minutes, and nothing is asserted: figures are ratios within
one run, or counts, beside what the project wants to reach. ``--quick`` leaves 5,000 and 10,000 calls out.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import calls
import flood
import packets
import tunnel
import workers
from rich.console import Console
from rich.table import Table
from stage import stage

NUMBERS = (1_000, 5_000, 10_000)
QUICK = (1_000,)
TABLE_WIDTH = 120

progress = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of what is to be reached; smaller is better. ``shown`` formats a value."""

    what: str
    measured: float
    at_least: float
    aim: float
    shown: Callable[[float], str]

    @property
    def verdict(self) -> str:
        """How the measured value stands."""
        if self.measured <= self.aim:
            return "aim reached"
        return "reached" if self.measured <= self.at_least else "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that was measured."""

    interpreter: str
    machine: str
    packets: list[packets.PacketRow]
    many: list[packets.CallsRow]
    tunnel: list[tunnel.TunnelRow]
    calls: list[calls.CallsResult]
    flood: list[flood.FloodRow]
    workers: list[workers.WorkersRow]

    def figures(self) -> Iterator[Figure]:
        """The lines of the issue's table, as far as this run has them."""
        for mode, at_least, aim, name in (("none", 1.8, 1.5, "no MPPE"), ("stateless", 2.2, 1.7, "stateless MPPE-128")):
            for direction in packets.DIRECTIONS:
                (row,) = self._packets(direction, mode, 1400)
                yield Figure(f"{direction}, {name}, CPU against the C loop", row.ratio, at_least, aim, _times)
        small, large = (sum(row.python for row in self._packets(None, "none", size)) for size in (100, 1400))
        yield Figure("small packets against large ones, no MPPE", small / large, 1.1, 1.0, _times)
        largest = self.calls[-1]
        share = largest.idle_share
        yield Figure("set-up of a call, CPU on the server", self.calls[0].set_up_cpu, 0.002, 0.0008, _milliseconds)
        yield Figure(f"memory of an idle call, of {largest.calls}", largest.memory, 24 * 1024, 12 * 1024, _kib)
        yield Figure(f"{largest.calls} idle calls, CPU of one core", share, 0.05, 0.015, _percent)
        pause = max(largest.pause, largest.pause_set_up)
        yield Figure(f"longest pause of the event loop, {largest.calls} calls", pause, 0.1, 0.03, _milliseconds)
        watched = f"the same while operators look at them, against {_milliseconds(pause)} without"
        yield Figure(watched, largest.pause_watched, pause, pause, _milliseconds)
        yield Figure(f"a new call while {largest.calls} vanish", largest.latecomer, 2.0, 0.5, _milliseconds)
        cost = max(row.ratio for row in self.many)
        yield Figure(f"cost per packet, {packets.CALLS[1]} calls against {packets.CALLS[0]}", cost, 1.2, 1.05, _times)

    def _packets(self, direction: str | None, mode: str, octets: int) -> list[packets.PacketRow]:
        return [
            row
            for row in self.packets
            if direction in (None, row.direction) and (row.mppe, row.octets) == (mode, octets)
        ]


def _times(value: float) -> str:
    return f"{value:.2f} x"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.2f} ms" if value < 0.1 else f"{value * 1000:.0f} ms"


def _kib(value: float) -> str:
    return f"{value / 1024:.1f} KiB"


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %"


def measure(quick: bool) -> Results:
    """All parts, one after the other."""
    with _step("packets, beside a loop in C"):
        packet_rows = list(packets.measure_packets())
    with _step("packets of many calls"):
        many = list(packets.measure_calls())
    with stage() as place:
        with _step("TCP through a tunnel"):
            tunnel_rows = tunnel.measure_all(place)
        results = []
        for number in QUICK if quick else NUMBERS:
            with _step(f"{number} calls"):
                results.append(calls.measure(place, number))
        with _step("floods"):
            flood_rows = flood.measure_all(place)
        with _step("one worker and two"):
            workers_rows = workers.measure_all(place)
    return Results(
        interpreter=f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        machine=f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        packets=packet_rows,
        many=many,
        tunnel=tunnel_rows,
        calls=results,
        flood=flood_rows,
        workers=workers_rows,
    )


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Say what is being measured, and how long it took."""
    begun = time.monotonic()
    with progress.status(what):
        yield
    progress.print(f"✓ {what} ({time.monotonic() - begun:.0f} s)")


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: its title, its columns, and its rows."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def sheets(results: Results) -> Iterator[Sheet]:
    """All tables, what was wanted first."""
    yield Sheet(
        "Measured and wanted",
        ("what", "measured", "at least", "aim", ""),
        [
            (
                figure.what,
                figure.shown(figure.measured),
                figure.shown(figure.at_least),
                figure.shown(figure.aim),
                figure.verdict,
            )
            for figure in results.figures()
        ],
    )
    yield Sheet(
        "CPU per packet",
        ("direction, MPPE, octets", "poptrio", "packets/s", "C loop", "ratio"),
        [
            (
                f"{row.direction}, {row.mppe}, {row.octets}",
                f"{row.python / 1000:.2f} µs",
                f"{1e9 / row.python:,.0f}",
                f"{row.c / 1000:.2f} µs",
                _times(row.ratio),
            )
            for row in results.packets
        ],
    )
    yield Sheet(
        "TCP through one tunnel, client and server on the same cores",
        ("MPPE, direction", "Mbit/s", "server's share of a core"),
        [
            (f"{row.mppe}, {row.direction}", f"{row.bits_per_second / 1e6:.0f}", f"{row.server_share:.0%}")
            for row in results.tunnel
        ],
    )
    yield Sheet(
        "Calls",
        (
            "calls",
            "failed",
            "set-ups/s",
            "CPU each",
            "memory each",
            "idle",
            "pause",
            "watched",
            "slowest answer",
            "all gone",
            "new call",
        ),
        [
            (
                f"{row.calls:,}",
                str(row.failed),
                f"{row.per_second:.0f}",
                _milliseconds(row.set_up_cpu),
                _kib(row.memory),
                _percent(row.idle_share),
                _milliseconds(max(row.pause, row.pause_set_up)),
                _milliseconds(row.pause_watched),
                _milliseconds(row.slowest_answer),
                f"{row.gone:.1f} s",
                _milliseconds(row.latecomer),
            )
            for row in results.calls
        ],
    )
    yield Sheet(
        f"{flood.CALLS} calls with {flood.PINGS} pings per second, and {flood.PACKETS:,} packets of nobody",
        ("packets", "counted", "CPU each", "pings lost", "p50", "p99"),
        [
            (
                row.flood,
                f"{row.counted:,}",
                f"{row.cpu * 1e6:.1f} µs" if row.sent else "-",
                f"{row.lost:.1%}",
                _milliseconds(row.p50),
                _milliseconds(row.p99),
            )
            for row in results.flood
        ],
    )
    yield Sheet(
        f"{workers.CALLS:,} calls and {workers.PINGS:,} pings per second of 1396 octets, clients on the same cores",
        ("workers", "failed", "set-ups/s", "server's CPU", "pings/s", "lost"),
        [
            (
                str(row.workers),
                str(row.failed),
                f"{row.set_ups_per_second:.0f}",
                f"{row.cpu:.1f} s",
                f"{row.pings_per_second:,.0f}",
                f"{row.lost:.1%}",
            )
            for row in results.workers
        ],
    )


def print_results(results: Results, console: Console) -> None:
    """The tables, for a terminal."""
    console.print(f"{results.interpreter}, {results.machine}")
    for sheet in sheets(results):
        table = Table(title=sheet.title, title_justify="left")
        for number, column in enumerate(sheet.columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


def as_markdown(results: Results) -> str:
    """The tables, for a page."""
    lines = [f"{results.interpreter.partition(' (')[0]}, {results.machine}.", ""]
    for sheet in sheets(results):
        lines += [f"**{sheet.title}**", "", f"| {' | '.join(sheet.columns)} |", "|---" * len(sheet.columns) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in sheet.rows]
        lines.append("")
    return "\n".join(lines)


def as_json(results: Results) -> dict[str, Any]:
    """Every number."""
    figures = [
        {"what": f.what, "measured": f.measured, "at_least": f.at_least, "aim": f.aim, "verdict": f.verdict}
        for f in results.figures()
    ]
    return {**asdict(results), "figures": figures}


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    parser.add_argument("--quick", action="store_true", help="1,000 calls at most")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        progress.print("make bench needs root: it makes network namespaces, TUNs and raw sockets")
        return 2
    results = measure(arguments.quick)
    terminal = sys.stdout.isatty()
    print_results(results, Console(highlight=False, width=None if terminal else TABLE_WIDTH))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(as_json(results), indent=2) + "\n", "utf-8")
    if arguments.markdown is not None:
        arguments.markdown.write_text(as_markdown(results), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
