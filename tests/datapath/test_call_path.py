"""The contract of `CallPath`, over memory, over real sockets and TUNs, and in the kernel where it has PPTP.

A packet that must not pass is followed by one that may: what arrives first shows that the other was dropped.
"""

from ipaddress import IPv4Address, IPv4Network

import pytest

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.errors import LocalProtocolError
from poptrio.protocols.gre import ACKNOWLEDGE_AFTER
from poptrio.testing.inner_packets import ipv4_packet

SERVER, CLIENT = IPv4Address("10.90.0.1"), IPv4Address("10.90.0.2")
BEHIND_SERVER = IPv4Address("198.51.100.7")  # the client routes it through the call
STRANGER = IPv4Address("203.0.113.9")

TO_SERVER = MppeParameters(bits=128, stateless=True, start_key=bytes(range(16)))
TO_CLIENT = MppeParameters(bits=128, stateless=True, start_key=bytes(range(16, 32)))
STATEFUL = MppeParameters(bits=40, stateless=False, start_key=bytes(range(8)))

MARKER = ipv4_packet(SERVER, CLIENT, b"marker")
BACK_MARKER = ipv4_packet(CLIENT, SERVER, b"marker")


async def encrypt(pair, to_server=TO_SERVER, to_client=TO_CLIENT) -> None:
    await pair.encrypt(to_server, to_client)


def syn(source: IPv4Address, destination: IPv4Address) -> bytes:
    segment = bytes.fromhex("c0de01bb 11223344 00000000 6002faf0 0000 0000 020405b4")
    return ipv4_packet(source, destination, segment, protocol=6)


# Control frames


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ("ff03 c021 0901 0008 00000000", "c021 0901 0008 00000000"),
        ("c021 0901 0008 00000000", "c021 0901 0008 00000000"),
        ("ff03 8021 0101 0004", "8021 0101 0004"),
        ("8021 0101 0004", "8021 0101 0004"),
        ("ff03 0057 60", "0057 60"),
        ("57 60", "0057 60"),
    ],
)
async def test_control_frames_arrive_with_their_whole_protocol_field(pair, sent, arrived):
    pair.client.path.send_frame(bytes.fromhex(sent))
    assert await pair.server.owner.frame() == (bytes.fromhex(arrived), False)
    pair.server.path.send_frame(bytes.fromhex(sent))
    assert await pair.client.owner.frame() == (bytes.fromhex(arrived), False)


async def test_control_frames_keep_their_order(pair):
    for number in range(30):  # Linux keeps 32 frames for a reader
        pair.client.path.send_frame(b"\xc0\x21" + bytes([number]))
    assert [(await pair.server.owner.frame())[0][2] for _ in range(30)] == list(range(30))


async def test_unencrypted_frames_of_the_owner_stay_so_under_mppe(pair):
    await encrypt(pair)
    pair.client.path.send_frame(b"\x80\xfd\x05\x01\x00\x04")
    assert await pair.server.owner.frame() == (b"\x80\xfd\x05\x01\x00\x04", False)


@pytest.mark.not_in_kernel("it drops encrypted packets of other protocols")
async def test_encrypted_frames_that_are_not_ip_are_marked(pair):
    """A client may encrypt what we never do; made here from the encryptor of the data path's own peer."""
    await encrypt(pair)
    pair.open()
    frame = pair.client.path._encryptor.encrypt(b"\x00\x57ipv6")
    pair.client.path.send_frame(b"\xfd" + frame)
    assert await pair.server.owner.frame() == (b"\x00\x57ipv6", True)


@pytest.mark.not_in_kernel("it lets packets pass some milliseconds after IPCP is up")
async def test_a_frame_that_opens_the_network_is_in_time_for_the_packet_behind_it(pair):
    pair.client.open()
    pair.server.owner.on_frame = lambda frame: pair.server.open()
    pair.client.path.send_frame(b"\x80\x21\x02\x01\x00\x04")
    pair.client.inject(BACK_MARKER)
    assert await pair.server.receive() == BACK_MARKER


# IP packets


@pytest.mark.parametrize("compressed", [True, False], ids=["PFC and ACFC", "no PFC, no ACFC"])
@pytest.mark.parametrize("encryption", [None, "stateless", "stateful"])
async def test_packets_cross_both_ways(pair, encryption, compressed):
    if encryption:
        await encrypt(pair, *((TO_SERVER, TO_CLIENT) if encryption == "stateless" else (STATEFUL, STATEFUL)))
    pair.open(encryption_required=bool(encryption), pfc=compressed, acfc=compressed)
    for number in range(300):
        there = ipv4_packet(CLIENT, SERVER, number.to_bytes(2, "big"))
        back = ipv4_packet(SERVER, CLIENT, number.to_bytes(2, "big") * 100)
        pair.client.inject(there)
        assert await pair.server.receive() == there
        pair.server.inject(back)
        assert await pair.client.receive() == back
    counters = pair.server.path.counters
    assert (counters.packets_in, counters.bytes_in) == (300, 300 * 22)
    assert (counters.packets_out, counters.bytes_out) == (300, 300 * 220)
    assert counters.last_received > 0 < counters.last_sent
    assert "acknowledged" in pair.server.untold or counters.acknowledged >= 299


