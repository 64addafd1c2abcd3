"""PPP frames with compressed and full fields, packets with padding, and every way in which they can be too short."""

import pytest

from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.frames import Code, Packet, Protocol, build_frame, protocol_name, split_frame


@pytest.mark.parametrize(
    ("frame", "number", "information"),
    [
        ("ff03 c021 0101", 0xC021, "0101"),
        ("c021 0101", 0xC021, "0101"),
        ("ff03 0021 45", 0x0021, "45"),
        ("ff03 21 45", 0x0021, "45"),
        ("21 45", 0x0021, "45"),
        ("fd 1000", 0x00FD, "1000"),
        ("0021", 0x0021, ""),
        ("21", 0x0021, ""),
        ("c022 01", 0xC022, "01"),  # even, so nobody's (RFC 1661 §2)
    ],
)
def test_fields_may_be_compressed(frame, number, information):
    assert split_frame(bytes.fromhex(frame)) == (number, bytes.fromhex(information))


@pytest.mark.parametrize("frame", ["", "ff03", "c0", "ff03 c0", "00"])
def test_a_frame_without_a_protocol_is_malformed(frame):
    with pytest.raises(MalformedPacket):
        split_frame(bytes.fromhex(frame))


def test_lcp_is_always_sent_in_full():
    assert build_frame(Protocol.LCP, b"\x01", acfc=True) == bytes.fromhex("ff03 c021 01")
    assert build_frame(Protocol.CCP, b"\x01", acfc=True) == bytes.fromhex("80fd 01")
    assert build_frame(Protocol.CCP, b"\x01") == bytes.fromhex("ff03 80fd 01")


def test_a_packet_there_and_back():
    packet = Packet(Code.ECHO_REQUEST, 7, b"\x01\x02\x03\x04")
    assert packet.encode() == bytes.fromhex("0907 0008 01020304")
    assert Packet.decode(packet.encode(), "LCP") == packet


def test_octets_past_the_length_are_padding():
    assert Packet.decode(bytes.fromhex("0501 0004 ffff"), "LCP") == Packet(Code.TERMINATE_REQUEST, 1)


@pytest.mark.parametrize("size", range(8))
def test_every_truncation_is_malformed(size):
    with pytest.raises(MalformedPacket):
        Packet.decode(bytes.fromhex("0907 0008 01020304")[:size], "LCP")


@pytest.mark.parametrize("length", range(4))
def test_a_length_shorter_than_the_header_is_malformed(length):
    with pytest.raises(MalformedPacket, match=f"Length field of {length} octets"):
        Packet.decode(bytes((1, 1, 0, length)) + bytes(4), "LCP")


def test_protocols_have_names_where_we_know_one():
    assert protocol_name(0x8057) == "IPV6CP"
    assert protocol_name(0x0281) == "0x0281"
