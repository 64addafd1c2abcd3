"""What only the memory data path can show: lossy links, virtual time, and any octets at all."""

import random
from ipaddress import IPv4Address

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint, NetworkParameters
from poptrio.datapath.call_path import GreCallPath, Ports
from poptrio.datapath.memory import MemoryNetwork
from poptrio.protocols.gre import GreSettings
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.terrible_link import TerribleLink

SERVER, CLIENT = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
INNER_SERVER, INNER_CLIENT = IPv4Address("10.90.0.1"), IPv4Address("10.90.0.2")
KEY = MppeParameters(bits=128, stateless=True, start_key=bytes(16))
STATEFUL = MppeParameters(bits=128, stateless=False, start_key=bytes(16))


def parameters(**changes) -> NetworkParameters:
    values = {
        "our_address": INNER_SERVER,
        "peer_address": INNER_CLIENT,
        "mtu": 1200,
        "pfc": False,
        "acfc": False,
        "encryption_required": False,
    }
    return NetworkParameters(**(values | changes))


def packet(number: int) -> bytes:
    return ipv4_packet(INNER_CLIENT, INNER_SERVER, number.to_bytes(4, "big") + bytes(40))


def number_of(inner: bytes) -> int:
    return int.from_bytes(inner[20:24], "big")


class QuietOwner:
    def __init__(self) -> None:
        self.frames = []
        self.failures = []
        self.lost = 0
        self.on_lost = lambda: None

    def frame_arrived(self, frame, encrypted):
        self.frames.append((frame, encrypted))

    def decryption_lost(self):
        self.lost += 1
        self.on_lost()

    def path_failed(self, reason):
        self.failures.append(reason)


def open_pair(network: MemoryNetwork, call: int = 0, keys: MppeParameters | None = None):
    server_owner, client_owner = QuietOwner(), QuietOwner()
    at_server = CallEndpoint(call_id=call + 1, peer_call_id=7, local=SERVER, peer=CLIENT)
    at_client = CallEndpoint(call_id=7, peer_call_id=call + 1, local=CLIENT, peer=SERVER)
    server = network.server.open_call(at_server, server_owner)
    client = network.client().open_call(at_client, client_owner)
    for path in (server, client):
        path.set_encryption(keys, keys)
    server.open_network(parameters(encryption_required=keys is not None))
    client.open_network(parameters(our_address=INNER_CLIENT, peer_address=None, encryption_required=keys is not None))
    return server, client, server_owner, client_owner


class ScriptedLink:
    """Delays by position in the stream toward the server; everything else arrives at once."""

    def __init__(self, delays):
        self.by_position = delays
        self.position = -1

    def delays(self, packet, *, to_server):
        if not to_server:
            return (0.0,)
        self.position += 1
        return self.by_position.get(self.position, (0.0,))


async def running(nursery: trio.Nursery, link=None, settings=None) -> MemoryNetwork:
    network = MemoryNetwork(link, settings)
    await nursery.start(network.run)
    return network


async def test_overtaken_packet_is_delivered_in_order_with_its_deadline(autojump_clock, nursery):
    network = await running(nursery, ScriptedLink({1: (0.02,), 3: ()}))
    server, client, *_ = open_pair(network, keys=KEY)
    for number in range(6):
        client.inject(packet(number))
    await trio.sleep(0.001)
    assert [number_of(inner) for inner in server.delivered] == [0]
    await trio.sleep(0.02)
    assert [number_of(inner) for inner in server.delivered] == [0, 1, 2]
    await trio.sleep(0.0085)
    assert [number_of(inner) for inner in server.delivered] == [0, 1, 2]
    await trio.sleep(0.001)
    assert [number_of(inner) for inner in server.delivered] == [0, 1, 2, 4, 5]
    assert (server.counters.lost, server.counters.reordered) == (1, 1)
    assert server.counters.undecryptable == 0


async def test_pure_acknowledgement_after_its_delay_and_no_timer_when_idle(autojump_clock, nursery):
    network = await running(nursery)
    server, client, *_ = open_pair(network)
    client.inject(packet(0))
    await trio.sleep(0.099)
    assert server.counters.gre_sent == 0
    await trio.sleep(0.002)
    assert server.counters.gre_sent == 1
    assert client.counters.acknowledged == 1
    # Nothing waits any more: virtual time would stop at every wake-up on the way, and count it here.
    before = trio.lowlevel.current_statistics().seconds_to_next_deadline
    assert before == float("inf")