async def test_no_packet_before_the_network_is_open_or_after_it_closed(pair):
    pair.client.open()
    pair.client.inject(BACK_MARKER)
    await pair.server.counted("no_network", 1)
    pair.server.open()
    pair.server.path.close_network()
    pair.server.path.close_network()
    pair.client.inject(BACK_MARKER)
    await pair.server.counted("no_network", 2)
    assert pair.server.path.counters.packets_in == 0


async def test_parameters_may_change_while_open(pair):
    pair.open()
    pair.open(mtu=1000, pfc=False)
    pair.server.inject(MARKER)
    assert await pair.client.receive() == MARKER


async def test_unchanged_encryption_keeps_its_state(pair):
    await encrypt(pair, STATEFUL, STATEFUL)
    pair.open(encryption_required=True)
    pair.server.inject(MARKER)
    assert await pair.client.receive() == MARKER
    pair.client.path.set_encryption(STATEFUL, STATEFUL)
    pair.server.inject(MARKER)
    assert await pair.client.receive() == MARKER
    assert pair.client.path.counters.undecryptable == 0


async def test_encryption_that_ended_is_not_used(pair):
    await encrypt(pair)
    pair.open()
    pair.server.path.set_encryption(None, None)
    pair.client.path.set_encryption(None, None)
    pair.server.inject(MARKER)
    assert await pair.client.receive() == MARKER
    assert pair.client.path.counters.undecryptable == 0


# Security


async def test_clear_text_is_not_accepted_where_encryption_is_required(pair):
    await encrypt(pair)
    pair.open()
    pair.server.open(encryption_required=True)
    pair.client.path.set_encryption(None, TO_CLIENT)
    pair.client.inject(ipv4_packet(CLIENT, SERVER, b"in the clear"))
    await pair.server.counted("clear_text", 1)
    pair.client.path.set_encryption(TO_SERVER, TO_CLIENT)
    pair.client.inject(BACK_MARKER)
    assert await pair.server.receive() == BACK_MARKER


async def test_clear_text_does_not_leave_where_encryption_is_required(pair):
    pair.open()
    pair.client.open(encryption_required=True)
    pair.client.inject(ipv4_packet(CLIENT, SERVER, b"would be in the clear"))
    await pair.client.counted("clear_text", 1)
    pair.client.open()
    pair.client.inject(BACK_MARKER)
    assert await pair.server.receive() == BACK_MARKER


async def test_encrypted_packets_without_a_key_are_dropped(pair):
    await encrypt(pair)
    pair.server.path.set_encryption(None, None)
    pair.open()
    pair.client.inject(BACK_MARKER)
    await pair.server.counted("undecryptable", 1)
    assert pair.server.owner.frames() == []


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_client_sends_from_its_own_address_only(pair, encrypted):
    if encrypted:
        await encrypt(pair)
    pair.open()
    pair.client.inject(ipv4_packet(IPv4Address("10.90.0.3"), SERVER, b"as another client"))
    pair.client.inject(ipv4_packet(STRANGER, SERVER, b"as a stranger"))
    pair.client.inject(BACK_MARKER)
    assert await pair.server.receive() == BACK_MARKER
    assert pair.server.has_counted("foreign_source", 2)


async def test_a_client_sends_from_the_networks_behind_it(pair):
    pair.open()
    pair.server.open(routes=(IPv4Network("203.0.113.0/24"),))
    packet = ipv4_packet(STRANGER, SERVER, b"from behind the client")
    pair.client.inject(packet)
    assert await pair.server.receive() == packet
    pair.client.inject(ipv4_packet(IPv4Address("203.0.114.9"), SERVER, b"just beside"))
    pair.client.inject(BACK_MARKER)
    assert await pair.server.receive() == BACK_MARKER
    assert pair.server.has_counted("foreign_source", 1)


async def test_the_client_accepts_any_source(pair):
    pair.open()
    packet = ipv4_packet(BEHIND_SERVER, CLIENT, b"from the world")
    pair.server.inject(packet)
    assert await pair.client.receive() == packet


