"""Inner IPv4 packets (RFC 791): checks, MSS clamping, fragmentation-needed messages, fragmentation. Hot path.

TTL is never touched here. A packet between client and world passes the kernel's forwarding on its way to or from the
TUN, and is counted down there; a second time would make the server two hops in every traceroute.
"""

from collections.abc import Iterator
from struct import Struct

TCP = 6
_ICMP = 1

_DONT_FRAGMENT = 0x40
_MORE_FRAGMENTS = 0x2000
_OFFSET = 0x1FFF

_SYN = 0x02
_MSS_OPTION = 2
_TCP_AND_IP_HEADERS = 40

# ICMP types that are errors (RFC 1122 §3.2.2): unreachable, source quench, redirect, time exceeded, parameter problem.
_ICMP_ERRORS = frozenset((3, 4, 5, 11, 12))

# How much of the offending packet an ICMP error quotes: as much as fits into 576 octets (RFC 1812 §4.3.2.3).
_QUOTED = 576 - 20 - 8

_IP_HEADER = Struct(">BBHHHBBH4s4s")
_ICMP_HEADER = Struct(">BBHHH")
_U16 = Struct(">H")


def ipv4_length(packet: bytes) -> int:
    """The total length of the IPv4 packet that ``packet`` begins with; 0 if it is none, or not all there."""
    size = len(packet)
    if size < 20 or not 0x45 <= packet[0] <= 0x4F:
        return 0
    length = packet[2] << 8 | packet[3]
    if length > size or length < (packet[0] & 15) << 2:
        return 0
    return length


def clamp_mss(packet: bytes, mtu: int) -> bytes:
    """``packet``, with the MSS option of a TCP SYN (RFC 9293 §3.7.1) lowered to what fits into ``mtu``.

    ``packet`` is IPv4 with protocol TCP and has passed `ipv4_length`. Anything but a whole SYN with a larger MSS is
    returned as it is: a SYN without the option stands for 536, which fits everywhere.
    """
    tcp = (packet[0] & 15) << 2
    size = len(packet)
    if size < tcp + 20 or not packet[tcp + 13] & _SYN or (packet[6] << 8 | packet[7]) & _OFFSET:
        return packet
    position = tcp + 20
    end = min(size, tcp + (packet[tcp + 12] >> 4 << 2))
    while position + 4 <= end:
        kind = packet[position]
        if kind == 0:
            return packet
        if kind == 1:
            position += 1
            continue
        length = packet[position + 1]
        if kind == _MSS_OPTION and length == 4:
            return _lower_mss(packet, tcp, position + 2, mtu - _TCP_AND_IP_HEADERS)
        if length < 2:
            return packet
        position += length
    return packet


def fragmentation_needed(packet: bytes, mtu: int, our_address: bytes) -> bytes | None:
    """The ICMP message (RFC 792, RFC 1191 §4) from ``our_address`` to the sender of ``packet`` that is too big.

    None where RFC 1122 §3.2.2 forbids one: about ICMP errors, fragments but the first, and packets from an address that
    is no single host's. ``packet`` has passed `ipv4_length`; ``mtu`` is the largest packet that would have passed.
    """
    header_length = (packet[0] & 15) << 2
    if (packet[6] << 8 | packet[7]) & _OFFSET:
        return None
    if packet[9] == _ICMP and (len(packet) <= header_length or packet[header_length] in _ICMP_ERRORS):
        return None
    if packet[12] in (0, 127) or packet[12] >= 224:
        return None
    quoted = packet[: max(_QUOTED, header_length + 8)]
    message = bytearray(_ICMP_HEADER.pack(3, 4, 0, 0, mtu) + quoted)
    _U16.pack_into(message, 2, checksum(message))
    # TOS 0xc0: internetwork control (RFC 1812 §4.3.2.5).
    length = 20 + len(message)
    header = bytearray(_IP_HEADER.pack(0x45, 0xC0, length, 0, 0, 64, _ICMP, 0, our_address, packet[12:16]))
    _U16.pack_into(header, 10, checksum(header))
    return bytes(header + message)


