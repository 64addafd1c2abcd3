"""Bounds-checked reading: what fits is read, what does not is a `MalformedPacket` that says where."""

import pytest

from poptrio.errors import MalformedPacket
from poptrio.protocols.wire import Reader, type_length_values


def test_fields_are_read_in_network_order():
    reader = Reader(bytes.fromhex("01 0203 04050607 0809"), "packet")
    assert (reader.u8(), reader.u16(), reader.u32(), reader.take(1), reader.rest()) == (
        1,
        0x0203,
        0x04050607,
        b"\x08",
        b"\x09",
    )
    reader.end()


def test_a_memoryview_is_read_like_bytes():
    assert Reader(memoryview(b"\x01\x02"), "packet").rest() == b"\x01\x02"


@pytest.mark.parametrize(("read", "size"), [("u8", 1), ("u16", 2), ("u32", 4)])
def test_a_field_past_the_end_is_malformed(read, size):
    for have in range(size):
        with pytest.raises(MalformedPacket, match=f"packet: {size} octets needed at offset 0, {have} left"):
            getattr(Reader(bytes(have), "packet"), read)()


def test_a_negative_length_is_malformed():
    with pytest.raises(MalformedPacket):
        Reader(b"\x01\x02", "packet").take(-1)


def test_octets_too_many_are_malformed():
    reader = Reader(b"\x01\x02\x03", "packet")
    reader.u8()
    with pytest.raises(MalformedPacket, match="packet: 2 octets too many"):
        reader.end()


def test_options_come_in_order_and_may_be_empty():
    assert list(type_length_values(bytes.fromhex("0104 0578 0702 0702"), "list")) == [
        (1, b"\x05\x78"),
        (7, b""),
        (7, b""),
    ]
    assert list(type_length_values(b"", "list")) == []


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("01", "one stray octet"),
        ("0702 01", "one stray octet"),
        ("0100", "option 1 at offset 0 claims 0 octets"),
        ("0101", "option 1 at offset 0 claims 1 octets"),
        ("0702 0104 05", "option 1 at offset 2 claims 4 octets"),
        ("01ff", "claims 255 octets"),
    ],
)
def test_an_option_with_a_lying_length_is_malformed(octets, why):
    with pytest.raises(MalformedPacket, match=why):
        list(type_length_values(bytes.fromhex(octets), "list"))
