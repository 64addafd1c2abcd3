"""pcapng: what is written can be read again, whatever the pieces, and by others as the draft says."""

import pytest

from poptrio.observe.pcapng import (
    LINKTYPE_PPP,
    LINKTYPE_RAW,
    Description,
    Interface,
    Packet,
    Reader,
    Statistics,
    begin,
    packet_block,
    statistics_block,
)

INTERFACES = (Interface(LINKTYPE_RAW, "gre", "GRE as on the wire"), Interface(LINKTYPE_PPP, "ppp", "decrypted"))
NOW = 1_700_000_000_123_456_789
WHOLE = (
    begin("poptrio 1", "call 7 of Zoë", INTERFACES)
    + packet_block(0, NOW, b"odd", inbound=True)
    + packet_block(1, NOW + 1, b"", inbound=False)
    + statistics_block(1, NOW, NOW + 2, received=70_000, dropped=3, comment="the capture ended")
)
FOUND = [
    *map(Description, INTERFACES),
    Packet(0, NOW, b"odd", True),
    Packet(1, NOW + 1, b"", False),
    Statistics(1, 70_000, 3, "the capture ended"),
]


@pytest.mark.parametrize("piece", [1, 7, len(WHOLE)])
def test_what_is_written_is_read_again(piece):
    reader, found = Reader(), []
    for start in range(0, len(WHOLE), piece):
        found += reader.feed(WHOLE[start : start + piece])
    assert found == FOUND
    assert reader.comment == "call 7 of Zoë"


def test_an_enhanced_packet_block_octet_by_octet():
    """Figure 11 of the draft, with the option epb_flags of §4.3."""
    time = NOW.to_bytes(8, "big")
    assert packet_block(2, NOW, b"abcde", inbound=True) == (
        b"\x06\0\0\0" + b"\x34\0\0\0" + b"\x02\0\0\0" + time[3::-1] + time[:3:-1] + b"\x05\0\0\0" * 2 + b"abcde\0\0\0"
        b"\x02\0\x04\0" + b"\x01\0\0\0" + b"\0\0\0\0" + b"\x34\0\0\0"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>no</body></html>",
        b"\x06\0\0\0" + b"\x0c\0\0\0" + b"\x0d\0\0\0",
        b"\x06\0\0\0" + b"\x0c\0\0\0" * 2,
        b"\x07\0\0\0" + b"\x0c\0\0\0" * 2,
    ],
    ids=["html", "two lengths", "too short", "a foreign type"],
)
def test_what_is_no_capture_is_refused(data):
    with pytest.raises(ValueError, match="this is no capture"):
        list(Reader().feed(data))
