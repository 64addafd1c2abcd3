"""Looks into one call: GRE as it is on the wire, PPP decrypted, and IP as it enters and leaves our network.

A call that nobody looks into pays nothing for it: to look, the class of its path is exchanged for one that overrides
what a packet passes, and the ends of the path (GRE socket, TUN, owner) for ones that look, too. Passwords that stand
in control packets in clear are masked; keys are not packets, and are not seen here.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from ipaddress import IPv4Address
from struct import Struct

from poptrio.datapath.base import CallOwner, CallPath
from poptrio.datapath.call_path import GreCallPath
from poptrio.datapath.open_network import OpenNetwork
from poptrio.datapath.packets import TCP, clamp_mss
from poptrio.errors import LocalProtocolError
from poptrio.protocols.ppp.frames import ADDRESS_AND_CONTROL
from poptrio.protocols.ppp.masking import without_passwords


class Layer(IntEnum):
    """Where a packet was seen."""

    GRE = 0
    """On the wire: an IPv4 packet."""

    PPP = 1
    """A frame with address, control and protocol, nothing compressed, decrypted."""

    IP = 2
    """An inner IPv4 packet: from the client, as it enters our network, and to it, as it comes from there."""


Record = Callable[[Layer, bool, bytes], None]
"""Takes a packet; the second is whether it came from the client. Returns at once and does not raise."""

_IPV4 = ADDRESS_AND_CONTROL + b"\0\x21"
_OUTER_HEADER = Struct(">BBHHHBBH4s4s")
_GRE = 47
_TTL = 64
_SEQUENCE, _ACKNOWLEDGEMENT = 0x10, 0x80  # bits of the first and second octet of a GRE header (RFC 2637 §4.1)


def tap(path: CallPath, record: Record, ended: Callable[[], None]) -> Callable[[], None]:
    """From now on ``record`` gets every packet of ``path``; ``ended`` hears that it is closed.

    What is returned ends that, and may be called at any time, also by ``record``. Raises LocalProtocolError for a path
    that is tapped already or moves no GRE packets itself (the kernel's).
    """
    if not isinstance(path, GreCallPath):
        raise LocalProtocolError(f"{type(path).__name__} cannot be tapped")
    if path.tap is not None:
        raise LocalProtocolError("the call is tapped already")
    own, owner, send_gre, deliver = type(path), path._owner, path._send_gre, path._deliver
    path.tap = Tap(record, ended, path.endpoint.local, path.endpoint.peer)
    path._owner = _Owner(owner, path.tap)
    path._send_gre = partial(_send_gre, path.tap, send_gre)
    path._deliver = partial(_deliver, path.tap, deliver)
    path.__class__ = _tapped(own)

    def untap() -> None:
        if path.tap is not None:
            path.__class__ = own
            path.tap = None
            path._owner, path._send_gre, path._deliver = owner, send_gre, deliver

    return untap


class Tap:
    """What a tapped path tells of its packets."""

    __slots__ = ("_client", "_record", "_server", "ended")

    def __init__(self, record: Record, ended: Callable[[], None], server: IPv4Address, client: IPv4Address) -> None:
        self.ended = ended
        self._record = record
        self._server = server.packed
        self._client = client.packed

    def gre_from_client(self, packet: bytes, start: int) -> None:
        """A GRE packet begins at ``start``, behind its IP header where it has one; else it gets one."""
        header = packet[:start] or outer_header(len(packet), self._client, self._server)
        self._record(Layer.GRE, True, header + _masked_gre(packet[start:]))

    def gre_to_client(self, packet: bytes) -> None:
        """A GRE packet gets the IP header that it has on the wire, but for what the kernel chooses."""
        header = outer_header(len(packet), self._server, self._client)
        self._record(Layer.GRE, False, header + _masked_gre(packet))

    def frame(self, inward: bool, frame: bytes) -> None:
        """A control frame: the protocol first, or address and control."""
        frame = frame.removeprefix(ADDRESS_AND_CONTROL)
        if frame[:1] and frame[0] & 1:
            frame = b"\0" + frame
        self._record(Layer.PPP, inward, without_passwords(ADDRESS_AND_CONTROL + frame))

    def ip_frame(self, inward: bool, packet: bytes) -> None:
        """A frame with an IP packet, which was or will be encrypted."""
        self._record(Layer.PPP, inward, _IPV4 + packet)

    def ip(self, inward: bool, packet: bytes) -> None:
        """An inner packet."""
        self._record(Layer.IP, inward, packet)


class _TappedPath(GreCallPath):
    """Looks at what passes. A look may end the tap, and with it this class: so no `super` here."""

    __slots__ = ()

    def send_frame(self, frame: bytes) -> None:
        if self.tap is not None and not self._closed:
            self.tap.frame(False, frame)
        GreCallPath.send_frame(self, frame)

    def packet_from_peer(self, packet: bytes, start: int, now: float) -> None:
        if self.tap is not None:
            try:
                self.tap.gre_from_client(packet, start)
            except Exception as error:  # noqa: BLE001 - a bug here must not end the reader of all calls
                self._broken(error)
        GreCallPath.packet_from_peer(self, packet, start, now)

    def packet_from_network(self, packet: bytes, now: float) -> None:
        if self.tap is not None:
            try:
                self.tap.ip(False, packet)
            except Exception as error:  # noqa: BLE001 - as above
                self._broken(error)
        GreCallPath.packet_from_network(self, packet, now)

    def close(self) -> None:
        tap, closed = self.tap, self._closed
        GreCallPath.close(self)
        if tap is not None and not closed:
            tap.ended()

    def _ip_arrived(self, packet: bytes, encrypted: bool, now: float) -> None:
        if self.tap is not None:
            self.tap.ip_frame(True, packet)
        GreCallPath._ip_arrived(self, packet, encrypted, now)

    def _send_ip(self, packet: bytes, network: OpenNetwork, now: float) -> None:
        if packet[9] == TCP and network.clamp_mss:
            packet = clamp_mss(packet, network.mtu)
        if self.tap is not None and (self._encryptor is not None or not network.encryption_required):
            self.tap.ip_frame(False, packet)
        GreCallPath._send_ip(self, packet, network, now)


_classes: dict[type[GreCallPath], type[GreCallPath]] = {}


def _tapped(own: type[GreCallPath]) -> type[GreCallPath]:
    """``own`` with `_TappedPath` in front: the same layout, so that objects can change between the two."""
    if own not in _classes:
        _classes[own] = type(f"Tapped{own.__name__}", (_TappedPath, own), {"__slots__": ()})
    return _classes[own]


class _Owner:
    """The `CallOwner` of a tapped path: control frames pass here, decrypted."""

    __slots__ = ("_tap", "decryption_lost", "frame_arrived", "path_failed")

    def __init__(self, owner: CallOwner, tap: Tap) -> None:
        self._tap = tap
        self.decryption_lost = owner.decryption_lost
        self.path_failed = owner.path_failed
        self.frame_arrived = partial(_frame_arrived, tap, owner)


def _frame_arrived(tap: Tap, owner: CallOwner, frame: bytes, encrypted: bool) -> None:
    tap.frame(True, frame)
    owner.frame_arrived(frame, encrypted)


def _send_gre(tap: Tap, send: Callable[[bytes], object], packet: bytes) -> None:
    send(packet)
    tap.gre_to_client(packet)


def _deliver(tap: Tap, deliver: Callable[[bytes], object], packet: bytes) -> None:
    deliver(packet)
    tap.ip(True, packet)


def _masked_gre(packet: bytes) -> bytes:
    """A GRE packet whose payload, if it is one of control, has no password in clear."""
    if len(packet) < 8:
        return packet
    payload = 8 + (4 if packet[0] & _SEQUENCE else 0) + (4 if packet[1] & _ACKNOWLEDGEMENT else 0)
    return packet[:payload] + without_passwords(packet[payload:])


def outer_header(payload: int, source: bytes, destination: bytes) -> bytes:
    """An IPv4 header (RFC 791 §3.1) for so many octets of GRE, without what only the kernel knows."""
    total = min(_OUTER_HEADER.size + payload, 0xFFFF)
    fields = (0x45, 0, total, 0, 0, _TTL, _GRE)
    words = memoryview(_OUTER_HEADER.pack(*fields, 0, source, destination))
    checksum = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, _OUTER_HEADER.size, 2))
    checksum = (checksum & 0xFFFF) + (checksum >> 16)
    return _OUTER_HEADER.pack(*fields, ~checksum & 0xFFFF, source, destination)
