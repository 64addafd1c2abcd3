"""One call's way through the kernel: a PPPoX socket, its channel, and a unit, which is a network device.

    peer ── GRE ── PPPoX socket ── channel ─┬─ LCP, authentication ──── channel's file ──┐
              (filter)                      └─ unit ─┬─ IPCP, CCP ───── unit's file ─────┼─ `CallOwner.frame_arrived`
                 CCP that the filter keeps back ──── │ ──────────────── raw socket ──────┘
                                                     └─ IPv4, decrypted ─ (filter) ─ the network device

The unit is made when the first thing asks for it, encryption or network: who is not authenticated costs no device.

The kernel watches the CCP packets that pass the unit, to start each direction of MPPE and to reset it. What must start
without a packet on the wire, it is told by one that goes nowhere (`_tell_kernel`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network

import structlog
import trio

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint, CallOwner, NetworkParameters, PathCounters
from poptrio.datapath.kernel.device import Device
from poptrio.datapath.kernel.filters import CCP_CODES_KEPT_BACK
from poptrio.datapath.kernel.ppp_device import READ_MOST, Direction, PppChannel, PppFile, mppe_bits
from poptrio.datapath.kernel.pptp_socket import PptpSocket
from poptrio.protocols.ppp.frames import ADDRESS_AND_CONTROL, Code, Packet, Protocol

FRESH = 0.05
"""Seconds for which the kernel's counters are not asked for again: one look reads several of them."""

REPEAT_RESET = 1.0
"""Seconds after which a peer that goes on sending what cannot be decrypted is asked for a reset again."""

MOST_RESETS = 10
"""Requests in a row after which the call is given up: Linux decrypts nothing before a Reset-Ack comes."""

_FIRST_LINK_PROTOCOL = 0xC000
_ANSWERS = (Code.CONFIGURE_ACK, Code.CONFIGURE_NAK, Code.CONFIGURE_REJECT, Code.TERMINATE_ACK, Code.ECHO_REPLY)

log = structlog.get_logger("poptrio.datapath")


@dataclass(frozen=True, slots=True)
class Ports:
    """What a call path is connected to: who makes its ``device``, reads its files, and hears of its end."""

    make_device: Callable[[CallEndpoint], Device]
    watch: Callable[[PppFile, "KernelCallPath"], None]
    closed: Callable[["KernelCallPath"], None]


