"""The silence of `poptrio upgrade`: how long nobody serves the calls, and what a ping through one of them sees.

python benchmarks/upgrade.py [--calls N]… [--json]      root; a server, `poptrio load` and a ping in two namespaces
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise

from stage import PASSWORD, SERVER, USER, Stage, stage

PATIENCE = 120.0
POLL = 0.02
INTERVAL = 0.002
"""Seconds between two pings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeResult:
    """One upgrade with so many calls. Seconds.

    ``silence`` is from the moment in which the old program stood still to that in which the new one had everything,
    ``gap`` the longest time between two answers to pings through one call, ``lost`` pings without an answer; ``whole``
    is from the order to the first line of the new program's service.
    """

    calls: int
    silence: float
    gap: float
    lost: int
    whole: float


def measure(place: Stage, calls: int) -> UpgradeResult:
    """One server, and so many calls, one of them with a TUN and pings through it."""
    with place.server(watched=False) as server:
        log = server.log
        options = ("--user", USER, "--password", PASSWORD, "--route", "10.90.0.1/32")
        dial = subprocess.Popen(
            place.client_place.command(sys.executable, "-m", "poptrio", "dial", str(SERVER), *options),
            stdout=subprocess.DEVNULL,
        )
        _until(lambda: "call up" in log.read_text("utf-8"), "a call")
        load = place.load(calls - 1, "--hold", "60", "--concurrency", "20") if calls > 1 else None
        _until(lambda: log.read_text("utf-8").count("call up") >= calls, "all calls")
        time.sleep(1.0)
        answers = place.folder / "answers"
        with answers.open("w") as file:
            command = place.client_place.command("ping", "-D", "-i", str(INTERVAL), "-W", "3", "10.90.0.1")
            ping = subprocess.Popen(command, stdout=file)
        time.sleep(0.5)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGUSR2)
        _until(lambda: "calls taken over" in log.read_text("utf-8"), "the upgrade")
        whole = time.monotonic() - begun
        time.sleep(0.5)
        ping.send_signal(signal.SIGINT)
        ping.wait()
        output = answers.read_text("utf-8")
        for process in (load, dial):
            if process is not None:
                process.terminate()
                process.communicate()
        silence = re.findall(r"calls taken over.*?silence_ms=([\d.]+)", log.read_text("utf-8"))
        times = [float(at) for at in re.findall(r"^\[([\d.]+)\]", output, re.MULTILINE)]
        sent, received = map(int, re.findall(r"(\d+) packets transmitted, (\d+) received", output)[0])
        return UpgradeResult(
            calls=calls,
            silence=float(silence[-1]) / 1000,
            gap=max(after - before for before, after in pairwise(times)),
            lost=sent - received,
            whole=whole,
        )


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"in vain for {what}")
        time.sleep(POLL)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, action="append", help="how many calls, one of them with pings; repeatable")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    arguments = parser.parse_args()
    with stage() as place:
        results = [measure(place, calls) for calls in arguments.calls or (1, 2000)]
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
        return
    for result in results:
        print(
            f"{result.calls} calls: silence {result.silence * 1000:.0f} ms, longest gap between answers "
            f"{result.gap * 1000:.0f} ms, {result.lost} pings lost, upgraded within {result.whole:.1f} s"
        )


if __name__ == "__main__":
    main()
