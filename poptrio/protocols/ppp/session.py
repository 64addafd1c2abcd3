"""One PPP session: the phases of RFC 1661 §3 over LCP, an authentication protocol, CCP and IPCP.

Theory of operation. `Phase` says which protocols are listened to; everything else is dropped unseen until the peer is
authenticated, and answered with a Protocol-Reject afterwards. A phase ends by an event of a control protocol:

    Dead ─start→ Establish ─LCP up→ Authenticate ─accepted→ Network ─IPCP up→ (IP passes) ─terminate→ Terminate ─→ Dead

In Network, CCP comes first and IPCP follows: when CCP is up where encryption is required, when it is settled one way or
the other where it is preferred. What differs between the roles is in `server_session` and `client_session`.

Frames go in by `receive_frame`, out by `frames_to_send`; `next_event` says what happened; `next_deadline` and
`handle_timeout` are the only clock. No input of the peer makes anything here raise.
"""

import math
from collections import deque
from enum import Enum, auto

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import CauseOfEnd, MalformedPacket
from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.authenticator import AuthenticationProtocol
from poptrio.protocols.ppp.ccp import Ccp, EncryptionPolicy, usable_bits
from poptrio.protocols.ppp.control_protocol import ControlProtocol, LayerEvent
from poptrio.protocols.ppp.frames import Packet, Protocol, build_frame, protocol_name, split_frame
from poptrio.protocols.ppp.ipcp import Ipcp
from poptrio.protocols.ppp.lcp import Lcp, LcpNote
from poptrio.protocols.ppp.session_events import SessionEvent, SessionSettings

MPPE_OVERHEAD = 4
"""Octets that MPPE takes from the MRU: its header and the inner protocol field (RFC 3078 §3)."""

HELD_FRAMES = 8
"""IPCP packets kept until encryption is settled and an address is known; the peer repeats what is dropped."""

PREFERENCE_WAIT = 1.0
"""Seconds that IPCP waits for CCP where encryption is preferred and the peer is silent about both."""

NOTES_OF_MALFORMED = 5
"""So many malformed packets of one session are noted; all are counted."""


class Phase(Enum):
    """The phases of RFC 1661 §3.2."""

    DEAD = auto()
    ESTABLISH = auto()
    AUTHENTICATE = auto()
    NETWORK = auto()
    TERMINATE = auto()


