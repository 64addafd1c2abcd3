"""One worker against two: set-ups per second, and pings through the tunnels, with the clients on the same cores.

python benchmarks/workers.py [--json]       root; a server and `poptrio load` in two namespaces
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from stage import CONFIG, Stage, cpu_of, print_rows, result_of

CALLS = 1_000
PINGS = 4_000
SECONDS = 5
WORKERS = (1, 2)


@dataclass(frozen=True, slots=True)
class WorkersRow:
    """So many workers. Fractions, seconds, and counts per second; ``cpu`` is that of all processes of the server."""

    workers: int
    failed: int
    set_ups_per_second: float
    cpu: float
    pings_per_second: float
    lost: float


def measure(place: Stage, workers: int) -> WorkersRow:
    """A server with so many workers, and one load."""
    config = CONFIG.replace("[server]", f"[server]\nworkers = {workers}", 1)
    with place.server(config, watched=False) as server:
        found = result_of(place.load(CALLS, "--packets", str(PINGS), "--seconds", str(SECONDS), "--size", "1396"))
        cpu = sum(cpu_of(pid) for pid in _processes(server.process.pid))
    set_ups, pings = found["set_ups"], found["packets"]
    return WorkersRow(
        workers=workers,
        failed=CALLS - set_ups["up"],
        set_ups_per_second=set_ups["per_second"],
        cpu=cpu,
        pings_per_second=pings["received"] / pings["seconds"],
        lost=1 - pings["received"] / pings["sent"],
    )


def _processes(parent: int) -> Iterator[int]:
    """``parent`` and all below it."""
    yield parent
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split():
        yield from _processes(int(child))


def measure_all(place: Stage) -> list[WorkersRow]:
    """One, and two."""
    return [measure(place, workers) for workers in WORKERS]


def shown(row: WorkersRow) -> str:
    """A line of text."""
    return "  ".join(f"{name}={value:.4g}" for name, value in asdict(row).items())


if __name__ == "__main__":
    print_rows(__doc__, measure_all, shown)