@pytest.mark.not_in_kernel("it leaves that to the IP layer")
async def test_what_is_no_packet_is_dropped(pair):
    pair.open()
    for junk in (b"", b"E", b"\x60" + bytes(40), ipv4_packet(CLIENT, SERVER, b"cut off")[:-1]):
        pair.client.path.send_frame(b"\xff\x03\x00\x21" + junk)
    pair.client.path.send_frame(b"\xff\x03\x21")
    pair.client.path.send_frame(b"\x00\x21" + BACK_MARKER + b"padding")
    assert await pair.server.receive() == BACK_MARKER
    assert pair.server.path.counters.malformed == 5
    assert pair.server.owner.frames() == []


# Size


@pytest.mark.not_in_kernel("it leaves that to the IP layer")
async def test_a_packet_too_big_for_the_call_is_told_to_its_sender(pair):
    pair.open()
    packet = ipv4_packet(BEHIND_SERVER, CLIENT, bytes(1300), dont_fragment=True)
    pair.server.inject(packet)
    pair.server.inject(MARKER)
    assert await pair.client.receive() == MARKER
    assert pair.server.has_counted("too_big", 1)


@pytest.mark.not_in_kernel("it leaves that to the IP layer")
async def test_a_packet_that_may_be_fragmented_is(pair):
    pair.open()
    packet = ipv4_packet(SERVER, CLIENT, bytes(index % 251 for index in range(1300)))
    pair.server.inject(packet)
    first, second = await pair.client.receive(), await pair.client.receive()
    assert len(first) <= 1200
    assert first[20:] + second[20:] == packet[20:]
    assert pair.server.path.counters.too_big == 0


async def test_full_size_packets_pass_under_encryption(pair):
    await encrypt(pair)
    pair.open(encryption_required=True)
    packet = ipv4_packet(SERVER, CLIENT, bytes(1180), dont_fragment=True)
    pair.server.inject(packet)
    assert await pair.client.receive() == packet


@pytest.mark.not_in_kernel("it clamps forwarded packets only, by the packet filter")
@pytest.mark.parametrize(("clamp", "mss"), [(True, 1160), (False, 1460)])
async def test_mss_is_clamped_both_ways(pair, clamp, mss):
    pair.server.open(clamp_mss=clamp)
    pair.client.open(clamp_mss=False)
    pair.server.inject(syn(SERVER, CLIENT))
    assert (await pair.client.receive())[-2:] == mss.to_bytes(2, "big")
    pair.client.inject(syn(CLIENT, SERVER))
    assert (await pair.server.receive())[-2:] == mss.to_bytes(2, "big")


# Acknowledgements


@pytest.mark.not_in_kernel("it acknowledges with data packets only")
async def test_what_flows_one_way_is_acknowledged(pair):
    for number in range(ACKNOWLEDGE_AFTER):
        pair.client.path.send_frame(b"\xc0\x21" + bytes([number]))
    for _ in range(ACKNOWLEDGE_AFTER):
        await pair.server.owner.frame()
    pair.server.path.send_frame(b"\xc0\x21")
    await pair.client.owner.frame()
    assert pair.client.path.counters.acknowledged == ACKNOWLEDGE_AFTER
    assert pair.server.path.counters.gre_sent == 2


# The end


async def test_a_closed_path_neither_sends_nor_receives(pair):
    pair.open()
    pair.server.path.close()
    pair.server.path.close()
    pair.server.path.send_frame(b"\xc0\x21")
    pair.server.path.open_network(pair.server.parameters)
    pair.client.inject(BACK_MARKER)
    replacement = await pair.open_again()
    replacement.open_network(pair.server.parameters)
    pair.client.path.send_frame(b"\xc0\x21")
    await pair.server.owner.frame()
    assert pair.server.path.counters.gre_sent == 0
    assert pair.client.path.counters.gre_received == 0


async def test_a_path_closed_by_its_owner_in_the_middle_of_a_batch(pair):
    pair.server.owner.on_frame = lambda frame: pair.server.path.close()
    for _ in range(3):
        pair.client.path.send_frame(b"\xc0\x21")
    await pair.server.owner.frame()
    await pair.open_again()
    assert pair.server.owner.frames() == []


async def test_a_call_id_is_given_once(pair):
    with pytest.raises(LocalProtocolError):
        pair.server.data_path.open_call(pair.server.path.endpoint, pair.server.owner)


async def test_a_bug_in_one_call_ends_that_call_only(pair):
    def bug(frame: bytes) -> None:
        raise KeyError("a bug")

    pair.server.owner.on_frame = bug
    pair.client.path.send_frame(b"\xc0\x21")
    await pair.server.owner.frame()
    assert pair.server.owner.failures == ["an error inside the data path: KeyError('a bug')"]
    pair.server.owner.on_frame = lambda frame: None
    await pair.open_again()
    pair.client.path.send_frame(b"\xc0\x23")
    assert await pair.server.owner.frame() == (b"\xc0\x23", False)
