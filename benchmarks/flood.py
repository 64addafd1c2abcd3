"""What a flood of GRE packets that belong to nobody does to calls: 100,000 for unknown calls, 100,000 from a stranger.

python benchmarks/flood.py [--json]         root; a server and `poptrio load` in two namespaces
"""

import re
import socket
import struct
import time
from dataclasses import dataclass

from stage import CLIENT, FIRST_SOURCE, SERVER, SOURCES, Server, Stage, print_rows, result_of

PACKETS = 100_000
PER_SECOND = 50_000
BURST = 500
CALLS = 20
PINGS = 500
SECONDS = 5.0
STRANGER = FIRST_SOURCE + SOURCES - 1  # an address that has no call


@dataclass(frozen=True, slots=True)
class FloodRow:
    """One flood, and the calls meanwhile. Seconds; ``counted`` of the packets, ``cpu`` of the server for each.

    ``lost`` is the fraction of the pings that got no answer.
    """

    flood: str
    sent: int
    counted: int
    cpu: float
    lost: float
    p50: float
    p99: float


def measure(place: Stage, flood: str) -> FloodRow:
    """Calls that ping, and one flood, or none, in the middle of it."""
    with place.server() as server:
        load = place.load(
            CALLS, "--packets", str(PINGS), "--seconds", str(SECONDS), "--hold", "2", "--size", "100"
        )  # fmt: skip
        while server.report()["calls"] < CALLS:
            time.sleep(0.1)
        time.sleep(2.5)  # they ping now
        before, cpu = server.report(), server.cpu()
        sent = _send(place, server, flood) if flood != "none" else 0
        if not sent:
            time.sleep(PACKETS / PER_SECOND)
        time.sleep(0.2)
        after, spent = server.report(), server.cpu() - cpu
        pings = result_of(load)["packets"]
        which = "no_such_call" if flood == "unknown call" else "wrong_source"
        return FloodRow(
            flood=flood,
            sent=sent,
            counted=after[which] - before[which],
            cpu=spent / sent if sent else spent,
            lost=1 - pings["received"] / pings["sent"],
            p50=pings["round_trip"]["p50"],
            p99=pings["round_trip"]["p99"],
        )


def _send(place: Stage, server: Server, flood: str) -> int:
    """Send the flood from the client's namespace, and return how many packets the kernel took."""
    used = [int(found) for found in re.findall(r"call=(\d+)", server.log.read_text("utf-8"))]
    call_id = used[-1] if flood == "wrong source" else next(free for free in range(1, 65536) if free not in used)
    packet = struct.pack(">4sHHI", b"\x30\x01\x88\x0b", 4, call_id, 0) + b"\xff\x03\x00\x21"
    with place.client_place.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
        raw.bind((str(STRANGER if flood == "wrong source" else CLIENT), 0))
    sent = 0
    with raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # what comes to us is nobody's
        begun = time.monotonic()
        while sent < PACKETS:
            for _ in range(BURST):
                raw.sendto(packet, (str(SERVER), 0))
            sent += BURST
            time.sleep(max(0.0, begun + sent / PER_SECOND - time.monotonic()))
    return sent


def measure_all(place: Stage) -> list[FloodRow]:
    """No flood, and both kinds."""
    return [measure(place, flood) for flood in ("none", "unknown call", "wrong source")]


def shown(row: FloodRow) -> str:
    """A line of text."""
    return (
        f"{row.flood:13} {row.counted:7} of {row.sent:6} counted, {row.cpu * 1e6:8.2f} µs, "
        f"pings lost {row.lost:.2%}, p50 {row.p50 * 1e3:.2f} ms, p99 {row.p99 * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    print_rows(__doc__, measure_all, shown)
