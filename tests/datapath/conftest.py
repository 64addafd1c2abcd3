"""A call with both ends in this process: over the memory data path, and over real sockets and TUNs in two namespaces.

server  192.0.2.1 ── veth ── 192.0.2.2  client          (or a MemoryNetwork)
  TUN 10.90.0.1   ══ GRE ══   10.90.0.2 TUN             (or a server of the kernel's PPTP)

What the kernel's data path cannot do is marked ``not_in_kernel``, and what it does not count is in `UNTOLD`. It runs
where the kernel has it: interop plays these tests in its guest.
"""

import functools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import pytest
import trio
from trio.testing import MockClock

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint, CallPath, DataPath, NetworkParameters
from poptrio.datapath.kernel.available import Needs, obstacles
from poptrio.datapath.kernel.path import KernelDataPath, KernelSettings
from poptrio.datapath.kernel.ppp_device import mppe_bits
from poptrio.datapath.memory import MemoryCallPath, MemoryNetwork
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.testing.namespaces import Namespace, join

SERVER, CLIENT = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
INNER_SERVER, INNER_CLIENT = IPv4Address("10.90.0.1"), IPv4Address("10.90.0.2")
POOL = IPv4Network("10.90.0.0/24")
MTU = 1200
ETH_P_IP = 0x0800
FOR_EXPERIMENTS = 253
SO_RCVBUFFORCE = 33


UNTOLD = {"clear_text", "foreign_source", "no_network", "malformed", "too_big", "acknowledged", "lost", "reordered"}
"""The counters about which the kernel says nothing."""


class Owner:
    """A `CallOwner` that remembers what it was told; ``on_frame`` lets a test act at once, as a session would."""

    def __init__(self) -> None:
        self.on_frame: Callable[[bytes], None] = lambda frame: None
        self.lost = 0
        self.failures: list[str] = []
        self._frames, self._arrived = trio.open_memory_channel[tuple[bytes, bool]](1000)

    def frame_arrived(self, frame: bytes, encrypted: bool) -> None:
        self._frames.send_nowait((frame, encrypted))
        self.on_frame(frame)

    def decryption_lost(self) -> None:
        self.lost += 1

    def path_failed(self, reason: str) -> None:
        self.failures.append(reason)

    async def frame(self) -> tuple[bytes, bool]:
        with trio.fail_after(5):
            return await self._arrived.receive()

    def frames(self) -> list[tuple[bytes, bool]]:
        """What has arrived and was not asked for yet."""
        waiting = []
        while self._arrived.statistics().current_buffer_used:
            waiting.append(self._arrived.receive_nowait())
        return waiting


@dataclass
class End:
    """One end of the call: ``inject`` an inner packet of its network, ``receive`` one that came out of the call."""

    data_path: DataPath
    owner: Owner
    path: CallPath
    parameters: NetworkParameters
    inject: Callable[[bytes], object]
    take: Callable[[], Awaitable[bytes]]
    untold: frozenset[str] = frozenset()

    async def receive(self) -> bytes:
        with trio.fail_after(5):
            return await self.take()

    async def counted(self, counter: str, number: int) -> None:
        """Wait until a counter of the path has come to ``number``: the kernel takes its time to bring packets."""
        if counter in self.untold:
            await trio.sleep(0.05)
            return
        with trio.fail_after(5):
            while getattr(self.path.counters, counter) < number:  # noqa: ASYNC110 - a counter sets no event
                await trio.sleep(0.001)

    def has_counted(self, counter: str, number: int) -> bool:
        return counter in self.untold or getattr(self.path.counters, counter) == number

    def open(self, **changes: object) -> None:
        self.path.open_network(replace(self.parameters, **changes))


@dataclass
class Pair:
    server: End
    client: End

    namespace: Namespace | None = None  # the server's

    def open(self, **changes: object) -> None:
        self.server.open(**changes)
        self.client.open(**changes)

    async def encrypt(self, to_server: MppeParameters, to_client: MppeParameters) -> None:
        """As sessions do it: decryption first, then the client's Configure-Ack, then encryption."""
        self.server.path.set_encryption(None, to_server)
        self.client.path.send_frame(
            b"\xff\x03\x80\xfd\x02\x01\x00\x0a\x12\x06" + mppe_bits(to_server).to_bytes(4, "big")
        )
        await self.server.owner.frame()
        self.server.path.set_encryption(to_client, to_server)
        self.client.path.set_encryption(to_server, to_client)

    async def open_again(self) -> CallPath:
        """The server's call, anew; the kernel takes a moment to let the Call ID go."""
        with trio.fail_after(5), self.namespace.entered() if self.namespace else nullcontext():
            while True:
                try:
                    return self.server.data_path.open_call(self.server.path.endpoint, self.server.owner)
                except OSError:
                    await trio.sleep(0.01)


AT_SERVER = CallEndpoint(call_id=0x51, peer_call_id=0xC1, local=SERVER, peer=CLIENT)
AT_CLIENT = CallEndpoint(call_id=0xC1, peer_call_id=0x51, local=CLIENT, peer=SERVER)

SERVER_PARAMETERS = NetworkParameters(
    our_address=INNER_SERVER, peer_address=INNER_CLIENT, mtu=MTU, pfc=True, acfc=True, encryption_required=False
)
CLIENT_PARAMETERS = NetworkParameters(
    our_address=INNER_CLIENT,
    peer_address=None,
    mtu=MTU,
    pfc=True,
    acfc=True,
    encryption_required=False,
    routes=(IPv4Network("10.90.0.1/32"), IPv4Network("198.51.100.0/24")),
)


