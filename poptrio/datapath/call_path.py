"""One call's way through a data path: GRE channel, PPP framing, MPPE, encryption enforcement, ingress filter. Hot path.

    peer ── GRE ── GreChannel ── PPP frame ─┬─ 0x00fd: decrypt, then as below
                                            ├─ 0x0021: checks, then `Ports.deliver` to our network
                                            └─ the rest: `CallOwner.frame_arrived`
    our network ── packet_from_network ── checks, encrypt, PPP frame ── GreChannel ── GRE ── peer

Everything is called directly and returns at once; a packet crosses no task. Sockets, TUN and timers are behind `Ports`,
so that the userspace path and its in-memory twin share all that is here.

Whatever one packet breaks, it breaks its own call only: the three ways in (a GRE packet, an inner packet, a timer)
catch every exception, log it, close the path and tell the owner. The reader of all calls reads on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from struct import Struct
from typing import TYPE_CHECKING

import structlog

from poptrio.crypto.mppe import MppeDecryptor, MppeEncryptor
from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint, CallOwner, NetworkParameters, PathCounters
from poptrio.datapath.open_network import ADDRESS_AND_CONTROL, ENCRYPTED, IPV4, OpenNetwork
from poptrio.datapath.packets import (
    TCP,
    TokenBucket,
    clamp_mss,
    fragmentation_needed,
    fragments,
    ipv4_length,
    may_fragment,
)
from poptrio.protocols.gre import GreChannel, GreSettings

if TYPE_CHECKING:
    from poptrio.datapath.tap import Tap

_IPV4_FIELD = IPV4.to_bytes(2, "big")

# Of an IPv4 header: version and length of the header, length of the packet, protocol, source.
_IP_HEADER = Struct(">BxH5xB2x4s")
_NO_OPTIONS = 0x45

# ICMP fragmentation-needed messages per call: enough for every new flow to learn the MTU, too few for a flood.
_ICMP_RATE = 20.0
_ICMP_BURST = 50.0

# Seconds: what is due later than the first, an acknowledgement, is done at multiples of the second, so that many calls
# share a wake-up. What waits for a packet that was overtaken is due sooner, unless ``reorder_timeout`` is long.
_SOON = 0.05
_GRID = 0.02

_log = structlog.get_logger("poptrio.datapath")


@dataclass(frozen=True, slots=True)
class Ports:
    """What a call path is connected to. All return at once.

    ``send_gre`` puts a GRE packet on its way to the peer, ``deliver`` an inner packet into our network, ``report`` an
    ICMP message of our own as well; these three may raise OSError, which is counted. ``call_at`` is a timer.
    ``network_changed`` hears every `open_network` and `close_network` (as None), ``closed`` the end.
    """

    send_gre: Callable[[bytes], object]
    deliver: Callable[[bytes], object]
    report: Callable[[bytes], object]
    call_at: Callable[[float, Callable[[float], None]], None]
    network_changed: "Callable[[GreCallPath, NetworkParameters | None], None]"
    closed: "Callable[[GreCallPath], None]"


class GreCallPath:
    """A `CallPath` over enhanced GRE. ``peer`` is the four octets of the peer's outer address.

    Who looks at its packets is ``tap`` (`datapath.tap`); nothing here asks whether there is one.
    """

    __slots__ = (
        "_call_at",
        "_channel",
        "_closed",
        "_decryptor",
        "_deliver",
        "_encryptor",
        "_icmp_bucket",
        "_network",
        "_owner",
        "_ports",
        "_receive_parameters",
        "_send_gre",
        "_send_parameters",
        "_wake_at",
        "counters",
        "endpoint",
        "peer",
        "tap",
    )

    def __init__(self, endpoint: CallEndpoint, owner: CallOwner, ports: Ports, settings: GreSettings) -> None:
        self.endpoint = endpoint
        self.peer = endpoint.peer.packed
        self.tap: Tap | None = None
        self.counters = PathCounters()
        self._network: OpenNetwork | None = None
        self._owner = owner
        self._ports = ports
        self._call_at = ports.call_at
        self._deliver = ports.deliver
        self._send_gre = ports.send_gre
        self._channel = GreChannel(endpoint.peer_call_id, self.counters, settings)
        self._wake_at = inf
        self._closed = False
        self._send_parameters: MppeParameters | None = None
        self._receive_parameters: MppeParameters | None = None
        self._encryptor: MppeEncryptor | None = None
        self._decryptor: MppeDecryptor | None = None
        self._icmp_bucket: TokenBucket | None = None  # from the first message on

    # What the call's owner does (poptrio.datapath.base.CallPath).

    def send_frame(self, frame: bytes) -> None:
        """Send one complete PPP control frame, address and control included where they are due, never encrypted."""
        if not self._closed:
            self._transmit(self._channel.data_packet(frame))

    def set_encryption(self, send: MppeParameters | None, receive: MppeParameters | None) -> None:
        """Use these MPPE parameters from now on. Unchanged ones keep their state; None ends that direction."""
        if send != self._send_parameters:
            self._send_parameters = send
            self._encryptor = MppeEncryptor(send) if send else None
        if receive != self._receive_parameters:
            self._receive_parameters = receive
            self._decryptor = MppeDecryptor(receive) if receive else None

    def reset_encryption(self) -> None:
        """The peer sent a CCP Reset-Request: the next stateful packet is FLUSHED with re-initialised tables."""
        if self._encryptor is not None:
            self._encryptor.reset()

    def open_network(self, network: NetworkParameters) -> None:
        """IPCP is up: let IP packets pass. May be called again with other parameters."""
        if self._closed:
            return
        self._network = OpenNetwork(network)
        self._ports.network_changed(self, network)

    def close_network(self) -> None:
        """IPCP is down: drop IP packets, forget the address and its routes."""
        if self._network is not None:
            self._network = None
            self._ports.network_changed(self, None)

    def close(self) -> None:
        """Forget the call; idempotent, synchronous, cannot fail."""
        if not self._closed:
            self._closed = True
            self.close_network()
            self._ports.closed(self)

    # What the data path does.

    def packet_from_peer(self, packet: bytes, start: int, now: float) -> None:
        """A GRE packet of this call; its GRE header begins at ``start``."""
        try:
            channel = self._channel
            for frame in channel.receive_packet(packet, start, now):
                self._frame_arrived(frame, now)
            if channel.next_deadline() < self._wake_at:
                self._wait(now)
        except Exception as error:  # noqa: BLE001 - a bug in one call must not end the reader of all
            self._broken(error)

    def packet_from_network(self, packet: bytes, now: float) -> None:
        """An inner packet of our network for the peer."""
        try:
            network = self._network
            if network is None:
                self.counters.no_network += 1
                return
            length = ipv4_length(packet)
            if not length:
                self.counters.malformed += 1
                return
            if length != len(packet):
                packet = packet[:length]
            if length > network.mtu:
                self._too_big(packet, network, now)
            else:
                self._send_ip(packet, network, now)
        except Exception as error:  # noqa: BLE001 - as above
            self._broken(error)

    def wake(self, now: float) -> None:
        """A timer of this call rings."""
        try:
            if now >= self._wake_at and not self._closed:
                self._wake_at = inf
                self._wait(now)
        except Exception as error:  # noqa: BLE001 - as above
            self._broken(error)

    def fail(self, reason: str) -> None:
        """Close, and tell the owner that nothing moves any more."""
        if not self._closed:
            self.close()
            self._owner.path_failed(reason)

    def _broken(self, error: Exception) -> None:
        """Something went wrong on one of the ways in: it is this call's problem and nobody else's."""
        _log.exception("data path error", call_id=self.endpoint.call_id, peer=str(self.endpoint.peer))
        self.fail(f"an error inside the data path: {error!r}")

    # From the peer.

    def _frame_arrived(self, frame: bytes, now: float) -> None:
        """One PPP frame, whose address and control (RFC 1661 §6.6) and protocol (§6.5) fields may be compressed."""
        if self._closed or not frame:
            return
        first = frame[0]
        if first == ENCRYPTED:  # this and the next: compressed, as nearly always
            self._encrypted_arrived(frame, 1, now)
            return
        if first == IPV4:
            self._ip_arrived(frame[1:], False, now)
            return
        position = 2 if frame[:2] == ADDRESS_AND_CONTROL else 0
        if len(frame) < position + 2:
            self.counters.malformed += 1
            return
        protocol = frame[position]
        if protocol & 1:
            position += 1
        else:
            protocol = protocol << 8 | frame[position + 1]
            position += 2
        if protocol == ENCRYPTED:
            self._encrypted_arrived(frame, position, now)
        elif protocol == IPV4:
            self._ip_arrived(frame[position:], False, now)
        else:
            self._owner.frame_arrived(protocol.to_bytes(2, "big") + frame[position:], False)

    def _encrypted_arrived(self, frame: bytes, position: int, now: float) -> None:
        """The information field of ``frame`` begins at ``position``."""
        decryptor = self._decryptor
        if decryptor is None:
            self.counters.undecryptable += 1
            return
        datagram = decryptor.decrypt(frame, position)
        if datagram is None or len(datagram) < 2:
            self.counters.undecryptable += 1
            if decryptor.reset_needed:
                decryptor.reset_needed = False
                self._owner.decryption_lost()
            return
        protocol = datagram[0]
        position = 1
        if not protocol & 1:
            protocol = protocol << 8 | datagram[1]
            position = 2
        if protocol == IPV4:
            self._ip_arrived(datagram[position:], True, now)
        else:
            self._owner.frame_arrived(protocol.to_bytes(2, "big") + datagram[position:], True)

    def _ip_arrived(self, packet: bytes, encrypted: bool, now: float) -> None:
        counters = self.counters
        network = self._network
        if network is None:
            counters.no_network += 1
            return
        if not encrypted and network.encryption_required:
            counters.clear_text += 1
            return
        if len(packet) < 20:
            counters.malformed += 1
            return
        head, length, protocol, source = _IP_HEADER.unpack_from(packet)
        if head != _NO_OPTIONS or length != len(packet):
            length = ipv4_length(packet)
            if not length:
                counters.malformed += 1
                return
            packet = packet[:length]
        if source != network.source and not network.may_come_from(source):
            counters.foreign_source += 1
            return
        if protocol == TCP and network.clamp_mss:
            packet = clamp_mss(packet, network.mtu)
        try:
            self._deliver(packet)
        except OSError:
            counters.send_failed += 1
            return
        counters.packets_in += 1
        counters.bytes_in += length
        counters.last_received = now

    # To the peer.

    def _send_ip(self, packet: bytes, network: OpenNetwork, now: float) -> None:
        counters = self.counters
        if packet[9] == TCP and network.clamp_mss:
            packet = clamp_mss(packet, network.mtu)
        encryptor = self._encryptor
        if encryptor is not None:
            # The protocol field inside is never compressed: no more is agreed on than that of the frame outside.
            gre = self._channel.data_packet(encryptor.encrypt(_IPV4_FIELD + packet), network.encrypted_prefix)
        elif network.encryption_required:
            counters.clear_text += 1
            return
        else:
            gre = self._channel.data_packet(packet, network.plain_prefix)
        try:
            self._send_gre(gre)
        except OSError:
            counters.send_failed += 1
            return
        counters.packets_out += 1
        counters.bytes_out += len(packet)
        counters.last_sent = now

    def _too_big(self, packet: bytes, network: OpenNetwork, now: float) -> None:
        """A packet over the call's MTU: in fragments where it allows them, else told to its sender (RFC 1191 §4)."""
        if may_fragment(packet):
            for fragment in fragments(packet, network.mtu):
                self._send_ip(fragment, network, now)
            return
        self.counters.too_big += 1
        message = fragmentation_needed(packet, network.mtu, network.our_address)
        if self._icmp_bucket is None:
            self._icmp_bucket = TokenBucket(_ICMP_RATE, _ICMP_BURST)
        if message is not None and self._icmp_bucket.take(now):
            try:
                self._ports.report(message)
            except OSError:
                self.counters.send_failed += 1

    def _transmit(self, packet: bytes) -> None:
        """Send a GRE packet. What the kernel does not take is lost like any packet; only the counter knows.

        A full queue, a firewall's EPERM and ICMP errors all pass, and GRE is no reason to end a call: its owner's
        echoes notice when nothing gets through.
        """
        try:
            self._send_gre(packet)
        except OSError:
            self.counters.send_failed += 1

    # Timers.

    def _wait(self, now: float) -> None:
        """Do what is due, then see to it that `wake` is called for the rest."""
        channel = self._channel
        if channel.next_deadline() <= now:
            for frame in channel.handle_timeout(now):
                self._frame_arrived(frame, now)
            acknowledgement = channel.acknowledgement_to_send(now)
            if acknowledgement is not None and not self._closed:
                self._transmit(acknowledgement)
        deadline = channel.next_deadline()
        if deadline < self._wake_at and not self._closed:
            self._wake_at = deadline
            if deadline - now > _SOON:
                deadline = ceil(deadline / _GRID) * _GRID
            self._call_at(deadline, self.wake)