async def test_owner_that_closes_in_the_middle_of_released_packets(autojump_clock, nursery):
    network = await running(nursery, ScriptedLink({1: (0.01,)}))
    server, client, server_owner, _ = open_pair(network)
    client.inject(packet(0))
    server_owner.frame_arrived = lambda frame, encrypted: server.close()
    client.send_frame(b"\xc0\x21first")
    client.inject(packet(1))
    client.send_frame(b"\xc0\x21last")
    await trio.sleep(1)
    assert [number_of(inner) for inner in server.delivered] == [0]
    assert server_owner.failures == []
    assert server.counters.gre_sent == 0


async def test_lost_stateful_encryption_asks_once_and_recovers(autojump_clock, nursery):
    network = await running(nursery, ScriptedLink({2: ()}), GreSettings(reorder_packets=0))
    server, client, server_owner, _ = open_pair(network, keys=STATEFUL)
    for number in range(6):
        client.inject(packet(number))
    await trio.sleep(0.01)
    assert [number_of(inner) for inner in server.delivered] == [0, 1]
    assert server_owner.lost == 1
    assert server.counters.undecryptable == 3
    client.reset_encryption()
    for number in range(6, 9):
        client.inject(packet(number))
    await trio.sleep(0.01)
    assert [number_of(inner) for inner in server.delivered] == [0, 1, 6, 7, 8]
    assert server_owner.lost == 1


async def test_junk_from_our_own_network_is_counted(autojump_clock, nursery):
    network = await running(nursery)
    server, *_ = open_pair(network)
    for junk in (b"", bytes(40), packet(0)[:-1]):
        server.inject(junk)
    assert server.counters.malformed == 3
    assert server.counters.gre_sent == 0


async def test_a_reset_request_without_encryption_changes_nothing(autojump_clock, nursery):
    network = await running(nursery)
    server, client, *_ = open_pair(network)
    client.reset_encryption()
    client.inject(packet(0))
    await trio.sleep(0.01)
    assert [number_of(inner) for inner in server.delivered] == [0]


async def test_fragmentation_needed_reaches_the_sender_and_is_limited(autojump_clock, nursery):
    network = await running(nursery)
    server, *_ = open_pair(network)
    big = ipv4_packet(IPv4Address("198.51.100.7"), INNER_CLIENT, bytes(1300), dont_fragment=True)
    for _ in range(200):
        server.inject(big)
    assert server.counters.too_big == 200
    assert len(server.delivered) == 50
    message = server.delivered[0]
    assert (message[9], message[20:22], message[26:28]) == (1, b"\3\4", (1200).to_bytes(2, "big"))
    assert message[12:20] == INNER_SERVER.packed + big[12:16]
    await trio.sleep(1)
    for _ in range(200):
        server.inject(big)
    assert len(server.delivered) == 70


async def test_clients_with_equal_call_ids_and_packets_to_nobody(autojump_clock, nursery):
    network = await running(nursery)
    pairs = [open_pair(network, call) for call in range(3)]
    for index, (server, client, *_) in enumerate(pairs):
        client.inject(packet(index))
        server.send_frame(b"\xc0\x21" + bytes([index]))
    await trio.sleep(0.01)
    for index, (server, _, _, client_owner) in enumerate(pairs):
        assert [number_of(inner) for inner in server.delivered] == [index]
        assert client_owner.frames == [(b"\xc0\x21" + bytes([index]), False)]
    pairs[1][0].close()
    pairs[1][1].inject(packet(9))
    await trio.sleep(0.01)
    assert network.server.counters.no_such_call == 1


async def test_a_packet_from_another_address_is_not_the_peers(autojump_clock, nursery):
    network = await running(nursery)
    server, *_ = open_pair(network)
    forger = network.client().open_call(
        CallEndpoint(call_id=8, peer_call_id=1, local=IPv4Address("192.0.2.66"), peer=SERVER), QuietOwner()
    )
    forger.send_frame(b"\xc0\x21")
    await trio.sleep(0.01)
    assert network.server.counters.wrong_source == 1
    assert server.counters.gre_received == 0


@pytest.mark.parametrize("keys", [None, KEY], ids=["clear", "MPPE-128 stateless"])
async def test_calls_over_a_terrible_link_lose_what_it_drops_and_nothing_else(autojump_clock, nursery, keys):
    network = await running(nursery, TerribleLink(seed=5))
    pairs = [open_pair(network, call, keys) for call in range(10)]
    for _, client, *_ in pairs:
        client.send_frame(b"\xc0\x21")  # as in every call; and where 1 overtakes 0, the call began with 1 and 0 is late
    await trio.sleep(0.1)
    for number in range(200):
        for _, client, *_ in pairs:
            client.inject(packet(number))
        await trio.sleep(0.002)
    await trio.sleep(1)
    received = 0
    for server, client, server_owner, _ in pairs:
        numbers = [number_of(inner) for inner in server.delivered]
        received += len(numbers)
        counters = server.counters
        assert numbers == sorted(set(numbers))
        assert counters.undecryptable == 0
        assert counters.late == 0
        assert server_owner.failures == []
        assert counters.gre_received == len(server_owner.frames) + len(numbers) + counters.duplicate
        assert client.counters.acknowledged >= max(numbers) - 20
    assert 0.93 < received / 2000 < 0.97
    assert all(server.counters.reordered > 5 for server, *_ in pairs)