@asynccontextmanager
async def memory_pair() -> AsyncIterator[Pair]:
    network = MemoryNetwork()
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        ends = []
        for data_path, endpoint, parameters in (
            (network.server, AT_SERVER, SERVER_PARAMETERS),
            (network.client(), AT_CLIENT, CLIENT_PARAMETERS),
        ):
            owner = Owner()
            path = data_path.open_call(endpoint, owner)
            ends.append(End(data_path, owner, path, parameters, path.inject, memory_receiver(path)))
        yield Pair(*ends)
        nursery.cancel_scope.cancel()


def memory_receiver(path: MemoryCallPath) -> Callable[[], Awaitable[bytes]]:
    sender, receiver = trio.open_memory_channel[bytes](1000)
    path.on_delivered = sender.send_nowait
    return receiver.receive


@asynccontextmanager
async def userspace_pair() -> AsyncIterator[Pair]:
    with Namespace("s") as server, Namespace("c") as client:
        join(server, str(SERVER), client, str(CLIENT))
        server_settings = UserspaceSettings(
            listen=(SERVER,), interface="poptrio0", mtu=1400, address=INNER_SERVER, routes=(POOL,)
        )
        client_settings = UserspaceSettings(listen=(IPv4Address(0),), interface="poptrio0", mtu=1400)
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            ends = []
            for namespace, settings, endpoint, parameters in (
                (server, server_settings, AT_SERVER, SERVER_PARAMETERS),
                (client, client_settings, AT_CLIENT, CLIENT_PARAMETERS),
            ):
                data_path, owner = UserspaceDataPath(settings), Owner()
                with namespace.entered():
                    await nursery.start(data_path.run)
                    inject, receiver = stack.enter_context(kernel_network("poptrio0"))
                    path = data_path.open_call(endpoint, owner)
                ends.append(End(data_path, owner, path, parameters, inject, receiver))
            yield Pair(*ends)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def kernel_pair() -> AsyncIterator[Pair]:
    """The server is the kernel's, the client is of userspace."""
    with Namespace("s") as server, Namespace("c") as client:
        join(server, str(SERVER), client, str(CLIENT))
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            data_path = KernelDataPath(KernelSettings(interface="poptrio0", clamp_mss=False))
            with server.entered():
                await nursery.start(data_path.run)
                inject, receiver = stack.enter_context(kernel_network(f"poptrio0-{AT_SERVER.call_id}"))
                owner = Owner()
                path = data_path.open_call(AT_SERVER, owner)
            server_end = End(data_path, owner, path, SERVER_PARAMETERS, inject, receiver, frozenset(UNTOLD))
            client_path = UserspaceDataPath(UserspaceSettings(listen=(IPv4Address(0),), interface="poptrio0", mtu=1400))
            with client.entered():
                await nursery.start(client_path.run)
                inject, receiver = stack.enter_context(kernel_network("poptrio0"))
                owner = Owner()
                opened = client_path.open_call(AT_CLIENT, owner)
            yield Pair(
                server_end, End(client_path, owner, opened, CLIENT_PARAMETERS, inject, receiver), namespace=server
            )
            nursery.cancel_scope.cancel()


@contextmanager
def kernel_network(interface: str) -> Iterator[tuple[Callable[[bytes], object], Callable[[], Awaitable[bytes]]]]:
    """Send inner packets through the kernel's routes, and see what the TUN hands to the kernel."""
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    tap = trio.socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    # While somebody listens for a protocol, the kernel sends no ICMP messages about it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_RAW, FOR_EXPERIMENTS)
    with out, tap, listener:
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)  # and has room for what nobody reads
        yield (
            lambda packet: out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0)),
            partial(take_from, tap, interface),
        )


async def take_from(tap: trio.socket.SocketType, interface: str) -> bytes:
    while True:
        packet, (name, _, kind, *_) = await tap.recvfrom(65535)
        if name == interface and kind != socket.PACKET_OUTGOING:
            return packet


@pytest.fixture(
    params=[
        "memory",
        pytest.param(
            "userspace",
            marks=[pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and TUN")],
        ),
        pytest.param("kernel", marks=pytest.mark.root),
    ]
)
def medium(request: pytest.FixtureRequest) -> str:
    if request.param == "kernel":
        marker = request.node.get_closest_marker("not_in_kernel")
        if marker is not None:
            pytest.skip(f"the kernel's data path cannot: {marker.args[0]}")
        if missing := kernel_obstacles():
            pytest.skip(missing[0])
    return request.param


@pytest.fixture
def kernel_is_able() -> None:
    if missing := kernel_obstacles():
        pytest.skip(missing[0])


@functools.cache
def kernel_obstacles() -> list[str]:
    if os.geteuid() != 0:
        return ["needs root"]
    return obstacles(Needs(interface="probe", encryption=True, clamp_mss=False))


@pytest.fixture
def clock(medium: str) -> MockClock | None:
    return MockClock(autojump_threshold=0) if medium == "memory" else None


@pytest.fixture
async def pair(medium: str, clock: MockClock | None) -> AsyncIterator[Pair]:
    pairs = {"memory": memory_pair, "userspace": userspace_pair, "kernel": kernel_pair}
    async with pairs[medium]() as both:
        yield both
