"""Bounds-checked reading of bytes: the only place where a length on the wire is trusted, because it is checked here.

Every decoder of poptrio reads through `Reader` or `type_length_values`, so that a short, long or lying length is one
error of one type, never an IndexError somewhere else.
"""

from collections.abc import Iterator
from struct import Struct

from poptrio.errors import MalformedPacket


class Reader:
    """Read big-endian fields from the front of ``data``; every method raises `MalformedPacket` past the end."""

    __slots__ = ("_data", "_position", "_what")

    def __init__(self, data: bytes | memoryview, what: str) -> None:
        self._data = data
        self._position = 0
        self._what = what

    def take(self, count: int) -> bytes:
        """The next ``count`` octets."""
        end = self._position + count
        if count < 0 or end > len(self._data):
            have = len(self._data) - self._position
            raise MalformedPacket(f"{self._what}: {count} octets needed at offset {self._position}, {have} left")
        piece = bytes(self._data[self._position : end])
        self._position = end
        return piece

    def unpack(self, layout: Struct) -> tuple[int, ...]:
        """The numbers of ``layout``, all at once."""
        return layout.unpack(self.take(layout.size))

    def u8(self) -> int:
        """One octet as an unsigned number."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two octets, big-endian."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Four octets, big-endian."""
        return int.from_bytes(self.take(4), "big")

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._data) - self._position)

    def end(self) -> None:
        """Raise `MalformedPacket` unless everything was read."""
        if self._position != len(self._data):
            raise MalformedPacket(f"{self._what}: {len(self._data) - self._position} octets too many")


def type_length_values(data: bytes, what: str) -> Iterator[tuple[int, bytes]]:
    """The (type, value) pairs of a list of PPP options (RFC 1661 §6: type, length including both, value)."""
    position, end = 0, len(data)
    while position < end:
        if position + 2 > end:
            raise MalformedPacket(f"{what}: one stray octet after the last option")
        kind, length = data[position], data[position + 1]
        if length < 2 or position + length > end:
            raise MalformedPacket(f"{what}: option {kind} at offset {position} claims {length} octets")
        yield kind, data[position + 2 : position + length]
        position += length
