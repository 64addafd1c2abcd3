"""One PPP session: the phases of RFC 1661 §3 over LCP, an authentication protocol, CCP and IPCP.

Theory of operation. `Phase` says which protocols are listened to; everything else is dropped unseen until the peer is
authenticated, and answered with a Protocol-Reject afterwards. A phase ends by an event of a control protocol:

    Dead ─start→ Establish ─LCP up→ Authenticate ─accepted→ Network ─IPCP up→ (IP passes) ─terminate→ Terminate ─→ Dead

What happens in Network is in `network_phase`; what differs between the roles is in `server_session` and
`client_session`.

Frames go in by `receive_frame`, out by `frames_to_send`; `next_event` says what happened; `next_deadline` and
`handle_timeout` are the only clock. No input of the peer makes anything here raise.
"""

import math
from enum import Enum, auto
from typing import assert_never

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import CauseOfEnd, MalformedPacket
from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.authenticator import AuthenticationProtocol
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.control_protocol import ControlProtocol, LayerEvent
from poptrio.protocols.ppp.frames import LARGEST_FRAME, Code, Packet, Protocol, build_frame, protocol_name, split_frame
from poptrio.protocols.ppp.lcp import Lcp, LcpNote
from poptrio.protocols.ppp.network_phase import NetworkPhase
from poptrio.protocols.ppp.session_events import SessionEvent, SessionSettings

NOTES_OF_MALFORMED = 5
"""So many malformed packets of one session are noted; all are counted."""

