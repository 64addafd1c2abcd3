"""Inner IPv4 packets (RFC 791) to send through a call in a test."""

from ipaddress import IPv4Address
from struct import pack

from poptrio.datapath.packets import checksum

_DONT_FRAGMENT = 0x4000


def ipv4_packet(
    source: IPv4Address,
    destination: IPv4Address,
    payload: bytes = b"",
    *,
    protocol: int = 253,
    dont_fragment: bool = False,
) -> bytes:
    """A packet with a right header; protocol 253 is for experiments (RFC 3692)."""
    flags = _DONT_FRAGMENT if dont_fragment else 0
    length = 20 + len(payload)
    ends = source.packed + destination.packed
    total = checksum(pack(">BBHHHBBH", 0x45, 0, length, 1, flags, 64, protocol, 0) + ends)
    return pack(">BBHHHBBH", 0x45, 0, length, 1, flags, 64, protocol, total) + ends + payload
