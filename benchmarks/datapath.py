"""What one packet costs in the userspace data path, step by step and without a kernel; `packets.py` has it whole.

    python benchmarks/datapath.py       needs nothing

Prints microseconds per packet of 1400 octets on one core. Nothing is asserted: a slow machine is not a bug.
"""

import argparse
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from math import inf

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint, NetworkParameters, PathCounters
from poptrio.datapath.call_path import GreCallPath, Ports
from poptrio.datapath.packets import clamp_mss, fragments, ipv4_length
from poptrio.protocols.gre import GreChannel, GreSettings
from poptrio.testing.inner_packets import ipv4_packet

SERVER, CLIENT = IPv4Address("10.90.0.1"), IPv4Address("10.90.0.2")
AT_SERVER = CallEndpoint(call_id=1, peer_call_id=2, local=IPv4Address("192.0.2.1"), peer=IPv4Address("192.0.2.2"))
AT_CLIENT = CallEndpoint(call_id=2, peer_call_id=1, local=AT_SERVER.peer, peer=AT_SERVER.local)
STATELESS = MppeParameters(bits=128, stateless=True, start_key=bytes(16))
STATEFUL = MppeParameters(bits=128, stateless=False, start_key=bytes(16))
PACKET = ipv4_packet(CLIENT, SERVER, bytes(1380))
SYN = ipv4_packet(CLIENT, SERVER, bytes.fromhex("c0de01bb 11223344 00000000 6002faf0 0000 0000 020405b4"), protocol=6)

COUNT = 2_000  # few enough to stay in the cache, as packets in flight do
ROUNDS = 20
BURST = 32


class Owner:
    """Whom the paths here have nothing to tell."""

    def frame_arrived(self, frame: bytes, encrypted: bool) -> None:
        """No control frames are sent."""

    def decryption_lost(self) -> None:
        """Nothing is lost."""

    def path_failed(self, reason: str) -> None:
        """End the benchmark."""
        raise SystemExit(reason)


def network(peer_address: IPv4Address | None, encrypted: bool) -> NetworkParameters:
    """Our address is that of the role: with a ``peer_address``, we are the server."""
    return NetworkParameters(
        our_address=SERVER if peer_address else CLIENT,
        peer_address=peer_address,
        mtu=1400,
        pfc=True,
        acfc=True,
        encryption_required=encrypted,
        routes=() if peer_address else (IPv4Network(SERVER),),
    )


def call_path(endpoint: CallEndpoint, send: Callable[[bytes], object], keys: MppeParameters | None) -> GreCallPath:
    """A path that ends in ``send``, with an open network."""
    ports = Ports(send, lambda packet: None, lambda packet: None, lambda *_: None, lambda *_: None, lambda *_: None)
    path = GreCallPath(endpoint, Owner(), ports, GreSettings())
    path.set_encryption(keys, keys)
    path.open_network(network(CLIENT if endpoint is AT_SERVER else None, keys is not None))
    return path


def measure(name: str, prepare: Callable[[], Callable[[bytes], object]], packets: list[bytes]) -> None:
    """Print what the function that ``prepare`` returns takes per packet of ``packets``: the best of several rounds."""
    best = inf
    for _ in range(ROUNDS):
        work = prepare()
        start = time.perf_counter()
        for packet in packets:
            work(packet)
        best = min(best, time.perf_counter() - start)
    print(f"{name:48} {best / len(packets) * 1e6:8.2f} µs")


def measure_steps() -> None:
    """The pure functions, and whole paths without a kernel."""
    inner = [PACKET] * COUNT
    measure("check an inner packet", lambda: ipv4_length, inner)
    measure("clamp the MSS of a SYN", lambda: lambda syn: clamp_mss(syn, 1400), [SYN] * COUNT)
    measure("fragment a packet", lambda: lambda packet: list(fragments(packet, 1000)), inner)

    def channel() -> GreChannel:
        return GreChannel(1, PathCounters(), GreSettings())

    def receiver() -> Callable[[bytes], object]:
        receive = channel().receive_packet
        return lambda packet: receive(packet, 0, 0.0)

    measure("GRE: send", lambda: channel().data_packet, inner)
    arriving = list(map(channel().data_packet, inner))
    measure("GRE: receive in order", receiver, arriving)
    swapped = [arriving[index ^ 1] for index in range(COUNT)]
    measure("GRE: receive, every second one overtaken", receiver, swapped)
    for name, keys in (("clear", None), ("MPPE-128 stateless", STATELESS), ("MPPE-128 stateful", STATEFUL)):
        measure_path(name, keys)


def measure_path(name: str, keys: MppeParameters | None) -> None:
    """A whole call path in each direction."""

    def to_peer(send: Callable[[bytes], object] = lambda packet: None) -> Callable[[bytes], None]:
        path = call_path(AT_CLIENT, send, keys)
        return lambda packet: path.packet_from_network(packet, 0.0)

    def from_peer() -> Callable[[bytes], None]:
        path = call_path(AT_SERVER, lambda packet: None, keys)
        return lambda packet: path.packet_from_peer(packet, 0, 0.0)

    inner = [PACKET] * COUNT
    measure(f"call, to the peer, {name}", to_peer, inner)
    arriving: list[bytes] = []
    send = to_peer(arriving.append)
    for packet in inner:
        send(packet)
    measure(f"call, from the peer, {name}", from_peer, arriving)


def main() -> None:
    """Measure every step."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    measure_steps()


if __name__ == "__main__":
    main()