MOST_NEGOTIATIONS = 10
"""How often LCP may come up before the peer is authenticated. Each time is another challenge to be judged."""


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
        self.network: NetworkPhase | None = None
        self._frames: list[bytes] = []
        self._events: list[SessionEvent] = []
        self._heard = False
        self._last_heard = -math.inf
        self._negotiations = 0
        self._terminating: tuple[CauseOfEnd, str] | None = None
        self._echoes_out = 0
        self._echo_deadline = math.inf
        self._establish_deadline = math.inf
        self._other_deadline = math.inf  # the earliest of all that is no echo; `_settle` looks for it

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
        self._heard = True
        try:
            if len(frame) > LARGEST_FRAME:
                raise MalformedPacket(f"PPP frame of {len(frame)} octets, at most {LARGEST_FRAME} fit into the MRU")
            is_echo = self._dispatch(*split_frame(frame), now)
            self._peer_lives(now)
        except MalformedPacket as error:
            is_echo = False
            self._malformed(error)
        if is_echo:
            self._collect(self.lcp)
        else:
            self._settle(now)

    def peer_heard(self, last_packet: float) -> None:
        """GRE packets come from the peer; the last IP packet among them came at ``last_packet``, 0.0 if none did.

        What is heard spares the peer an LCP Echo-Request; tell it before `handle_timeout`.
        """
        self._heard = True
        self._peer_lives(last_packet)

    def frames_to_send(self) -> list[bytes]:
        """The complete PPP frames that have become due, in order; each is handed out once."""
        frames, self._frames = self._frames, []
        return frames

    def next_event(self) -> SessionEvent | None:
        """What happened next, or None. After `SessionEnded` nothing follows."""
        return self._events.pop(0) if self._events else None

    def next_deadline(self) -> float:
        """When `handle_timeout` wants to be called; infinity while nothing is waited for."""
        return min(self._echo_deadline, self._other_deadline)

    def handle_timeout(self, now: float) -> None:
        """Do what has become due; harmless when nothing has."""
        if now >= self._echo_deadline:
            self._send_echo(now)
            self._collect(self.lcp)
        if now < self._other_deadline:
            return
        for timed in self._timed():
            timed.handle_timeout(now)
        if now >= self._establish_deadline:
            self._give_up(*self._stuck(), now)
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
        self._echo_deadline = self._establish_deadline = math.inf
        if self.lcp.heard:
            self._events.append(events.SessionEnding(cause, detail))
            self._collect_all()
            self.lcp.close(now)
            self._settle(now)
        else:
            self._end(cause, detail)

    def _give_up(self, cause: CauseOfEnd, detail: str, now: float) -> None:
        """Time is up. Where not even LCP is Opened, nobody can be expected to answer the Terminate-Request."""
        answering = self.lcp.opened
        self.terminate(cause, detail, now)
        if not answering and self.phase is Phase.TERMINATE:
            self._end(cause, detail)

    def request_encryption_reset(self, now: float) -> None:
        """Stateful MPPE lost its place in what arrives: ask the peer for a flush (RFC 3078 §8)."""
        if self.network is not None and self.network.ccp is not None:
            self.network.ccp.request_reset()
            self._settle(now)

    # What the roles add.

    def _link_up(self, now: float) -> None:
        """LCP is Opened."""

    def _authentication_moved(self, now: float) -> None:
        """The authentication protocol may have something new."""

    def _early_network_packet(self, now: float) -> bool:
        """A packet of a network protocol came before the Network phase; whether that has begun by it."""
        return False

    def _role_deadline(self) -> float:
        return math.inf

    def _role_timeout(self, now: float) -> None:
        """A deadline of the role's own may have come."""

    # From one phase to the next.

    def _start_network(self, encryption: EncryptionPolicy, keys: MppeKeys | None, now: float) -> NetworkPhase:
        """The peer is authenticated: negotiate encryption, then addresses."""
        self.phase = Phase.NETWORK
        self._events.append(events.Authenticated())
        network = self.network = NetworkPhase(self.settings, self.lcp, self._events.append, self._malformed)
        network.start(encryption, keys, now)
        return network

    def _stuck(self) -> tuple[CauseOfEnd, str]:
        """What a session that makes no progress is waiting for."""
        if self.phase is Phase.NETWORK and self.network is not None:
            return self.network.stuck()
        if self.phase is Phase.AUTHENTICATE:
            return CauseOfEnd.AUTHENTICATION_TIMEOUT, ""
        if self.lcp.dispute is not None:
            return self._lcp_not_agreed(self.lcp.dispute)
        return (CauseOfEnd.LCP_TIMEOUT if self._heard else CauseOfEnd.NO_GRE), ""

    def _lcp_not_agreed(self, why: str) -> tuple[CauseOfEnd, str]:
        about = self.lcp.authentication
        if about.failure is not None or about.disagreement is not None:
            return CauseOfEnd.AUTHENTICATION_NOT_AGREED, why
        return CauseOfEnd.LCP_NOT_AGREED, why

    def _peer_left(self) -> tuple[CauseOfEnd, str]:
        """Why the peer sent an LCP Terminate-Request, as far as the phase tells."""
        if self.phase is Phase.NETWORK and self.network is not None:
            return self.network.left_by_peer()
        if self.phase is Phase.AUTHENTICATE:
            return CauseOfEnd.CLIENT_HUNG_UP, "before it was authenticated"
        if self.lcp.dispute is not None:
            return self._lcp_not_agreed(self.lcp.dispute)
        return CauseOfEnd.CLIENT_HUNG_UP, "before LCP was up"

    def _end_as_said(self, cause: CauseOfEnd, detail: str) -> None:
        """The peer hung up; what it said of it is worth more to an operator than our guess."""
        said = f"the peer said {self.lcp.farewell}" if self.lcp.farewell else ""
        self._end(cause, "; ".join(part for part in (detail, said) if part))

    def _stop_network(self) -> None:
        if self.network is not None:
            self.network.stop()

    def _end(self, cause: CauseOfEnd, detail: str) -> None:
        self._collect_all()
        self._stop_network()
        self.phase = Phase.DEAD
        self._events.append(events.SessionEnded(*(self._terminating or (cause, detail))))
        self._echo_deadline = self._establish_deadline = self._other_deadline = math.inf

    # Frames in and out.

    def _dispatch(self, number: int, information: bytes, now: float) -> bool:
        """Hand a packet to its protocol; whether it is an echo, from which nothing follows for any other."""
        layer = self.authentication
        if number == Protocol.LCP:
            packet = Packet.decode(information, "LCP")
            self.lcp.receive(packet, now)
            return packet.code in (Code.ECHO_REPLY, Code.ECHO_REQUEST) and not self.lcp.notes
        if self.phase in (Phase.AUTHENTICATE, Phase.NETWORK) and layer is not None and number == layer.protocol:
            layer.receive(Packet.decode(information, layer.protocol.name), now)
        elif self.phase is not Phase.NETWORK and not (
            number in (Protocol.CCP, Protocol.IPCP) and self._early_network_packet(now)
        ):
            pass  # Not authenticated: not even looked at, and not answered (RFC 1661 §3.5).
        elif self.network is not None and not self.network.receive(number, information, now):
            self.lcp.send_protocol_reject(number, information)
            self._note("protocol-rejected", f"{protocol_name(number)} is not spoken here")
        return False

    def _settle(self, now: float) -> None:
        """Carry every consequence of what just happened through all layers, until nothing moves."""
        moving = True
        while moving and self.phase is not Phase.DEAD:
            self._collect_all()
            moving = self._lcp_moved(now)
            if self.phase in (Phase.AUTHENTICATE, Phase.NETWORK):
                self._authentication_moved(now)
            if self.phase is Phase.NETWORK and self.network is not None:
                self._network_moved(self.network, now)
        self._collect_all()
        self._find_deadline()

    def _find_deadline(self) -> None:
        own = min(self._establish_deadline, self._role_deadline())
        self._other_deadline = min([own, *(timed.deadline for timed in self._timed())])

    def _network_moved(self, network: NetworkPhase, now: float) -> None:
        network.settle(now)
        if network.up:
            self._establish_deadline = math.inf
        if network.ending is not None:
            self.terminate(*network.ending, now)

    def _layers(self) -> list[ControlProtocol | AuthenticationProtocol]:
        """The protocols that there are, in the order in which their packets leave."""
        layers: list[ControlProtocol | AuthenticationProtocol] = [self.lcp]
        if self.authentication is not None:
            layers.append(self.authentication)
        if self.network is not None:
            layers += self.network.layers()
        return layers

    def _timed(self) -> list[ControlProtocol | AuthenticationProtocol | NetworkPhase]:
        """Everything with a deadline that counts in this phase."""
        if self.phase is Phase.DEAD:
            return []
        if self.phase is Phase.TERMINATE:
            return [self.lcp]
        return [*self._layers(), *([self.network] if self.network is not None else [])]

    def _collect_all(self) -> None:
        for layer in self._layers():
            if layer.has_packets:
                self._collect(layer)

    def _collect(self, layer: ControlProtocol | AuthenticationProtocol) -> None:
        acfc = self.lcp.acfc.peer_accepts
        for packet in layer.packets_to_send():
            self._frames.append(build_frame(layer.protocol, packet.encode(), acfc))

    def _malformed(self, error: MalformedPacket) -> None:
        self.malformed += 1
        if self.malformed <= NOTES_OF_MALFORMED:
            self._note("malformed-packet", str(error))

    def _note(self, event: str, detail: str) -> None:
        self._events.append(events.Noted(event, detail))

    # What LCP reports.

    def _lcp_moved(self, now: float) -> bool:
        lcp = self.lcp
        happened, lcp.layer_events = lcp.layer_events, ()
        notes, lcp.notes = lcp.notes, ()
        for event in happened:
            if event is LayerEvent.UP:
                self._negotiations += 1
                self._echoes_out = 0
                self._echo_deadline = now + (self.settings.lcp_echo_interval or math.inf)
                self._link_up(now)
            elif event is LayerEvent.DOWN and self.phase is not Phase.TERMINATE:
                self._lcp_down(now)
            elif event is LayerEvent.FINISHED:
                self._end(*self._stuck())
        for note, octets in notes:
            self._lcp_note(note, octets, now)
        if self.phase is Phase.ESTABLISH and lcp.terminated_by_peer:
            self._end_as_said(*self._peer_left())
        elif self.phase is Phase.ESTABLISH and lcp.failure is not None:
            self.terminate(*self._lcp_not_agreed(lcp.failure), now)
        return bool(happened or notes)

    def _lcp_down(self, now: float) -> None:
        if self.lcp.terminated_by_peer:
            self._end_as_said(*self._peer_left())
        elif self.phase is Phase.AUTHENTICATE and self._negotiations >= MOST_NEGOTIATIONS:
            self.terminate(CauseOfEnd.PROTOCOL_ERROR, f"it negotiated LCP {self._negotiations} times", now)
        elif self.phase is Phase.AUTHENTICATE:
            self.phase = Phase.ESTABLISH
            self.authentication = None
            self._echo_deadline = math.inf  # No Echo-Requests but in Opened (RFC 1661 §5.8).
        else:
            # Another user could answer the next challenge under this one's address and keys.
            why = self.lcp.failure or "it negotiated LCP again after it was authenticated"
            self.terminate(CauseOfEnd.PROTOCOL_ERROR, why, now)

    def _lcp_note(self, note: LcpNote, octets: bytes, now: float) -> None:
        match note:
            case LcpNote.PROTOCOL_REJECTED:
                number = int.from_bytes(octets, "big")
                self._note("protocol-rejected-by-peer", f"the peer does not speak {protocol_name(number)}")
                if self.network is not None:
                    self.network.rejected_by_peer(number, now)
            case LcpNote.LOOPBACK:
                self.terminate(CauseOfEnd.LCP_LOOPBACK, "", now)
            case LcpNote.IDENTIFICATION:
                self._note("identification", octets.decode("utf-8", "replace"))
            case LcpNote.TIME_REMAINING:
                self._note("time-remaining", f"{int.from_bytes(octets, 'big')} seconds, says the peer")
            case _:
                assert_never(note)

    def _peer_lives(self, when: float) -> None:
        """The peer was heard at ``when``: no Echo-Request is unanswered any more."""
        if when > self._last_heard:
            self._last_heard = when
            self._echoes_out = 0

    def _send_echo(self, now: float) -> None:
        silent_until = self._last_heard + self.settings.lcp_echo_interval
        if silent_until > now:
            self._echo_deadline = silent_until
            return
        if self._echoes_out >= self.settings.lcp_echo_failures:
            self._end(CauseOfEnd.LCP_ECHO_TIMEOUT, f"{self._echoes_out} Echo-Requests in a row")
            return
        self._echoes_out += 1
        self._echo_deadline = now + self.settings.lcp_echo_interval
        self.lcp.send_echo_request()
