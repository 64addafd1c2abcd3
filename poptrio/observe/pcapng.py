"""Captures as pcapng writes them (draft-ietf-opsawg-pcapng): blocks out, and blocks in again.

Block types and options have the numbers of §4 of the draft. All is little-endian; times are nanoseconds since 1970.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from struct import error as StructError

LINKTYPE_PPP = 9
"""https://www.tcpdump.org/linktypes.html: PPP with address and control, without FCS."""

LINKTYPE_RAW = 101
"""Packets that begin with an IP header."""


class BlockType(IntEnum):
    """The blocks that are written here."""

    INTERFACE_DESCRIPTION = 1
    INTERFACE_STATISTICS = 5
    ENHANCED_PACKET = 6
    SECTION_HEADER = 0x0A0D0D0A


_ORDER = 0x1A2B3C4D
_SECTION = Struct("<IHHq")
_INTERFACE = Struct("<HHI")
_PACKET = Struct("<IIIII")
_STATISTICS = Struct("<III")
_HEAD = Struct("<II")
_LENGTH = Struct("<I")
_OPTION = Struct("<HH")

_END_OF_OPTIONS = 0
_COMMENT = 1
_SECTION_APPLICATION = 4
_INTERFACE_NAME, _INTERFACE_DESCRIPTION, _INTERFACE_RESOLUTION = 2, 3, 9
_PACKET_FLAGS = 2
_STATISTICS_START, _STATISTICS_END, _STATISTICS_RECEIVED, _STATISTICS_DROPPED = 2, 3, 4, 5

INBOUND, OUTBOUND = 1, 2
"""Of a packet's flags."""

LARGEST_BLOCK = 1 << 20
"""Octets of a block that is read; ours are far smaller."""

_FLAGS = {inbound: _OPTION.pack(_PACKET_FLAGS, 4) + _LENGTH.pack(inbound) + bytes(4) for inbound in (INBOUND, OUTBOUND)}


@dataclass(frozen=True, slots=True)
class Interface:
    """One of the places where packets were seen: what they begin with, and how it is called."""

    link_type: int
    name: str
    description: str


def begin(application: str, comment: str, interfaces: Sequence[Interface]) -> bytes:
    """What a file begins with; packets name an interface by its place in ``interfaces``."""
    options = _text(_COMMENT, comment) + _text(_SECTION_APPLICATION, application)
    blocks = [_block(BlockType.SECTION_HEADER, _SECTION.pack(_ORDER, 1, 0, -1) + _ended(options))]
    for interface in interfaces:
        options = (
            _text(_INTERFACE_NAME, interface.name)
            + _text(_INTERFACE_DESCRIPTION, interface.description)
            + _option(_INTERFACE_RESOLUTION, b"\x09")
        )
        body = _INTERFACE.pack(interface.link_type, 0, 0) + _ended(options)
        blocks.append(_block(BlockType.INTERFACE_DESCRIPTION, body))
    return b"".join(blocks)


def packet_block(interface: int, time: int, packet: bytes, *, inbound: bool) -> bytes:
    """One packet."""
    length = len(packet)
    body = _PACKET.pack(interface, time >> 32, time & 0xFFFFFFFF, length, length) + _padded(packet)
    return _block(BlockType.ENHANCED_PACKET, body + _FLAGS[INBOUND if inbound else OUTBOUND])


def statistics_block(interface: int, begun: int, ended: int, received: int, dropped: int, comment: str) -> bytes:
    """What became of one interface: how many packets it had, and how many of them are not in the file."""
    options = b"".join(
        (
            _text(_COMMENT, comment),
            _option(_STATISTICS_START, _time(begun)),
            _option(_STATISTICS_END, _time(ended)),
            _option(_STATISTICS_RECEIVED, received.to_bytes(8, "little")),
            _option(_STATISTICS_DROPPED, dropped.to_bytes(8, "little")),
        )
    )
    body = _STATISTICS.pack(interface, ended >> 32, ended & 0xFFFFFFFF) + _ended(options)
    return _block(BlockType.INTERFACE_STATISTICS, body)