class PppSession:
    """What both roles share. ``malformed`` counts packets that could not be decoded."""

    def __init__(self, settings: SessionSettings, lcp: Lcp) -> None:
        self.phase = Phase.DEAD
        self.settings = settings
        self.malformed = 0
        self.lcp = lcp
        self.authentication: AuthenticationProtocol | None = None
        self.ccp: Ccp | None = None
        self.ipcp: Ipcp | None = None
        self._encryption = settings.encryption
        self._frames: list[bytes] = []
        self._events: deque[SessionEvent] = deque()
        self._held: list[Packet] = []
        self._ccp_over = False
        self._network_up = False
        self._terminating: tuple[CauseOfEnd, str] | None = None
        self._echoes_out = 0
        self._echo_deadline = math.inf
        self._establish_deadline = math.inf
        self._preference_deadline = math.inf

    # The outside.

    def start(self, now: float) -> None:
        """The GRE channel is there: begin with LCP."""
        self.phase = Phase.ESTABLISH
        self._establish_deadline = now + self.settings.establish_timeout
        self.lcp.open(now)
        self.lcp.up(now)
        self._settle(now)

    def receive_frame(self, frame: bytes, now: float) -> None:
        """Take one PPP frame that is not a network packet; address and control may be there or not."""
        if self.phase is Phase.DEAD:
            return
        try:
            self._dispatch(*split_frame(frame), now)
        except MalformedPacket as error:
            self.malformed += 1
            if self.malformed <= NOTES_OF_MALFORMED:
                self._note("malformed-packet", str(error))
        self._settle(now)

    def frames_to_send(self) -> list[bytes]:
        """The complete PPP frames that have become due, in order; each is handed out once."""
        frames, self._frames = self._frames, []
        return frames

    def next_event(self) -> SessionEvent | None:
        """What happened next, or None. After `SessionEnded` nothing follows."""
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float:
        """When `handle_timeout` wants to be called; infinity while nothing is waited for."""
        own = min(self._echo_deadline, self._establish_deadline, self._preference_deadline)
        return min(own, *(layer.deadline for layer in self._layers()), self._role_deadline())

    def handle_timeout(self, now: float) -> None:
        """Do what has become due; harmless when nothing has."""
        for layer in self._layers():
            layer.handle_timeout(now)
        if now >= self._echo_deadline:
            self._send_echo(now)
        if now >= self._preference_deadline:
            self._preference_deadline = math.inf
            self._ccp_over = True
        if now >= self._establish_deadline:
            self._establish_deadline = math.inf
            self.terminate(*self._stuck(), now)
        self._role_timeout(now)
        self._settle(now)

    def terminate(self, cause: CauseOfEnd, detail: str, now: float) -> None:
        """Say goodbye with a Terminate-Request; `SessionEnded` follows when it is answered or was in vain.

        The first cause counts. A peer that was never heard is not waited for.
        """
        if self.phase in (Phase.DEAD, Phase.TERMINATE):
            return
        self.phase = Phase.TERMINATE
        self._terminating = cause, detail
        self._stop_network()
        self._echo_deadline = self._establish_deadline = self._preference_deadline = math.inf
        if self.lcp.heard:
            self._collect_all()
            self.lcp.close(now)
            self._settle(now)
        else:
            self._end(cause, detail)

    def request_encryption_reset(self, now: float) -> None:
        """Stateful MPPE lost its place in what arrives: ask the peer for a flush (RFC 3078 §8)."""
        if self.ccp is not None:
            self.ccp.request_reset()
            self._settle(now)

    # What the roles add.

    def _link_up(self, now: float) -> None:
        """LCP is Opened."""

    def _authentication_moved(self, now: float) -> None:
        """The authentication protocol may have something new."""

    def _role_deadline(self) -> float:
        return math.inf

    def _role_timeout(self, now: float) -> None:
        """A deadline of the role's own may have come."""

    # From one phase to the next.

    def _start_network(self, encryption: EncryptionPolicy, keys: MppeKeys | None, now: float) -> None:
        """The peer is authenticated: negotiate encryption, then addresses."""
        self.phase = Phase.NETWORK
        self._events.append(events.Authenticated())
        bits = usable_bits(encryption, keys) if keys is not None else ()
        self._encryption = EncryptionPolicy(encryption.policy, bits, encryption.mode)
        if encryption.policy == "refuse" or (not bits and not encryption.required):
            self._ccp_over = True
        elif keys is None or not bits:
            why = "authentication gave no MPPE keys" if keys is None else "authentication gave no keys for these bits"
            self.terminate(CauseOfEnd.ENCRYPTION_NOT_AGREED, why, now)
        else:
            self.ccp = Ccp(self._encryption, keys, self.settings.negotiation)
            self.ccp.open(now)
            self.ccp.up(now)
            if not encryption.required:
                self._preference_deadline = now + PREFERENCE_WAIT

    def _open_ipcp_if_due(self, now: float) -> None:
        if self.ipcp is None or self.phase is not Phase.NETWORK or self.ipcp.state != 0:
            return
        encrypted = self.ccp is not None and self.ccp.opened
        if encrypted or self._ccp_over or (self._held and not self._encryption.required):
            self._preference_deadline = math.inf
            self.ipcp.open(now)
            self.ipcp.up(now)
            self._collect(self.ipcp)
            held, self._held = self._held, []
            for packet in held:
                self.ipcp.receive(packet, now)

    def _stuck(self) -> tuple[CauseOfEnd, str]:
        """What a session that makes no progress is waiting for."""
        if self.phase is Phase.ESTABLISH:
            return (CauseOfEnd.LCP_TIMEOUT if self.lcp.heard else CauseOfEnd.NO_GRE), ""
        if self.phase is Phase.AUTHENTICATE:
            return CauseOfEnd.AUTHENTICATION_TIMEOUT, ""
        if not self._ccp_over and not (self.ccp is not None and self.ccp.opened):
            why = (self.ccp.failure or self.ccp.mppe.disagreement) if self.ccp is not None else None
            return CauseOfEnd.ENCRYPTION_NOT_AGREED, why or "the peer does not answer CCP"
        disagreement = (self.ipcp.failure or self.ipcp.address.disagreement) if self.ipcp is not None else None
        return (CauseOfEnd.NETWORK_NOT_AGREED if disagreement else CauseOfEnd.NETWORK_TIMEOUT), disagreement or ""

    def _stop_network(self) -> None:
        if self._network_up:
            self._network_up = False
            self._events.append(events.NetworkDown())
        if self.ccp is not None:
            self._events.append(events.EncryptionChanged(None, None))

    def _end(self, cause: CauseOfEnd, detail: str) -> None:
        if self.phase is not Phase.DEAD:
            self._collect_all()
            self._stop_network()
            self.phase = Phase.DEAD
            self._events.append(events.SessionEnded(*(self._terminating or (cause, detail))))
            self._echo_deadline = self._establish_deadline = self._preference_deadline = math.inf

    # Frames in and out.

    def _dispatch(self, number: int, information: bytes, now: float) -> None:
        layer = self.authentication
        if number == Protocol.LCP:
            self.lcp.receive(Packet.decode(information, "LCP"), now)
        elif self.phase in (Phase.AUTHENTICATE, Phase.NETWORK) and layer is not None and number == layer.protocol:
            layer.receive(Packet.decode(information, layer.protocol.name), now)
        elif self.phase is not Phase.NETWORK:
            return  # Not authenticated: not even looked at, and not answered (RFC 1661 §3.5).
        elif number == Protocol.CCP and self.ccp is not None:
            self.ccp.receive(Packet.decode(information, "CCP"), now)
        elif number == Protocol.IPCP:
            self._receive_ipcp(Packet.decode(information, "IPCP"), now)
        else:
            self.lcp.send_protocol_reject(number, information)
            self._note("protocol-rejected", f"{protocol_name(number)} is not spoken here")

    def _receive_ipcp(self, packet: Packet, now: float) -> None:
        if self.ipcp is not None and self.ipcp.state != 0:
            self.ipcp.receive(packet, now)
        elif len(self._held) < HELD_FRAMES:
            self._held.append(packet)  # Answered as soon as we may, so that the peer need not repeat it after 3 s.

    def _settle(self, now: float) -> None:
        """Carry every consequence of what just happened through all layers, until nothing moves."""
        moving = True
        while moving and self.phase is not Phase.DEAD:
            self._collect_all()
            moving = self._lcp_moved(now)
            if self.phase in (Phase.AUTHENTICATE, Phase.NETWORK):
                self._authentication_moved(now)
            moving |= self._ccp_moved(now) | self._ipcp_moved(now)
            self._open_ipcp_if_due(now)
        self._collect_all()

    def _layers(self) -> list[ControlProtocol | AuthenticationProtocol]:
        if self.phase is Phase.DEAD:
            return []
        if self.phase is Phase.TERMINATE:
            return [self.lcp]
        return [layer for layer in (self.lcp, self.authentication, self.ccp, self.ipcp) if layer is not None]

    def _collect_all(self) -> None:
        for layer in (self.lcp, self.authentication, self.ccp, self.ipcp):
            if layer is not None:
                self._collect(layer)

    def _collect(self, layer: ControlProtocol | AuthenticationProtocol) -> None:
        acfc = self.lcp.acfc.peer_accepts
        for packet in layer.packets_to_send():
            self._frames.append(build_frame(layer.protocol, packet.encode(), acfc))

    def _note(self, event: str, detail: str) -> None:
        self._events.append(events.Noted(event, detail))

    # What each control protocol reports.

    def _lcp_moved(self, now: float) -> bool:
        happened, self.lcp.layer_events = self.lcp.layer_events, []
        for event in happened:
            if event is LayerEvent.UP:
                self._echo_deadline = now + (self.settings.lcp_echo_interval or math.inf)
                self._link_up(now)
            elif event is LayerEvent.DOWN and self.phase is not Phase.TERMINATE:
                self._lcp_down(now)
            elif event is LayerEvent.FINISHED:
                self._end(*self._stuck())
        notes, self.lcp.notes = self.lcp.notes, []
        for note, octets in notes:
            self._lcp_note(note, octets, now)
        if self.lcp.failure is not None and self.phase is Phase.ESTABLISH:
            self.terminate(CauseOfEnd.AUTHENTICATION_NOT_AGREED, self.lcp.failure, now)
        return bool(happened or notes)

    def _lcp_down(self, now: float) -> None:
        if self.lcp.terminated_by_peer:
            self._end(*self._peer_left())
        elif self.phase is Phase.AUTHENTICATE:
            self.phase = Phase.ESTABLISH
            self.authentication = None
        else:
            # Another user could answer the next challenge under this one's address and keys.
            self.terminate(CauseOfEnd.PROTOCOL_ERROR, "it negotiated LCP again after it was authenticated", now)

    def _peer_left(self) -> tuple[CauseOfEnd, str]:
        """Why the peer sent an LCP Terminate-Request, as far as the phase tells."""
        if self.phase is Phase.NETWORK and not self._network_up:
            cause, detail = self._stuck()
            if cause is CauseOfEnd.NETWORK_TIMEOUT:
                cause = CauseOfEnd.NETWORK_NOT_AGREED
            return cause, f"the peer hung up meanwhile; {detail}".rstrip("; ")
        return CauseOfEnd.CLIENT_HUNG_UP, "" if self._network_up else "before it was authenticated"

    def _lcp_note(self, note: LcpNote, octets: bytes, now: float) -> None:
        match note:
            case LcpNote.PROTOCOL_REJECTED:
                number = int.from_bytes(octets, "big")
                self._note("protocol-rejected-by-peer", f"the peer does not speak {protocol_name(number)}")
                for layer in (self.ccp, self.ipcp):
                    if layer is not None and layer.protocol == number:
                        layer.failure = f"the peer does not speak {layer.protocol.name} (Protocol-Reject)"
                        layer.rejected_by_peer(now)
            case LcpNote.ECHO_REPLY:
                self._echoes_out = 0
            case LcpNote.LOOPBACK:
                self.terminate(CauseOfEnd.LCP_LOOPBACK, "", now)
            case LcpNote.IDENTIFICATION:
                self._note("identification", octets.decode("utf-8", "replace"))
            case LcpNote.TIME_REMAINING:
                self._note("time-remaining", f"{int.from_bytes(octets, 'big')} seconds, says the peer")

    def _send_echo(self, now: float) -> None:
        if self._echoes_out >= self.settings.lcp_echo_failures:
            self._end(CauseOfEnd.LCP_ECHO_TIMEOUT, f"{self._echoes_out} Echo-Requests in a row")
            return
        self._echoes_out += 1
        self._echo_deadline = now + self.settings.lcp_echo_interval
        self.lcp.send_echo_request()

    def _ccp_moved(self, now: float) -> bool:
        ccp = self.ccp
        if ccp is None or self.phase is not Phase.NETWORK:
            return False
        if ccp.readied:
            ccp.readied = False
            self._events.append(events.EncryptionChanged(ccp.send_parameters, ccp.receive_parameters))
        if ccp.reset_requested:
            ccp.reset_requested = False
            self._events.append(events.EncryptionReset())
        happened, ccp.layer_events = ccp.layer_events, []
        for event in happened:
            if event is LayerEvent.UP:
                self._ccp_up(ccp, now)
            elif event is LayerEvent.DOWN:
                self._encryption_gone(CauseOfEnd.ENCRYPTION_LOST, "CCP went down", now)
            elif event is LayerEvent.FINISHED:
                self._encryption_gone(*self._stuck(), now)
        if ccp.failure is not None:
            self._encryption_gone(CauseOfEnd.ENCRYPTION_NOT_AGREED, ccp.failure, now)
        return bool(happened)

    def _ccp_up(self, ccp: Ccp, now: float) -> None:
        send, receive = ccp.send_parameters, ccp.receive_parameters
        if self._encryption.required and (send is None or receive is None):
            self._encryption_gone(CauseOfEnd.ENCRYPTION_NOT_AGREED, "the peer wants one direction in clear", now)
            return
        self._events.append(events.EncryptionChanged(send, receive))
        self._events.append(events.EncryptionUp(send, receive))
        if self.ipcp is not None:
            # A peer that requires MPPE has answered Terminate-Ack to our first request (pppd does).
            self.ipcp.repeat_request(now)
            if self._network_up:
                self._report_network(self.ipcp)

    def _encryption_gone(self, cause: CauseOfEnd, detail: str, now: float) -> None:
        self._events.append(events.EncryptionChanged(None, None))
        self._ccp_over = True
        if self._encryption.required:
            self.terminate(cause, detail, now)

    def _ipcp_moved(self, now: float) -> bool:
        ipcp = self.ipcp
        if ipcp is None or self.phase is not Phase.NETWORK:
            return False
        happened, ipcp.layer_events = ipcp.layer_events, []
        for event in happened:
            if event is LayerEvent.UP:
                self._network_up = True
                self._establish_deadline = math.inf
                self._report_network(ipcp)
            elif event is LayerEvent.DOWN:
                self._network_up = False
                self._events.append(events.NetworkDown())
            elif event is LayerEvent.FINISHED:
                self.terminate(CauseOfEnd.NETWORK_NOT_AGREED, "the peer ended or refused IPCP", now)
        if ipcp.failure is not None:
            self.terminate(CauseOfEnd.NETWORK_NOT_AGREED, ipcp.failure, now)
        return bool(happened)

    def _report_network(self, ipcp: Ipcp) -> None:
        encrypted = self.ccp is not None and self.ccp.send_parameters is not None
        mtu = min(self.settings.mru, self.lcp.mru.peers) - (MPPE_OVERHEAD if encrypted else 0)
        self._events.append(
            events.NetworkUp(
                our_address=ipcp.address.ours,
                peer_address=ipcp.address.peers,
                mtu=mtu,
                pfc=self.lcp.pfc.peer_accepts,
                acfc=self.lcp.acfc.peer_accepts,
                dns=ipcp.dns,
            )
        )