def test_the_terrible_link_does_the_same_for_the_same_seed():
    def history(seed: int, others: int) -> list:
        link = TerribleLink(seed=seed)
        mine = bytes.fromhex("3001880b 0000 0042 00000000")
        fates = []
        for _ in range(300):
            for other in range(others):
                link.delays(mine[:6] + bytes([1, other]), to_server=True)
            fates.append(tuple(link.delays(mine, to_server=True)))
        return fates

    assert history(1, others=0) == history(1, others=3)
    assert history(1, others=0) != history(2, others=0)
    fates = history(1, others=0)
    assert {len(fate) for fate in fates} == {0, 1, 2}
    assert all(0.02 <= delay <= 0.031 for fate in fates for delay in fate)


def lonely_path(owner: QuietOwner, delivered: list) -> GreCallPath:
    ports = Ports(
        send_gre=lambda sent: None,
        deliver=delivered.append,
        report=delivered.append,
        call_at=lambda deadline, action: None,
        network_changed=lambda path, network: None,
        closed=lambda path: None,
    )
    endpoint = CallEndpoint(call_id=1, peer_call_id=2, local=SERVER, peer=CLIENT)
    path = GreCallPath(endpoint, owner, ports, GreSettings())
    path.open_network(parameters(peer_address=None))
    return path


@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from([None, KEY, STATEFUL]), st.integers(0, 20))
def test_no_octets_from_either_side_break_a_path(pieces, keys, cut):
    owner, delivered = QuietOwner(), []
    path = lonely_path(owner, delivered)
    path.set_encryption(keys, keys)
    for number, octets in enumerate(pieces):
        head = (
            bytes.fromhex("3081880b") + len(octets).to_bytes(2, "big") + b"\0\1" + number.to_bytes(4, "big") + bytes(4)
        )
        path.packet_from_peer(head + octets, 0, 0.0)
        path.packet_from_peer((head + octets)[cut:], 0, 0.0)
        path.packet_from_peer(head + b"\xff\x03\x00\xfd" + octets[:0], 0, 0.0)
        path.packet_from_network(octets, 0.0)
        path.packet_from_network(b"\x45" + octets[1:2] + len(octets).to_bytes(2, "big") + octets[4:], 0.0)
    path.wake(99.0)
    assert owner.failures == []


def test_what_the_kernel_does_not_take_is_counted_and_nothing_else():
    def refuse(sent: bytes) -> None:
        raise PermissionError("a firewall")

    owner = QuietOwner()
    ports = Ports(refuse, refuse, refuse, lambda *_: None, lambda *_: None, lambda *_: None)
    path = GreCallPath(CallEndpoint(call_id=1, peer_call_id=2, local=SERVER, peer=CLIENT), owner, ports, GreSettings())
    path.open_network(parameters(peer_address=None))
    path.send_frame(b"\xc0\x21")
    path.packet_from_network(ipv4_packet(INNER_SERVER, INNER_CLIENT), 0.0)
    path.packet_from_network(ipv4_packet(INNER_SERVER, INNER_CLIENT, bytes(1300), dont_fragment=True), 0.0)
    arriving = ipv4_packet(INNER_CLIENT, INNER_SERVER)
    header = bytes.fromhex("3001880b") + (len(arriving) + 1).to_bytes(2, "big") + bytes.fromhex("0001 00000000 21")
    path.packet_from_peer(header + arriving, 0, 0.0)
    assert path.counters.send_failed == 4
    assert (path.counters.packets_in, path.counters.packets_out) == (0, 0)
    assert owner.failures == []


def test_random_frames_reach_the_owner_whole():
    dice = random.Random(3)
    owner = QuietOwner()
    path = lonely_path(owner, [])
    frames = [b"\xc0\x21" + dice.randbytes(dice.randrange(60)) for _ in range(50)]
    for number, frame in enumerate(frames):
        size = len(frame).to_bytes(2, "big")
        path.packet_from_peer(bytes.fromhex("3001880b") + size + b"\0\1" + number.to_bytes(4, "big") + frame, 0, 0.0)
    assert owner.frames == [(frame, False) for frame in frames]
