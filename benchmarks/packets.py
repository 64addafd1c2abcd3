"""CPU time per packet of the userspace data path, each beside a plain C loop of the same steps (`packet_loop.c`).

    python benchmarks/packets.py [--json]       root; needs a C compiler and libcrypto's headers

A burst of packets is put into the receive queue, which is not measured, then taken out and worked off, which is: CPU
time of this thread, kernel and user together. Inner packets are forwarded by the kernel to a network behind the server,
which drops them, as are the GRE packets at the client. Both programs do the same to the kernel.
"""

import argparse
import ctypes
import json
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import chain, cycle, repeat
from math import inf
from pathlib import Path

import trio

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint, NetworkParameters, PathCounters
from poptrio.datapath.call_path import GreCallPath, Ports
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.protocols.gre import GreSettings
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.namespaces import Namespace, join

SERVER, CLIENT = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
ROUTER, HOST = IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2")
INNER_SERVER, POOL = IPv4Address("10.90.0.1"), IPv4Network("10.90.0.0/16")
PORT = 5000

MODES = ("none", "stateful", "stateless")
SIZES = (1400, 100)
DIRECTIONS = ("decapsulate", "encapsulate")
BURST = 256
BURSTS = 60
ROUNDS = 2
CALLS = (10, 10_000)
IN_A_ROW = 16
"""Packets of a call before the next one's turn: so many share one acknowledgement."""


_DROP_ALL = struct.pack("=HBBI", 6, 0, 0, 0)
_SO_ATTACH_FILTER = 26


@dataclass(frozen=True, slots=True)
class PacketRow:
    """Nanoseconds of CPU time per packet of ``octets``, in Python and in C."""

    direction: str
    mppe: str
    octets: int
    python: float
    c: float

    @property
    def ratio(self) -> float:
        """How many times as much Python takes."""
        return self.python / self.c


@dataclass(frozen=True, slots=True)
class CallsRow:
    """Nanoseconds of CPU time per packet of 1400 octets, MPPE-128 stateless, of so many calls in turn."""

    direction: str
    few: float
    many: float

    @property
    def ratio(self) -> float:
        """How many times as much with many calls."""
        return self.many / self.few


class Owner:
    """Whom the paths here have nothing to tell."""

    def frame_arrived(self, frame: bytes, encrypted: bool) -> None:
        """No control frames are sent."""

    def decryption_lost(self) -> None:
        """Nothing is lost."""

    def path_failed(self, reason: str) -> None:
        """End the benchmark."""
        raise SystemExit(reason)


@dataclass(frozen=True, slots=True)
class Hosts:
    """A server, a client, and a network to which the server forwards."""

    server: Namespace
    client: Namespace
    network: Namespace


@contextmanager
def hosts() -> Iterator[Hosts]:
    """Three namespaces with cables between them."""
    with Namespace("s") as server, Namespace("c") as client, Namespace("n") as network:
        join(server, str(SERVER), client, str(CLIENT))
        join(server, str(ROUTER), network, str(HOST))
        network.run("ip", "route", "add", "default", "via", str(ROUTER))
        server.run("sysctl", "-q", "net.ipv4.ip_forward=1")
        yield Hosts(server, client, network)


