"""Inner IPv4 packets: checksums against a slow reference, MSS clamping, fragmentation, ICMP messages."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poptrio.datapath.packets import (
    TokenBucket,
    checksum,
    clamp_mss,
    fragmentation_needed,
    fragments,
    ipv4_length,
    may_fragment,
)

CLIENT = IPv4Address("10.90.0.2").packed
SERVER = IPv4Address("10.90.0.1").packed
ELSEWHERE = IPv4Address("192.0.2.7").packed

DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000

NOP, MSS_1460, SACK_PERMITTED, TIMESTAMPS = b"\1", b"\2\4\5\xb4", b"\4\2", b"\x08\x0a" + bytes(8)


def slow_checksum(data: bytes) -> int:
    """RFC 1071 §4.1, word by word."""
    total = 0
    for index in range(0, len(data), 2):
        total += int.from_bytes(data[index : index + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    payload: bytes,
    *,
    protocol: int = 17,
    source: bytes = ELSEWHERE,
    destination: bytes = CLIENT,
    flags_and_offset: int = 0,
    options: bytes = b"",
) -> bytes:
    length = 20 + len(options) + len(payload)
    header = bytes([0x40 | (20 + len(options)) // 4, 0]) + length.to_bytes(2, "big") + b"\x12\x34"
    header += flags_and_offset.to_bytes(2, "big") + bytes([64, protocol])
    rest = source + destination + options
    return header + slow_checksum(header + b"\0\0" + rest).to_bytes(2, "big") + rest + payload


def tcp_checksum_is_right(packet: bytes) -> bool:
    start = (packet[0] & 15) * 4
    segment = packet[start:]
    pseudo = packet[12:20] + b"\0\6" + len(segment).to_bytes(2, "big")
    return slow_checksum(pseudo + segment) == 0


def tcp(options: bytes, *, flags: int = 0x02, payload: bytes = b"", ip_options: bytes = b"") -> bytes:
    options += b"\0" * (-len(options) % 4)
    head = bytes.fromhex("c0de 01bb 11223344 55667788") + bytes([(20 + len(options)) // 4 << 4, flags])
    head += b"\xfa\xf0"
    rest = b"\0\0" + options + payload
    pseudo = ELSEWHERE + CLIENT + b"\0\6" + (18 + len(rest)).to_bytes(2, "big")
    total = slow_checksum(pseudo + head + b"\0\0" + rest)
    return ipv4(head + total.to_bytes(2, "big") + rest, protocol=6, options=ip_options)


# Checks


def test_length_of_a_good_packet_with_and_without_padding():
    packet = ipv4(b"x" * 10)
    assert ipv4_length(packet) == 30
    assert ipv4_length(packet + bytes(16)) == 30


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        ipv4(b"x")[:19],
        ipv4(b"x" * 10)[:29],
        b"\x65" + ipv4(b"x")[1:],
        b"\x44" + ipv4(b"x")[1:],
        b"\x4f" + ipv4(b"x")[1:],
        ipv4(b"x")[:2] + b"\0\x13" + ipv4(b"x")[4:],
    ],
    ids=["nothing", "short header", "cut off", "IPv6", "header of 16", "header over the end", "length below header"],
)
def test_no_packet_has_no_length(packet):
    assert ipv4_length(packet) == 0


@given(st.binary(max_size=100))
def test_checksum_is_that_of_the_rfc(data):
    assert checksum(data) == slow_checksum(data)


@pytest.mark.parametrize(
    "data", [b"", bytes(4), b"\xff\xff", b"\xff\xff\0\0", b"\xff\xff\xff\xff", b"\xff", b"\0\1\xff\xfe"]
)
def test_checksum_of_both_zeros(data):
    assert checksum(data) == slow_checksum(data)


# MSS


@pytest.mark.parametrize("flags", [0x02, 0x12], ids=["SYN", "SYN and ACK"])
@pytest.mark.parametrize(
    "options",
    [
        MSS_1460,
        MSS_1460 + SACK_PERMITTED + TIMESTAMPS,
        NOP + NOP + TIMESTAMPS + MSS_1460,
        NOP + MSS_1460 + NOP + SACK_PERMITTED,
    ],
    ids=["alone", "first", "last", "at an odd place"],
)
def test_mss_is_lowered_and_the_checksum_stays_right(options, flags):
    packet = tcp(options, flags=flags)
    assert tcp_checksum_is_right(packet)
    clamped = clamp_mss(packet, 1400)
    assert MSS_1460 not in clamped
    assert b"\2\4" + (1360).to_bytes(2, "big") in clamped
    assert tcp_checksum_is_right(clamped)
    assert len(clamped) == len(packet)


@given(st.integers(0, 0xFFFF), st.integers(576, 1500), st.booleans(), st.integers(0, 0xFFFF))
def test_any_mss_and_any_checksum(mss, mtu, odd, filling):
    packet = tcp((NOP if odd else b"") + b"\2\4" + mss.to_bytes(2, "big"), payload=filling.to_bytes(2, "big"))
    clamped = clamp_mss(packet, mtu)
    position = packet.index(b"\2\4", 40) + 2
    assert int.from_bytes(clamped[position : position + 2], "big") == min(mss, mtu - 40)
    assert tcp_checksum_is_right(clamped)


@pytest.mark.parametrize(
    "packet",
    [
        tcp(MSS_1460, flags=0x10),
        tcp(b"\2\4\2\x18"),
        tcp(b""),
        tcp(b"\0" + MSS_1460),
        tcp(b"\2\3\5\xb4"),
        tcp(b"\3\0" + MSS_1460),
        tcp(MSS_1460)[:-4],
        tcp(MSS_1460)[:39],
        ipv4(tcp(MSS_1460)[20:], protocol=6, flags_and_offset=100),
    ],
    ids=[
        "no SYN",
        "small enough",
        "no option",
        "after the end of options",
        "wrong length",
        "option of length 0",
        "option cut off",
        "header cut off",
        "later fragment",
    ],
)
def test_what_is_left_alone(packet):
    assert clamp_mss(packet, 1400) == packet


def test_syn_behind_ip_options():
    packet = tcp(MSS_1460, ip_options=b"\x94\4\0\0")
    clamped = clamp_mss(packet, 1400)
    assert clamped != packet
    assert tcp_checksum_is_right(clamped)


# ICMP


def test_fragmentation_needed_to_the_octet():
    packet = ipv4(bytes(range(200)) * 7, flags_and_offset=DONT_FRAGMENT)
    message = fragmentation_needed(packet, 1300, SERVER)
    assert message is not None
    assert ipv4_length(message) == len(message) == 576
    assert (message[9], message[12:16], message[16:20]) == (1, SERVER, ELSEWHERE)
    assert slow_checksum(message[:20]) == 0
    assert slow_checksum(message[20:]) == 0
    assert message[20:22] + message[24:28] == bytes.fromhex("0304 0000 0514")
    assert packet.startswith(message[28:])


@pytest.mark.parametrize(
    ("what", "packet"),
    [
        ("ICMP error", ipv4(b"\3\1" + bytes(30), protocol=1)),
        ("ICMP without a type", ipv4(b"", protocol=1)),
        ("later fragment", ipv4(bytes(30), flags_and_offset=8)),
        ("multicast source", ipv4(bytes(30), source=bytes([224, 0, 0, 5]))),
        ("broadcast source", ipv4(bytes(30), source=bytes([255] * 4))),
        ("no source", ipv4(bytes(30), source=bytes(4))),
        ("loopback source", ipv4(bytes(30), source=bytes([127, 0, 0, 1]))),
    ],
)
def test_no_message_where_it_is_forbidden(what, packet):
    assert fragmentation_needed(packet, 576, SERVER) is None, what


def test_echo_requests_and_first_fragments_get_their_message():
    assert fragmentation_needed(ipv4(b"\x08\0" + bytes(30), protocol=1), 576, SERVER)
    assert fragmentation_needed(ipv4(bytes(30), flags_and_offset=DONT_FRAGMENT | MORE_FRAGMENTS), 576, SERVER)


# Fragmentation


def reassembled(parts: list[bytes]) -> tuple[bytes, bool]:
    """The payload of fragments in order, and whether more would follow."""
    payload = b""
    first_offset = (int.from_bytes(parts[0][6:8], "big") & 0x1FFF) * 8
    more = True
    for part in parts:
        assert more
        assert slow_checksum(part[: (part[0] & 15) * 4]) == 0
        assert ipv4_length(part) == len(part)
        fields = int.from_bytes(part[6:8], "big")
        assert (fields & 0x1FFF) * 8 == first_offset + len(payload)
        more = bool(fields & MORE_FRAGMENTS)
        payload += part[(part[0] & 15) * 4 :]
    return payload, more


@pytest.mark.parametrize("size", [1381, 1400, 2752, 2753, 8000])
def test_fragments_make_up_the_packet(size):
    packet = ipv4(bytes(index % 251 for index in range(size)))
    parts = list(fragments(packet, 1400))
    assert all(len(part) <= 1400 for part in parts)
    assert len(parts) == -(-size // 1376)
    assert reassembled(parts) == (packet[20:], False)
    assert {part[4:6] for part in parts} == {packet[4:6]}


def test_a_fragment_is_fragmented_again():
    packet = ipv4(bytes(range(240)) * 5, flags_and_offset=MORE_FRAGMENTS | 50)
    parts = list(fragments(packet, 600))
    assert int.from_bytes(parts[0][6:8], "big") == MORE_FRAGMENTS | 50
    assert reassembled(parts) == (packet[20:], True)


def test_only_copied_options_are_in_later_fragments():
    router_alert, record_route = b"\x94\4\0\0", b"\7\7\4\0\0\0\0"
    packet = ipv4(bytes(1000), options=NOP + record_route + router_alert)
    parts = list(fragments(packet, 576))
    assert parts[0][20:32] == packet[20:32]
    assert [part[20:24] for part in parts[1:]] == [router_alert] * (len(parts) - 1)
    assert reassembled(parts) == (bytes(1000), False)


def test_no_room_for_a_fragment():
    assert list(fragments(ipv4(bytes(100)), 27)) == []


def test_may_fragment():
    assert may_fragment(ipv4(b""))
    assert not may_fragment(ipv4(b"", flags_and_offset=DONT_FRAGMENT))


@given(st.binary(min_size=20, max_size=120), st.integers(68, 100))
def test_no_octets_raise(octets, mtu):
    packet = bytes([0x45 | octets[0] & 15]) + octets[1:2] + len(octets).to_bytes(2, "big") + octets[4:]
    if ipv4_length(packet):
        assert len(clamp_mss(packet, mtu)) == len(packet)
        fragmentation_needed(packet, mtu, SERVER)
        for part in fragments(packet, mtu):
            assert ipv4_length(part) == len(part) <= mtu


# Rate limit


def test_token_bucket():
    bucket = TokenBucket(rate=2.0, burst=3.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5) for _ in range(2)] == [True, False]
    assert [bucket.take(99.0) for _ in range(4)] == [True, True, True, False]