def _time(nanoseconds: int) -> bytes:
    return _LENGTH.pack(nanoseconds >> 32) + _LENGTH.pack(nanoseconds & 0xFFFFFFFF)


def _block(kind: BlockType, body: bytes) -> bytes:
    length = _LENGTH.pack(len(body) + 12)
    return _LENGTH.pack(kind) + length + body + length


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + _padded(value)


def _text(code: int, text: str) -> bytes:
    return _option(code, text.encode("utf-8", "backslashreplace")[:0xFFFF]) if text else b""


def _ended(options: bytes) -> bytes:
    return options + _OPTION.pack(_END_OF_OPTIONS, 0)


# Reading, of what is written above.


@dataclass(frozen=True, slots=True)
class Description:
    """An interface that a file has."""

    interface: Interface


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of a file."""

    interface: int
    time: int
    data: bytes
    inbound: bool


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a file says of an interface at its end."""

    interface: int
    received: int
    dropped: int
    comment: str


class Reader:
    """Takes a file in pieces cut anywhere, and gives out what is in it, but the header of the section."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.comment = ""

    def feed(self, data: bytes) -> Iterator[Description | Packet | Statistics]:
        """What ``data`` completes. Raises ValueError for what `begin` and its like do not write."""
        self._data += data
        while len(self._data) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._data)
            if not 12 <= length <= LARGEST_BLOCK or length % 4:
                raise ValueError(f"this is no capture: a block of {length} octets")
            if len(self._data) < length:
                return
            body = bytes(self._data[8 : length - 4])
            if self._data[length - 4 : length] != _LENGTH.pack(length):
                raise ValueError("this is no capture: a block has two lengths")
            del self._data[:length]
            try:
                found = self._block(kind, body)
            except StructError:
                raise ValueError("this is no capture: a block is too short") from None
            if found is not None:
                yield found

    def _block(self, kind: int, body: bytes) -> Description | Packet | Statistics | None:
        match kind:
            case BlockType.SECTION_HEADER:
                self.comment = _read_text(_options(body[_SECTION.size :]), _COMMENT)
                return None
            case BlockType.INTERFACE_DESCRIPTION:
                link_type, _, _ = _INTERFACE.unpack_from(body)
                options = _options(body[_INTERFACE.size :])
                names = (_read_text(options, code) for code in (_INTERFACE_NAME, _INTERFACE_DESCRIPTION))
                return Description(Interface(link_type, *names))
            case BlockType.ENHANCED_PACKET:
                interface, high, low, length, _ = _PACKET.unpack_from(body)
                end = _PACKET.size + length
                options = _options(body[end + -length % 4 :])
                flags = int.from_bytes(options.get(_PACKET_FLAGS, b""), "little")
                return Packet(interface, high << 32 | low, body[_PACKET.size : end], flags == INBOUND)
            case BlockType.INTERFACE_STATISTICS:
                interface, _, _ = _STATISTICS.unpack_from(body)
                options = _options(body[_STATISTICS.size :])
                received, dropped = (
                    int.from_bytes(options.get(code, b""), "little")
                    for code in (_STATISTICS_RECEIVED, _STATISTICS_DROPPED)
                )
                return Statistics(interface, received, dropped, _read_text(options, _COMMENT))
            case _:
                raise ValueError(f"this is no capture of poptrio: a block of type {kind}")


def _options(data: bytes) -> dict[int, bytes]:
    options = {}
    while len(data) >= _OPTION.size:
        code, length = _OPTION.unpack_from(data)
        if code == _END_OF_OPTIONS:
            break
        options[code] = data[_OPTION.size : _OPTION.size + length]
        data = data[_OPTION.size + length + -length % 4 :]
    return options


def _read_text(options: dict[int, bytes], code: int) -> str:
    return options.get(code, b"").decode("utf-8", "replace")