class KernelCallPath:
    """A `CallPath` in the kernel. Raises OSError when the kernel refuses the call."""

    def __init__(self, endpoint: CallEndpoint, owner: CallOwner, ports: Ports) -> None:
        self.endpoint = endpoint
        self.socket = PptpSocket(endpoint)
        try:
            self.channel = PppChannel(self.socket.channel)
        except BaseException:
            self.socket.close()
            raise
        self.device: Device | None = None
        self.closed = False
        self._owner = owner
        self._ports = ports
        self._network: NetworkParameters | None = None
        self._send: MppeParameters | None = None
        self._receive: MppeParameters | None = None
        self._counters = PathCounters()
        self._looked = 0.0
        self._frames_in = self._frames_out = 0
        self._reset_asked = 0.0
        self._resets = 0
        try:
            ports.watch(self.channel, self)
        except BaseException:
            self.channel.close()
            self.socket.close()
            raise

    @property
    def counters(self) -> PathCounters:
        """As they are now: the kernel is asked."""
        if trio.current_time() - self._looked > FRESH:
            self._look()
        return self._counters

    # What the call's owner does (poptrio.datapath.base.CallPath).

    def send_frame(self, frame: bytes) -> None:
        """Send one complete PPP control frame; the kernel adds address and control as it sees fit."""
        if self.closed:
            return
        frame = frame.removeprefix(ADDRESS_AND_CONTROL)
        if frame[:1] and frame[0] & 1:
            frame = b"\0" + frame
        through_unit = self.device is not None and int.from_bytes(frame[:2], "big") < _FIRST_LINK_PROTOCOL
        try:
            if through_unit and self.device is not None:
                self.device.write_frame(frame)
            else:
                self.channel.write_frame(frame)
        except OSError:
            self._counters.send_failed += 1
        else:
            self._frames_out += 1

    def set_encryption(self, send: MppeParameters | None, receive: MppeParameters | None) -> None:
        """Use these MPPE parameters from now on. Unchanged ones keep their state; None ends that direction."""
        before, self._send, self._receive = (self._send, self._receive), send, receive
        if self.closed or before == (send, receive):
            return
        try:
            if 56 in {parameters.bits for parameters in (send, receive) if parameters is not None}:
                raise OSError("the kernel's MPPE has no 56 bits, only 128 and 40")
            device = self.device or self._make_device()
            self._let_pass_or_not(device)  # before a direction loses its encryption, not after
            self._change_encryption(device, before, send, receive)
            self._let_pass_or_not(device)
        except OSError as error:
            self.fail(f"the kernel refused MPPE: {error.strerror}" if error.strerror else str(error))

    def reset_encryption(self) -> None:
        """The peer sent a CCP Reset-Request: the next stateful packet is FLUSHED with re-initialised tables.

        The kernel does so at a Reset-Ack of ours, which not every peer is sent.
        """
        if self.device is not None and self._send is not None and not self.closed:
            try:
                self._tell_kernel(self.device, Packet(Code.RESET_ACK, 0))
            except OSError as error:
                self.fail(f"the kernel refused to reset MPPE: {error.strerror}")

    def open_network(self, network: NetworkParameters) -> None:
        """IPCP is up: let IP packets pass. May be called again with other parameters."""
        if self.closed:
            return
        try:
            if network.peer_address is None:
                raise OSError("the kernel data path has no client role")
            device = self.device or self._make_device()
            self.socket.require_encryption(network.encryption_required)
            sources = IPv4Network(network.peer_address), *network.routes
            device.unit.take_only_from(list(sources))
            self.channel.compress_fields(network.pfc, network.acfc)
            device.set_up(network.our_address, network.mtu, sources)
            self._network = network
            self._let_pass_or_not(device)
        except OSError as error:
            self.fail(error.strerror or str(error))

    def close_network(self) -> None:
        """IPCP is down: drop IP packets, forget the address and its routes."""
        self._network = None
        if self.device is not None and not self.closed:
            self._look()
            self.device.set_down()

    def close(self) -> None:
        """Forget the call; idempotent, synchronous, cannot fail."""
        if not self.closed:
            self.close_network()
            self.closed = True
            self._ports.closed(self)

    # What the data path does.

    def file_readable(self, file: PppFile) -> None:
        """Take the control frames that wait in one of our files."""
        for _ in range(READ_MOST):
            if self.closed:
                return
            try:
                frame = file.read_frame()
            except OSError as error:
                self.fail(f"the kernel's PPP cannot be read any more: {error.strerror}")
                return
            if frame is None:
                return
            if not frame:
                name = self.device.name if self.device is not None else "of this call"
                self.fail(f"the network device {name} is gone, it may have been deleted")
                return
            if self.device is not None and file is self.device.unit:
                self.device.frame_read(frame)
            self.frame_arrived(frame, kept_back=False)

    def frame_arrived(self, frame: bytes, *, kept_back: bool) -> None:
        """A control frame from the peer; ``kept_back``: the filter has kept it from the kernel."""
        self._frames_in += 1
        try:
            self._judge(frame, kept_back)
        except Exception as error:
            log.exception("data path error", call_id=self.endpoint.call_id, peer=str(self.endpoint.peer))
            self.fail(f"an error inside the data path: {error!r}")

    def fail(self, reason: str) -> None:
        """Close, and tell the owner that nothing moves any more."""
        if not self.closed:
            self.close()
            self._owner.path_failed(reason)

    # Frames.

    def _judge(self, frame: bytes, kept_back: bool) -> None:
        protocol = int.from_bytes(frame[:2], "big")
        if protocol == Protocol.COMPRESSED:
            self._not_decrypted()
            return
        if protocol == Protocol.IP:
            self._counters.no_network += 1  # before there was a unit
            return
        code = frame[2] if len(frame) > 2 else 0
        if protocol == Protocol.CCP and code in CCP_CODES_KEPT_BACK and not kept_back:
            # No client does so (RFC 3078 §2), but MPPE has no integrity: an octet changed on the way makes one.
            self.fail(f"CCP's code {code} came inside MPPE, which makes Linux send in clear")
            return
        if protocol in (Protocol.LCP, Protocol.IPCP, Protocol.CCP) and code in _ANSWERS:
            self._counters.acknowledged += 1
        self._owner.frame_arrived(frame, False)

    def _not_decrypted(self) -> None:
        """The kernel hands an encrypted packet to us: it has lost its place, or has no keys."""
        self._counters.undecryptable += 1
        now = trio.current_time()
        if self._receive is None or now - self._reset_asked < REPEAT_RESET:
            return
        self._resets = self._resets + 1 if now - self._reset_asked < 2 * REPEAT_RESET else 1
        if self._resets > MOST_RESETS:
            self.fail("MPPE lost its place, and the client sends no Reset-Ack, which Linux waits for")
            return
        self._reset_asked = now
        self._owner.decryption_lost()

    # Encryption.

    def _change_encryption(
        self,
        device: Device,
        before: tuple[MppeParameters | None, MppeParameters | None],
        send: MppeParameters | None,
        receive: MppeParameters | None,
    ) -> None:
        unit = device.unit
        if send is None and receive is None:
            unit.set_ccp(opened=False, up=False)
            return
        unit.set_ccp(opened=True, up=False)
        # Parameters that are set and not started: that is how a direction ends alone.
        if receive != before[1] and (parameters := receive or before[1]) is not None:
            unit.set_mppe(Direction.RECEIVE, parameters)
        if send != before[0] and (parameters := send or before[0]) is not None:
            unit.set_mppe(Direction.TRANSMIT, parameters)
        if send is not None and send != before[0]:
            option = bytes((18, 6)) + mppe_bits(send).to_bytes(4, "big")
            self._tell_kernel(device, Packet(Code.CONFIGURE_ACK, 0, option))
        # From here on no Configure-Ack starts anything again, ours repeated or one that is injected.
        unit.set_ccp(opened=True, up=send is not None)

    def _tell_kernel(self, device: Device, packet: Packet) -> None:
        """Show the unit a CCP packet as if we sent it, while no channel is there to take it."""
        frame = Protocol.CCP.to_bytes(2, "big") + packet.encode()
        self.channel.disconnect()
        try:
            device.write_frame(frame)
        finally:
            self.channel.connect(device.unit.number)

    def _let_pass_or_not(self, device: Device) -> None:
        network = self._network
        encrypted = self._send is not None and self._receive is not None
        device.unit.let_ipv4_pass(network is not None and (encrypted or not network.encryption_required))

    # The device.

    def _make_device(self) -> Device:
        device = self._ports.make_device(self.endpoint)
        self.device = device  # from here on `close` takes care of it, whatever fails
        self._ports.watch(device.unit, self)
        self.channel.connect(device.unit.number)  # before anybody looks: a unit without a channel is always readable
        return device

    def _look(self) -> None:
        """Bring the counters up to date, as far as the kernel tells."""
        counters, device = self._counters, self.device
        self._looked = now = trio.current_time()
        if device is not None and not self.closed:
            device.count(counters, now)
        counters.gre_received = self._frames_in + counters.packets_in
        counters.gre_sent = self._frames_out + counters.packets_out
