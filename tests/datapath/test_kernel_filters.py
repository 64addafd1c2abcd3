"""What the kernel's data path keeps from the kernel: its filters, run by the kernel on sockets that need no PPP."""

import socket
from ipaddress import IPv4Address, IPv4Network

import pytest

from poptrio.datapath.kernel.bpf import attach_to_socket
from poptrio.datapath.kernel.filters import MOST_NETWORKS, ccp_filter, ingress_filter, socket_filter
from poptrio.testing.inner_packets import ipv4_packet

SERVER = IPv4Address("10.90.0.1")
IP = ipv4_packet(IPv4Address("10.90.0.2"), SERVER, b"inside")
OUTER = bytes.fromhex("4500 0000 0000 0000 402f 0000 c0000202 c0000201")
OUTER_WITH_OPTIONS = b"\x46" + OUTER[1:] + bytes(4)


def gre(frame: bytes, *, acknowledged: bool) -> bytes:
    """An enhanced GRE packet (RFC 2637 §4.1) with a sequence number."""
    head = bytes((0x30, 0x81 if acknowledged else 0x01)) + b"\x88\x0b" + len(frame).to_bytes(2, "big") + b"\x00\x51"
    return head + bytes(4) + (bytes(4) if acknowledged else b"") + frame


def passes(program: bytes, packet: bytes) -> bool:
    """Whether the kernel hands ``packet`` to a socket with this filter."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)
        attach_to_socket(receiver.fileno(), program)
        try:
            sender.send(packet)
            return receiver.recv(65535) == packet
        except (BlockingIOError, PermissionError):  # AF_UNIX tells the sender
            return False


def spellings(protocol: int) -> list[bytes]:
    """A frame's beginning in every way that a peer may write it (RFC 1661 §6.5, §6.6)."""
    fields = [protocol.to_bytes(2, "big")] + ([protocol.to_bytes(1, "big")] if protocol < 0x100 else [])
    return [prefix + field for prefix in (b"", b"\xff\x03") for field in fields]


@pytest.mark.parametrize("acknowledged", [True, False])
@pytest.mark.parametrize(
    ("protocol", "payload", "required", "optional"),
    [
        (0x0021, IP, False, True),
        (0x0057, b"\x60" + bytes(39), False, True),
        (0x002D, IP, False, True),
        (0x003D, b"\xc0\x00\x00\x00\x00\x21" + IP, False, True),
        (0x0281, IP, False, True),
        (0x00FD, b"\x90\x00" + IP, True, True),
        (0xC021, b"\x09\x01\x00\x08" + bytes(4), True, True),
        (0x8021, b"\x01\x01\x00\x04", True, True),
        (0x80FD, b"\x01\x01\x00\x04", False, False),
        (0x80FD, b"\x05\x01\x00\x04", False, False),
        (0x80FD, b"\x06\x01\x00\x04", False, False),
        (0x80FD, b"\x02\x01\x00\x04", True, True),
        (0x80FD, b"\x0e\x01\x00\x04", True, True),
        (0x80FD, b"\x0f\x01\x00\x04", True, True),
    ],
)
def test_what_a_pptp_socket_takes(protocol, payload, required, optional, acknowledged):
    for beginning in spellings(protocol):
        packet = gre(beginning + payload, acknowledged=acknowledged)
        assert passes(socket_filter(encryption_required=True), packet) is required, packet.hex()
        assert passes(socket_filter(encryption_required=False), packet) is optional, packet.hex()


@pytest.mark.parametrize("frame", [b"", b"\x21", b"\xff\x03", b"\xff\x03\x00", b"\x80\xfd", b"\xff\x03\x80\xfd"])
def test_what_ends_too_early_is_dropped(frame):
    assert not passes(socket_filter(encryption_required=True), gre(frame, acknowledged=False))
    assert not passes(ccp_filter(), OUTER + gre(frame, acknowledged=False))


def test_an_acknowledgement_alone_is_not_needed():
    assert not passes(socket_filter(encryption_required=True), bytes.fromhex("2081880b 0000 0051 00000001"))


@pytest.mark.parametrize("outer", [OUTER, OUTER_WITH_OPTIONS])
@pytest.mark.parametrize("acknowledged", [True, False])
@pytest.mark.parametrize("beginning", [b"\x80\xfd", b"\xff\x03\x80\xfd"])
def test_what_is_kept_back_of_ccp_arrives_at_the_raw_socket(outer, acknowledged, beginning):
    for code in range(16):
        packet = outer + gre(beginning + bytes((code, 1, 0, 4)), acknowledged=acknowledged)
        assert passes(ccp_filter(), packet) is (code in (1, 5, 6))


def test_nothing_else_arrives_at_the_raw_socket():
    packet = gre(b"\xff\x03\x80\xfd\x01\x01\x00\x04", acknowledged=False)
    assert not passes(ccp_filter(), OUTER + gre(b"\xff\x03\xc0\x21\x01\x01\x00\x04", acknowledged=False))
    assert not passes(ccp_filter(), OUTER + packet[:2] + b"\x08\x00" + packet[4:])  # GRE of another kind
    assert not passes(ccp_filter(), OUTER + packet[:1] + b"\x00" + packet[2:])  # of version 0
    assert not passes(ccp_filter(), OUTER + b"\x20" + packet[1:])  # without a payload


def unit_packet(source: str, *, protocol: int = 0x0021, outbound: bool = False) -> bytes:
    return bytes((outbound, 0)) + protocol.to_bytes(2, "big") + ipv4_packet(IPv4Address(source), SERVER, b"inside")


def test_a_unit_takes_packets_of_its_own_sources_only():
    program = ingress_filter([IPv4Network("10.90.0.2/32"), IPv4Network("203.0.113.0/24")])
    for source in ("10.90.0.2", "203.0.113.0", "203.0.113.255"):
        assert passes(program, unit_packet(source))
    for source in ("10.90.0.3", "203.0.114.0", "0.0.0.0", "255.255.255.255"):
        assert not passes(program, unit_packet(source))
        assert passes(program, unit_packet(source, outbound=True))
    assert not passes(program, unit_packet("10.90.0.2", protocol=0x0057))
    assert not passes(program, unit_packet("10.90.0.2", protocol=0x0057, outbound=True))
    assert not passes(program, unit_packet("10.90.0.2")[:19])


def test_a_unit_without_sources_takes_nothing():
    assert not passes(ingress_filter([]), unit_packet("0.0.0.0"))


def test_many_networks_fit_into_the_filter():
    networks = [IPv4Network((number << 8, 24)) for number in range(MOST_NETWORKS)]
    program = ingress_filter(networks[:100])  # what a socket may have is limited (net.core.optmem_max), a unit's is not
    assert passes(program, unit_packet(str(networks[99].network_address)))
    assert not passes(program, unit_packet("203.0.113.1"))
    assert len(ingress_filter(networks)) < 8 * 4096
    with pytest.raises(OSError, match="too many"):
        ingress_filter([*networks, IPv4Network("203.0.113.0/24")])
