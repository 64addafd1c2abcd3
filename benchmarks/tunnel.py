"""Throughput of TCP through one tunnel, both ways: iperf3, `poptrio dial` and a server on the same cores.

python benchmarks/tunnel.py [--json]        root; needs iperf3
"""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from stage import PASSWORD, SERVER, USER, Server, Stage, print_rows

INNER_SERVER = "10.90.0.1"
SECONDS = 6
CONFIGURATIONS = {"none": "refuse", "stateless": "require"}
UP_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class TunnelRow:
    """Bits per second of TCP; ``server_share`` of one core meanwhile. ``direction`` is as the client sees it."""

    mppe: str
    direction: str
    bits_per_second: float
    server_share: float


def measure(place: Stage, mppe: str) -> list[TunnelRow]:
    """Both directions, one after the other."""
    config = f'[ppp]\nencryption = "{CONFIGURATIONS[mppe]}"\nencryption_mode = "any"\n'
    with place.server(config) as server:
        dial = _dial(place, CONFIGURATIONS[mppe])
        listener = subprocess.Popen(
            place.server_place.command("iperf3", "--server", "--forceflush", "--bind", INNER_SERVER),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert listener.stdout is not None
            while "listening" not in (line := listener.stdout.readline()):
                if not line:
                    raise SystemExit("iperf3 does not listen")
            return [_row(place, server, mppe, direction) for direction in ("up", "down")]
        finally:
            for process in (dial, listener):
                process.terminate()
                process.wait(10)


def _dial(place: Stage, encryption: str) -> "subprocess.Popen[str]":
    command = place.client_place.command(
        *(sys.executable, "-m", "poptrio", "dial", str(SERVER), "--user", USER, "--password", PASSWORD, "--json"),
        *("--encryption", encryption, "--interface", "bench-dial"),
    )
    dial = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert dial.stdout is not None
    if '"up"' not in dial.stdout.readline():
        raise SystemExit(f"poptrio dial failed: {dial.communicate()}")
    return dial


def _row(place: Stage, server: Server, mppe: str, direction: str) -> TunnelRow:
    cpu, begun = server.cpu(), time.monotonic()
    reverse = ["--reverse"] if direction == "down" else []
    arguments = ["iperf3", "--client", INNER_SERVER, "--time", str(SECONDS), "--json", *reverse]
    result = json.loads(place.client_place.run(*arguments))
    share = (server.cpu() - cpu) / (time.monotonic() - begun)
    return TunnelRow(mppe, direction, result["end"]["sum_received"]["bits_per_second"], share)


def measure_all(place: Stage) -> list[TunnelRow]:
    """Without and with MPPE. Raises SystemExit with the remedy where there is no iperf3."""
    if shutil.which("iperf3") is None:
        raise SystemExit(f"{Path(__file__).name} needs iperf3: apt-get install iperf3")
    return [row for mppe in CONFIGURATIONS for row in measure(place, mppe)]


def shown(row: TunnelRow) -> str:
    """A line of text."""
    return (
        f"MPPE {row.mppe:10} {row.direction:5} {row.bits_per_second / 1e6:7.0f} Mbit/s, "
        f"server {row.server_share:.0%} of a core"
    )


if __name__ == "__main__":
    print_rows(__doc__, measure_all, shown)