def may_fragment(packet: bytes) -> bool:
    """Whether don't-fragment is clear; ``packet`` has passed `ipv4_length`."""
    return not packet[6] & _DONT_FRAGMENT


def fragments(packet: bytes, mtu: int) -> Iterator[bytes]:
    """``packet`` in fragments of at most ``mtu`` octets (RFC 791 §3.2); ``packet`` has passed `ipv4_length`.

    Yields nothing where ``mtu`` has no room for a header and eight octets. A fragment is fragmented again rightly.
    """
    header_length = (packet[0] & 15) << 2
    room = (mtu - header_length) & ~7
    if room < 8:
        return
    flags_and_offset = packet[6] << 8 | packet[7]
    offset = flags_and_offset & _OFFSET
    more_follow = flags_and_offset & _MORE_FRAGMENTS
    header = packet[:header_length]
    later_header = header if header_length == 20 else _header_of_later_fragments(header)
    position = header_length
    size = len(packet)
    while position < size:
        payload = packet[position : position + room]
        position += len(payload)
        more = _MORE_FRAGMENTS if position < size else more_follow
        yield _fragment(header, payload, more | offset)
        offset += len(payload) >> 3
        header = later_header


def checksum(data: bytes | bytearray) -> int:
    """The Internet checksum of ``data`` (RFC 1071), in which the checksum field is zero."""
    if len(data) & 1:
        data = data + b"\0"
    # 2**16 is 1 modulo 0xffff, so the whole as one number has the same remainder as the sum of its 16-bit words.
    total = int.from_bytes(data, "big")
    remainder = total % 0xFFFF
    return 0xFFFF - remainder if remainder or not total else 0


class TokenBucket:
    """At most ``burst`` at once and ``rate`` per second in the long run; ``now`` in seconds."""

    __slots__ = ("_burst", "_filled", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled = 0.0

    def take(self, now: float) -> bool:
        """Take one token; False if there is none."""
        tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if tokens < 1:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1
        return True


def _lower_mss(packet: bytes, tcp: int, position: int, mss: int) -> bytes:
    """Put ``mss`` at ``position`` unless what is there is smaller, and correct the TCP checksum (RFC 1624 §3)."""
    old = packet[position] << 8 | packet[position + 1]
    if old <= mss:
        return packet
    patched = bytearray(packet)
    _U16.pack_into(patched, position, mss)
    new = mss
    if (position - tcp) & 1:
        # The option lies across two of the words that were summed: there its octets count the other way round.
        old = (old & 0xFF) << 8 | old >> 8
        new = (new & 0xFF) << 8 | new >> 8
    total = (0xFFFF - (packet[tcp + 16] << 8 | packet[tcp + 17])) + (0xFFFF - old) + new
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    _U16.pack_into(patched, tcp + 16, 0xFFFF - total)
    return bytes(patched)


def _fragment(header: bytes, payload: bytes, flags_and_offset: int) -> bytes:
    patched = bytearray(header)
    _U16.pack_into(patched, 2, len(header) + len(payload))
    _U16.pack_into(patched, 6, flags_and_offset)
    _U16.pack_into(patched, 10, 0)
    _U16.pack_into(patched, 10, checksum(patched))
    return bytes(patched) + payload


def _header_of_later_fragments(header: bytes) -> bytes:
    """``header`` with only the options that are copied into every fragment (RFC 791 §3.1, the copied flag)."""
    options = b""
    position = 20
    while position + 2 <= len(header) and header[position] != 0:
        length = 1 if header[position] == 1 else header[position + 1]
        if length < 1:
            break
        if header[position] & 0x80:
            options += header[position : position + length]
        position += length
    options += b"\0" * (-len(options) % 4)
    return bytes([0x40 | (20 + len(options)) >> 2]) + header[1:20] + options
