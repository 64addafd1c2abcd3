"""What a capture costs per packet: a call that nobody looks into, one that was looked into, and one that is.

    python benchmarks/capture.py [--json]       no root

The protocol work alone, without MPPE and without system calls, because there an added instruction would show most. The
paths take turns within each round, and the least time of all rounds counts. "never" and "ended" run the same code as
before there were captures; between the two is what measuring in turns leaves of noise.
"""

import argparse
import json
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from poptrio.datapath.base import CallEndpoint, NetworkParameters
from poptrio.datapath.call_path import GreCallPath, Ports
from poptrio.datapath.tap import tap
from poptrio.protocols.gre import GreSettings
from poptrio.server.capture import Capture
from poptrio.testing.inner_packets import ipv4_packet

SERVER, CLIENT = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
INNER_SERVER, INNER_CLIENT = IPv4Address("10.90.0.1"), IPv4Address("10.90.0.2")
PACKETS = 2000
ROUNDS = 60
OCTETS = 1372
OUTER = bytes(20)


class Owner:
    """A `CallOwner` that does not care."""

    def frame_arrived(self, frame: bytes, encrypted: bool) -> None:
        """A control frame."""

    def decryption_lost(self) -> None:
        """MPPE is not used."""

    def path_failed(self, reason: str) -> None:
        """A bug."""
        raise AssertionError(reason)


def path(send: Callable[[bytes], object], *, to_client: bool) -> GreCallPath:
    """A call path without sockets."""

    def nothing(*_: object) -> None:
        return None

    ends = (SERVER, CLIENT) if to_client else (CLIENT, SERVER)
    inner = (INNER_SERVER, INNER_CLIENT) if to_client else (INNER_CLIENT, INNER_SERVER)
    made = GreCallPath(
        CallEndpoint(1, 1, *ends), Owner(), Ports(send, nothing, nothing, nothing, nothing, nothing), GreSettings()
    )
    made.open_network(NetworkParameters(*inner, mtu=1400, pfc=True, acfc=True, encryption_required=False))
    return made


class Candidate:
    """One path that is measured, in both directions."""

    def __init__(self, look: bool, look_on: bool) -> None:
        self.best = {"decapsulate": float("inf"), "encapsulate": float("inf")}
        self._sent: list[bytes] = []
        self._client = path(self._sent.append, to_client=False)
        self._path = path(len, to_client=True)
        self._capture = Capture("a benchmark", 1 << 40, lambda capture: None)
        if look:
            untap = tap(self._path, self._capture.record, int)
            if not look_on:
                untap()

    def round(self) -> None:
        """Measure both directions once."""
        self._sent.clear()
        packet = ipv4_packet(INNER_CLIENT, INNER_SERVER, bytes(OCTETS))
        for _ in range(PACKETS):
            self._client.packet_from_network(packet, 0.0)
        arriving = [OUTER + sent for sent in self._sent]
        measured = self._path
        begun = time.thread_time_ns()
        for one in arriving:
            measured.packet_from_peer(one, 20, 0.0)
        between = time.thread_time_ns()
        packet = ipv4_packet(INNER_SERVER, INNER_CLIENT, bytes(OCTETS))
        left = time.thread_time_ns()
        for _ in range(PACKETS):
            measured.packet_from_network(packet, 0.0)
        ended = time.thread_time_ns()
        self._capture._blocks, self._capture._waiting = [], 0  # as a reader does
        for direction, spent in (("decapsulate", between - begun), ("encapsulate", ended - left)):
            self.best[direction] = min(self.best[direction], spent / PACKETS)


def measure(rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Nanoseconds of CPU per packet: by path, then by direction."""
    candidates = {
        "never": Candidate(False, False),
        "ended": Candidate(True, False),
        "captured": Candidate(True, True),
    }
    for number in range(rounds):
        turns = list(candidates.values())
        for candidate in turns[number % 3 :] + turns[: number % 3]:
            candidate.round()
    return {name: candidate.best for name, candidate in candidates.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    found = measure()
    if parser.parse_args().json:
        print(json.dumps(found))
        return
    for name, by_direction in found.items():
        print(f"{name:10}" + "".join(f"{way} {cost:6.0f} ns   " for way, cost in by_direction.items()))


if __name__ == "__main__":
    main()
