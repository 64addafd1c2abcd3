"""TCP through one call, with the server on a kernel that has PPTP: poptop, and poptrio with both of its data paths.

    python benchmarks/kernel_datapath.py [--json] [--seconds N]      needs root, user-mode-linux, pptpd and iperf3

The server runs in a User Mode Linux guest, because not every machine has PPTP; the client, `poptrio dial`, runs outside
of it and is the same for all. MPPE-128 stateless, both ways, one after the other. A system call costs about a hundred
times as much in the guest as outside, so the figures are for comparison with each other only: ``ratio`` is to poptop.
It takes less than two minutes. Nothing is asserted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "interop"))

from guest import Guest
from guest_server import GuestPoptrio
from network import Network

PASSWORD = "correct horse"
INNER = "10.90.0.1"
PORT = 5201
STEP_TIMEOUT = 30.0  # seconds for a server, a tunnel or a transfer to begin

PPTPD_CONFIG = f"""
option /run/bench/options
listen {Network.server_address}
localip {INNER}
remoteip 10.90.0.2-10
"""
PPTPD_OPTIONS = """
name pptpd
refuse-pap
refuse-chap
refuse-mschap
require-mschap-v2
require-mppe-128
mtu 1400
mru 1400
nobsdcomp
nodeflate
novj
nologfd
"""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one server moved, in Mbit/s of TCP payload."""

    server: str
    to_server: float
    to_client: float


class Configured(GuestPoptrio):
    """A server with one of the data paths."""

    def __init__(self, guest: Guest, folder: Path, datapath: str) -> None:
        super().__init__(guest, folder, {"alice": PASSWORD}, {"ppp": {"encryption_mode": "stateless"}})
        self.extra_settings: Mapping[str, object] = {"datapath": datapath}


@contextmanager
def poptop(guest: Guest) -> Iterator[None]:
    """Debian's pptpd, with pppd."""
    guest.must("mkdir -p /run/bench; cat > /run/bench/pptpd.conf", stdin=PPTPD_CONFIG)
    guest.must("cat > /run/bench/options", stdin=PPTPD_OPTIONS)
    guest.must("umask 077; cat > /etc/ppp/chap-secrets", stdin=f'alice pptpd "{PASSWORD}" *\n')
    paths = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    guest.must(f"{paths}; setsid pptpd --fg --conf /run/bench/pptpd.conf < /dev/null > /run/bench/log 2>&1 &")
    guest.must("until grep -q ':06BB 00000000:0000 0A' /proc/net/tcp; do sleep 0.1; done", timeout=STEP_TIMEOUT)
    try:
        yield
    finally:
        guest.run("pkill pptpd; pkill pptpctrl; pkill pppd; sleep 1")


@contextmanager
def tunnel() -> Iterator[None]:
    """A call of `poptrio dial`, in this process's namespace."""
    client = subprocess.Popen(
        [
            *(Path(sys.executable).parent / "poptrio", "dial", Network.server_address, "--user", "alice"),
            *("--mode", "stateless", "--route", f"{INNER}/32", "--interface", "bench0"),
        ],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"POPTRIO_PASSWORD": PASSWORD},
    )
    try:
        deadline = time.monotonic() + STEP_TIMEOUT
        while subprocess.run(["ping", "-n", "-q", "-c", "1", "-W", "1", INNER], capture_output=True).returncode != 0:
            if client.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the tunnel does not come up")
        yield
    finally:
        client.terminate()
        client.wait()


def transfer(guest: Guest, seconds: int, *, reverse: bool) -> float:
    """Mbit/s that the receiver saw of one TCP connection through the tunnel."""
    guest.must(f"setsid iperf3 -s -1 -B {INNER} < /dev/null > /dev/null 2>&1 &")
    guest.must(f"until grep -q ':{PORT:04X} .* 0A' /proc/net/tcp; do sleep 0.1; done", timeout=STEP_TIMEOUT)
    command = ["iperf3", "-c", INNER, "-t", str(seconds), "-J", *(["-R"] if reverse else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + STEP_TIMEOUT)
    result = json.loads(done.stdout)
    if "error" in result:
        raise SystemExit(f"iperf3: {result['error']}")
    bits: float = result["end"]["sum_received"]["bits_per_second"]
    return bits / 1e6


def measure(guest: Guest, name: str, seconds: int) -> Throughput:
    """Both directions, over a server that is running."""
    with tunnel():
        to_server = transfer(guest, seconds, reverse=False)
        to_client = transfer(guest, seconds, reverse=True)
    return Throughput(name, to_server, to_client)


def run(folder: Path, seconds: int) -> list[Throughput]:
    """All servers, one after the other."""
    Network.enter(server_in_guest=True)
    results = []
    with Guest(Network.server, folder, fresh=False) as guest:
        with poptop(guest):
            results.append(measure(guest, "poptop", seconds))
        for datapath in ("userspace", "kernel"):
            place = folder / datapath
            place.mkdir()
            with ExitStack() as exits:
                exits.enter_context(Configured(guest, place, datapath))
                results.append(measure(guest, f"poptrio, {datapath}", seconds))
    return results


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seconds", type=int, default=5, help="of each transfer")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("this needs root")
    with tempfile.TemporaryDirectory(prefix="poptrio-bench-") as folder:
        results = run(Path(folder), arguments.seconds)
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
        return
    table = Table(title="TCP through one call, MPPE-128 stateless, server in a User Mode Linux guest")
    for heading in ("server", "to the server, Mbit/s", "ratio", "to the client, Mbit/s", "ratio"):
        table.add_column(heading, justify="left" if heading == "server" else "right")
    first = results[0]
    for result in results:
        table.add_row(
            result.server,
            f"{result.to_server:.1f}",
            f"{result.to_server / first.to_server:.2f}",
            f"{result.to_client:.1f}",
            f"{result.to_client / first.to_client:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
