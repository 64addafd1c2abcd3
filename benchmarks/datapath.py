"""What one packet costs in the userspace data path, step by step and on the real kernel.

    python benchmarks/datapath.py            the steps; needs nothing
    python benchmarks/datapath.py --system   also UDP through raw sockets and TUNs in two namespaces; needs root

Prints microseconds per packet of 1400 octets on one core. Nothing is asserted: a slow machine is not a bug.
"""

import argparse
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from math import inf

import trio

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint, NetworkParameters, PathCounters
from poptrio.datapath.call_path import GreCallPath, Ports
from poptrio.datapath.packets import clamp_mss, fragments, ipv4_length
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.protocols.gre import GreChannel, GreSettings
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.namespaces import Namespace, join

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


async def measure_system(keys: MppeParameters | None, name: str) -> None:
    """UDP from the client's kernel to the server's, through both data paths in this one process."""
    with Namespace("s") as server, Namespace("c") as client:
        join(server, str(AT_SERVER.local), client, str(AT_CLIENT.local))
        async with trio.open_nursery() as nursery:
            paths = []
            for namespace, endpoint, address in ((server, AT_SERVER, SERVER), (client, AT_CLIENT, None)):
                settings = UserspaceSettings(
                    listen=(endpoint.local,), interface="bench0", mtu=1400, address=address,
                    routes=(IPv4Network("10.90.0.0/24"),) if address else (),
                )  # fmt: skip
                data_path = UserspaceDataPath(settings)
                with namespace.entered():
                    await nursery.start(data_path.run)
                path = data_path.open_call(endpoint, Owner())
                path.set_encryption(keys, keys)
                path.open_network(network(CLIENT if address else None, keys is not None))
                paths.append(path)
            with server.entered():
                sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sink.bind((str(SERVER), 5000))
            with client.entered():
                source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                source.connect((str(SERVER), 5000))
            with sink, source:
                await _blast(source, paths[0], name)
            nursery.cancel_scope.cancel()


async def _blast(source: socket.socket, server: GreCallPath, name: str) -> None:
    payload = bytes(1372)
    start, elapsed = time.perf_counter(), 0.0
    count = 10_000 // BURST * BURST
    for sent in range(BURST, count + BURST, BURST):
        before = time.perf_counter()
        for _ in range(BURST):
            source.send(payload)
        elapsed += time.perf_counter() - before
        while server.counters.packets_in < sent:
            await trio.lowlevel.checkpoint()
    total = time.perf_counter() - start - elapsed
    print(f"{f'TUN → GRE → GRE → TUN, {name}':48} {total / count * 1e6:8.2f} µs")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", action="store_true", help="measure on the real kernel too (root)")
    arguments = parser.parse_args()
    measure_steps()
    if arguments.system:
        for name, keys in (("clear", None), ("MPPE-128 stateless", STATELESS)):
            trio.run(measure_system, keys, name)


if __name__ == "__main__":
    main()
