"""What many calls cost: set-up, memory, idling, pauses of the event loop, and the end of all of them at once.

python benchmarks/calls.py [--calls N]… [--json]        root; a server and `poptrio load` in two namespaces
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from stage import Server, Stage, result_of, stage

IDLE = 62.0
"""Seconds of idling that are measured: two LCP Echo-Requests for each call, and one on its control connection."""

WATCHED = IDLE
"""Seconds for which operators watch: in as many, as much happens by itself."""

SETTLE = 2.0
PATIENCE = 300.0
POLL = 0.2
LATECOMERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsResult:
    """So many calls at the same time. Seconds, octets, and fractions of one core.

    ``set_up_cpu`` is the server's for one call, ``memory`` its resident memory for one call that is up,
    ``idle_share`` of one core while all idle, ``pause`` the longest of the event loop while they idle,
    ``pause_set_up`` while they come, ``pause_watched`` while they idle and operators look at all of them (`operators`),
    ``slowest_answer`` the longest that one of those had to wait; ``gone`` until the last of the clients that vanished
    was accounted and released; ``latecomer`` the longest that a new call took to set up meanwhile.
    """

    calls: int
    failed: int
    per_second: float
    set_up_cpu: float
    client_cpu: float
    memory: int
    idle_share: float
    pause: float
    pause_set_up: float
    pause_watched: float
    slowest_answer: float
    gone: float
    latecomer: float


def measure(place: Stage, calls: int) -> CallsResult:
    """One server, one load, from the first call to the last."""
    with place.server() as server:
        cpu, resident = server.cpu(), server.resident()
        hold = IDLE + WATCHED + 3 * SETTLE
        load = place.load(calls, "--hold", str(hold), "--vanish", "--concurrency", "20")
        _until(server, lambda up: up >= calls or load.poll() is not None, calls)
        set_up_cpu, memory = (server.cpu() - cpu) / calls, (server.resident() - resident) // calls
        pause_set_up = server.longest_pause
        time.sleep(SETTLE)
        server.report()
        server.longest_pause = 0.0
        cpu, begun = server.cpu(), time.monotonic()
        time.sleep(IDLE)
        idle_share = (server.cpu() - cpu) / (time.monotonic() - begun)
        facts = server.report()
        pause = server.longest_pause
        pause_watched, slowest_answer = _watched(place, server)
        gone, latecomer = _vanish(place, server, calls)
        found = result_of(load)
        return CallsResult(
            calls=calls,
            failed=calls - facts["calls"],
            per_second=found["set_ups"]["per_second"],
            set_up_cpu=set_up_cpu,
            client_cpu=found["set_ups"]["cpu_per_call"],
            memory=memory,
            idle_share=idle_share,
            pause=pause,
            pause_set_up=pause_set_up,
            pause_watched=pause_watched,
            slowest_answer=slowest_answer,
            gone=gone,
            latecomer=latecomer,
        )


def _watched(place: Stage, server: Server) -> tuple[float, float]:
    """The longest pause of the event loop while operators ask, and their slowest answer."""
    server.longest_pause = 0.0
    program = str(Path(__file__).with_name("operators.py"))
    command = [sys.executable, program, str(place.folder / "poptrio.sock"), str(WATCHED)]
    asked = json.loads(subprocess.check_output(command, text=True))
    server.report()
    return server.longest_pause, max(each["slowest"] for each in asked.values())


def _vanish(place: Stage, server: Server, calls: int) -> tuple[float, float]:
    """Wait until the clients vanish; how long until all are gone, and what a new call takes meanwhile."""
    _until(server, lambda up: up < calls, calls)
    begun = time.monotonic()
    late = place.load(LATECOMERS, "--rate", "2")
    _until(server, lambda up: up <= LATECOMERS, calls)
    gone = time.monotonic() - begun
    return gone, result_of(late)["set_ups"]["duration"]["longest"]


def _until(server: Server, reached: Callable[[int], bool], calls: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached(up := server.report()["calls"]):
        if time.monotonic() > deadline:
            raise SystemExit(f"{up} of {calls} calls are up after {PATIENCE:.0f} s")
        time.sleep(POLL)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, action="append", help="how many; repeatable; 1000 if not given")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    arguments = parser.parse_args()
    with stage() as place:
        results = [measure(place, calls) for calls in arguments.calls or [1000]]
    if arguments.json:
        print(json.dumps([*map(asdict, results)], indent=2))
        return
    for result in results:
        print("  ".join(f"{name}={value:.4g}" for name, value in asdict(result).items()))


if __name__ == "__main__":
    main()