@contextmanager
def compiled() -> Iterator[Path]:
    """The C loop as a program. Raises SystemExit with the remedy where it cannot be built."""
    source = Path(__file__).with_name("packet_loop.c")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "packet_loop"
        command = ["gcc", "-O2", "-o", str(program), str(source), "-lcrypto"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or error
            raise SystemExit(f"packet_loop.c cannot be built (apt-get install gcc libssl-dev): {why}") from error
        yield program


def keys(mode: str) -> MppeParameters | None:
    """The MPPE parameters of both directions."""
    return None if mode == "none" else MppeParameters(128, mode == "stateless", bytes(16))


def in_c(program: Path, direction: str, mode: str, octets: int) -> float:
    """What the C loop takes per packet, the best of several rounds."""
    best = inf
    for _ in range(ROUNDS):
        with hosts() as places:
            namespaces = [f"/run/netns/{place.name}" for place in (places.client, places.network)]
            arguments = [str(program), direction, mode, str(octets), str(BURSTS), str(BURST), *namespaces]
            best = min(best, float(places.server.run(*arguments)))
    return best


def in_python(direction: str, mode: str, octets: int, calls: int = 1, bursts: int = BURSTS) -> float:
    """What poptrio takes per packet, in turn from ``calls`` calls, the best of several rounds."""
    return min(trio.run(_measure, direction, mode, octets, calls, bursts) for _ in range(ROUNDS))


async def _measure(direction: str, mode: str, octets: int, calls: int, bursts: int) -> float:
    parameters = keys(mode)
    settings = UserspaceSettings(listen=(SERVER,), interface="bench0", mtu=1500, address=INNER_SERVER, routes=(POOL,))
    data_path = UserspaceDataPath(settings)
    with hosts() as places:
        async with trio.open_nursery() as nursery:
            with places.server.entered():
                await nursery.start(data_path.run)
                places.server.run("ip", "link", "set", "bench0", "txqueuelen", "1000")
                source = _udp(INNER_SERVER)
                counters = PathCounters()  # of all calls, so that it is quickly seen when a burst is through
                for number in range(calls):
                    _open(data_path, number, parameters).counters = counters
            with places.network.entered():
                sink = _udp(HOST, PORT)
            with places.client.entered():
                gre = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
                gre.bind((str(CLIENT), 0))
            with source, sink, gre:
                for drop in (sink, gre):
                    _drop_all(drop)
                if direction == "decapsulate":
                    send = _client_sender(gre, calls, parameters, octets)
                else:
                    send = _server_sender(source, calls, octets)
                spent = await _drain(send, counters, direction, bursts)
            nursery.cancel_scope.cancel()
    return spent / bursts / BURST * 1e9


async def _drain(send: Callable[[], object], counters: PathCounters, direction: str, bursts: int) -> float:
    """CPU seconds of this thread for everything but the sending."""
    spent = 0.0
    done = (lambda: counters.packets_in) if direction == "decapsulate" else (lambda: counters.packets_out)
    for burst in range(1, bursts + 1):
        for _ in range(BURST):
            send()
        begun = time.thread_time()
        while done() < burst * BURST:
            await trio.lowlevel.checkpoint()
        spent += time.thread_time() - begun
    return spent


def _open(data_path: UserspaceDataPath, number: int, parameters: MppeParameters | None) -> GreCallPath:
    endpoint = CallEndpoint(call_id=number + 1, peer_call_id=number + 1, local=SERVER, peer=CLIENT)
    path = data_path.open_call(endpoint, Owner())
    path.set_encryption(parameters, parameters)
    path.open_network(
        NetworkParameters(
            our_address=INNER_SERVER,
            peer_address=_inner(number),
            mtu=1400,
            pfc=True,
            acfc=True,
            encryption_required=parameters is not None,
        )
    )
    return path


def _inner(number: int) -> IPv4Address:
    return POOL.network_address + number + 2


def _client_sender(
    gre: socket.socket, calls: int, parameters: MppeParameters | None, octets: int
) -> Callable[[], object]:
    """Sends one packet of the next client."""
    where = (str(SERVER), 0)
    senders = []
    for number in range(calls):
        ports = Ports(
            send_gre=lambda packet: gre.sendto(packet, where),
            deliver=lambda packet: None,
            report=lambda packet: None,
            call_at=lambda *_: None,
            network_changed=lambda *_: None,
            closed=lambda *_: None,
        )
        endpoint = CallEndpoint(call_id=number + 1, peer_call_id=number + 1, local=CLIENT, peer=SERVER)
        path = GreCallPath(endpoint, Owner(), ports, GreSettings())
        path.set_encryption(parameters, parameters)
        path.open_network(
            NetworkParameters(
                our_address=_inner(number),
                peer_address=None,
                mtu=1500,
                pfc=True,
                acfc=True,
                encryption_required=parameters is not None,
            )
        )
        header = struct.pack(">HHHH", PORT, PORT, octets - 20, 0)
        senders.append((path, ipv4_packet(_inner(number), HOST, header + bytes(octets - 28), protocol=17)))
    turns = cycle(chain.from_iterable(repeat(sender, IN_A_ROW) for sender in senders))

    def send() -> None:
        path, packet = next(turns)
        path.packet_from_network(packet, 0.0)

    return send


def _server_sender(source: socket.socket, calls: int, octets: int) -> Callable[[], object]:
    """Sends one packet from our network to the next client."""
    payload = bytes(octets - 28)
    places = [(str(_inner(number)), PORT) for number in range(calls)]
    turns = cycle(chain.from_iterable(repeat(place, IN_A_ROW) for place in places))
    return lambda: source.sendto(payload, next(turns))


def _udp(address: IPv4Address, port: int = 0) -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((str(address), port))
    return udp


def _drop_all(sink: socket.socket) -> None:
    """Take packets, so that the kernel does not answer them with ICMP, and drop them at once."""
    program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    sink.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))


def measure_packets() -> Iterator[PacketRow]:
    """Every direction, mode and size."""
    with compiled() as program:
        for direction in DIRECTIONS:
            for mode in MODES:
                for octets in SIZES:
                    yield PacketRow(
                        direction,
                        mode,
                        octets,
                        round(in_python(direction, mode, octets)),
                        round(in_c(program, direction, mode, octets)),
                    )


def measure_calls() -> Iterator[CallsRow]:
    """Few calls against many."""
    few, many = CALLS
    bursts = IN_A_ROW * many // BURST  # once around
    for direction in DIRECTIONS:
        yield CallsRow(
            direction,
            round(in_python(direction, "stateless", 1400, few, bursts)),
            round(in_python(direction, "stateless", 1400, many, bursts)),
        )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    arguments = parser.parse_args()
    packets, calls = list(measure_packets()), list(measure_calls())
    if arguments.json:
        print(json.dumps({"packets": [*map(asdict, packets)], "calls": [*map(asdict, calls)]}, indent=2))
        return
    for row in packets:
        print(
            f"{row.direction:12} {row.mppe:10} {row.octets:5} octets"
            f" {row.python:7.0f} ns, C {row.c:6.0f} ns, {row.ratio:.2f} x"
        )
    for line in calls:
        print(
            f"{line.direction:12} {CALLS[1]} calls against {CALLS[0]}: "
            f"{line.many:.0f} ns, {line.few:.0f} ns, {line.ratio:.2f} x"
        )


if __name__ == "__main__":
    main()
