"""The Network-Layer Protocol phase of a session (RFC 1661 §3.6): encryption by CCP first, then addresses by IPCP.

Where encryption is required, IPCP begins when CCP is up: pppd answers it with a Terminate-Ack before. Where it is
preferred, IPCP begins when CCP is settled one way or the other, or when the peer begins with it, or after a short wait.
"""

import math
from collections.abc import Callable
from ipaddress import IPv4Address

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import CauseOfEnd, MalformedPacket
from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.automaton import State
from poptrio.protocols.ppp.ccp import Ccp, EncryptionPolicy, usable_bits
from poptrio.protocols.ppp.control_protocol import ControlProtocol, LayerEvent
from poptrio.protocols.ppp.frames import Packet, Protocol
from poptrio.protocols.ppp.ipcp import Ipcp, requested_address
from poptrio.protocols.ppp.lcp import Lcp
from poptrio.protocols.ppp.session_events import SessionEvent, SessionSettings

MPPE_OVERHEAD = 4
"""Octets that MPPE takes from the MRU: its header and the inner protocol field (RFC 3078 §3)."""

HELD_PACKETS = 8
"""IPCP packets kept until encryption is settled and an address is known; the peer repeats what is dropped."""

PREFERENCE_WAIT = 1.0
"""Seconds that IPCP waits for CCP where encryption is preferred and the peer is silent about both."""

REFUSAL_WAIT = 1.0
"""Seconds that a peer has to begin with IPCP when there is no address for it, so that it sees IPCP refused."""


class NetworkPhase:
    """CCP and IPCP of one session, from authentication to the end.

    The role sets ``ipcp`` as soon as the addresses are known. ``up``: IP may pass. ``ending`` is why the session must
    end, once that is certain. ``wished_address`` is what the peer's first Configure-Request of IPCP asked for, if that
    came before ``ipcp`` was set, and None if it asked for nothing. ``tell`` takes the events, ``malformed`` the packets
    that were held and make no sense.
    """

    def __init__(
        self,
        settings: SessionSettings,
        lcp: Lcp,
        tell: Callable[[SessionEvent], None],
        malformed: Callable[[MalformedPacket], None],
    ) -> None:
        self.ccp: Ccp | None = None
        self.ipcp: Ipcp | None = None
        self.up = False
        self.ending: tuple[CauseOfEnd, str] | None = None
        self._settings = settings
        self._lcp = lcp
        self._tell = tell
        self._malformed = malformed
        self._preference_deadline = math.inf
        self._refusal_deadline = math.inf
        self._no_address: str | None = None
        self._required = True
        self._agreed = False  # at least one direction was encrypted
        self._ccp_over = False
        self._ccp_refused = False
        self._held: tuple[Packet, ...] = ()
        self.wished_address: IPv4Address | None = None

    def start(self, encryption: EncryptionPolicy, keys: MppeKeys | None, now: float) -> None:
        """The peer is authenticated, which yielded ``keys``: begin with CCP if there is to be encryption."""
        bits = usable_bits(encryption, keys) if keys is not None else ()
        self._required = encryption.required
        if encryption.policy == "refuse" or (not bits and not encryption.required):
            self._ccp_over = True
        elif keys is None or not bits:
            why = "authentication gave no MPPE keys" if keys is None else "authentication gave no keys for these bits"
            self._end(CauseOfEnd.ENCRYPTION_NOT_AGREED, why)
        else:
            policy = EncryptionPolicy(encryption.policy, bits, encryption.mode)
            self.ccp = Ccp(policy, keys, self._settings.negotiation)
            self.ccp.open(now)
            self.ccp.up(now)
            if not encryption.required:
                self._preference_deadline = now + PREFERENCE_WAIT

    def no_address(self, detail: str) -> None:
        """There is no address for the peer: refuse IPCP when its turn comes, and end."""
        self._no_address = detail

    @property
    def deadline(self) -> float:
        """When `handle_timeout` wants to be called."""
        return min(self._preference_deadline, self._refusal_deadline)

    def stop(self) -> None:
        """The session ends: nothing may pass any more."""
        if self.up:
            self.up = False
            self._tell(events.NetworkDown())
        if self.ccp is not None:
            self._tell(events.EncryptionChanged(None, None))

    def layers(self) -> list[ControlProtocol]:
        """The control protocols that there are, in the order in which their packets leave."""
        layers: list[ControlProtocol] = [] if self.ccp is None else [self.ccp]
        if self.ipcp is not None:
            layers.append(self.ipcp)
        return layers

    def receive(self, protocol: int, information: bytes, now: float) -> bool:
        """Take a packet; False if ``protocol`` is not spoken here. Raises `MalformedPacket`."""
        if protocol == Protocol.IPCP:
            self._receive_ipcp(Packet.decode(information, "IPCP"), now)
            return True
        if protocol == Protocol.CCP and self.ccp is not None:
            self.ccp.receive(Packet.decode(information, "CCP"), now)
            return True
        self._ccp_refused |= protocol == Protocol.CCP
        return False

    def rejected_by_peer(self, protocol: int, now: float) -> None:
        """The peer sent an LCP Protocol-Reject."""
        for layer in self.layers():
            if layer.protocol == protocol:
                layer.failure = f"the peer does not speak {layer.protocol.name} (Protocol-Reject)"
                layer.rejected_by_peer(now)

    def handle_timeout(self, now: float) -> None:
        """Encryption, or the peer's IPCP, has been waited for long enough, if that is due."""
        if now >= self._preference_deadline:
            self._preference_deadline = math.inf
            self._ccp_over = True
        if now >= self._refusal_deadline and self._no_address is not None:
            self._refusal_deadline = math.inf
            self._end(CauseOfEnd.ADDRESS_UNAVAILABLE, self._no_address)

    def settle(self, now: float) -> None:
        """Carry what happened in CCP to IPCP, and tell both."""
        if self.ccp is not None:
            self._ccp_moved(self.ccp, now)
        if self.ipcp is not None and self.ending is None:
            self._open_ipcp_if_due(self.ipcp, now)
            self._ipcp_moved(self.ipcp)
        elif self._no_address is not None and self.ending is None:
            self._refuse_ipcp_if_due(self._no_address, now)

    def stuck(self) -> tuple[CauseOfEnd, str]:
        """What a session that gets no further is waiting for."""
        if not self._encryption_settled:
            why = self.ccp.dispute if self.ccp is not None else None
            return CauseOfEnd.ENCRYPTION_NOT_AGREED, why or "the peer does not answer CCP"
        if self.ipcp is None:
            return CauseOfEnd.ADDRESS_UNAVAILABLE, self._no_address or "no plugin had answered yet"
        dispute = self.ipcp.dispute
        return (CauseOfEnd.NETWORK_NOT_AGREED if dispute else CauseOfEnd.NETWORK_TIMEOUT), dispute or ""

    def left_by_peer(self) -> tuple[CauseOfEnd, str]:
        """Why the peer sent an LCP Terminate-Request, as far as we can tell."""
        if self.up:
            return CauseOfEnd.CLIENT_HUNG_UP, ""
        if self._ccp_refused:
            return CauseOfEnd.ENCRYPTION_NOT_AGREED, "the peer wants CCP, which is refused here, and hung up"
        cause, detail = self.stuck()
        if cause is CauseOfEnd.ADDRESS_UNAVAILABLE:
            if self._no_address is not None:
                return cause, detail
            return CauseOfEnd.CLIENT_HUNG_UP, "before it had an address"
        if cause is CauseOfEnd.NETWORK_TIMEOUT:
            cause = CauseOfEnd.NETWORK_NOT_AGREED
        return cause, f"the peer hung up meanwhile; {detail}".rstrip("; ")

    # Encryption.

    @property
    def _encryption_settled(self) -> bool:
        return self._ccp_over or (self.ccp is not None and self.ccp.opened)

    def _ccp_moved(self, ccp: Ccp, now: float) -> None:
        happened, ccp.layer_events = ccp.layer_events, ()
        for event in happened:
            if event is LayerEvent.UP:
                self._ccp_up(ccp, now)
            elif event is LayerEvent.DOWN:
                why = "the peer ended CCP" if ccp.terminated_by_peer else "CCP went down"
                self._encryption_gone(CauseOfEnd.ENCRYPTION_LOST, ccp.failure or why)
            elif event is LayerEvent.FINISHED:
                self._encryption_gone(*self.stuck())
        if ccp.terminated_by_peer:
            ccp.terminated_by_peer = False
            self._encryption_gone(CauseOfEnd.ENCRYPTION_NOT_AGREED, "the peer ended CCP")
        if ccp.failure is not None:
            failure, ccp.failure = ccp.failure, None
            self._encryption_gone(CauseOfEnd.ENCRYPTION_NOT_AGREED, failure)
        readied, ccp.readied = ccp.readied, False
        if readied and self.ending is None:
            self._tell(events.EncryptionChanged(ccp.send_parameters, ccp.receive_parameters))
        if ccp.reset_requested:
            ccp.reset_requested = False
            self._tell(events.EncryptionReset())

    def _ccp_up(self, ccp: Ccp, now: float) -> None:
        send, receive = ccp.send_parameters, ccp.receive_parameters
        if self._required and (send is None or receive is None):
            self._encryption_gone(CauseOfEnd.ENCRYPTION_NOT_AGREED, "the peer wants one direction in clear")
            return
        self._agreed |= send is not None or receive is not None
        self._tell(events.EncryptionChanged(send, receive))
        self._tell(events.EncryptionUp(send, receive))
        if self.ipcp is not None:
            # A peer that requires MPPE has answered Terminate-Ack to our first request (pppd does).
            self.ipcp.repeat_request(now)
            if self.up:
                self._report_network(self.ipcp)

    def _encryption_gone(self, cause: CauseOfEnd, detail: str) -> None:
        self._tell(events.EncryptionChanged(None, None))
        self._ccp_over = True
        if self._required or self._agreed:
            # Also where it was only preferred: a second agreement would use the same keys for other octets.
            self._end(cause, detail)

    # Addresses.

    def _receive_ipcp(self, packet: Packet, now: float) -> None:
        if self.ipcp is not None and self.ipcp.state is not State.INITIAL:
            self.ipcp.receive(packet, now)
        elif len(self._held) < HELD_PACKETS:
            self._held += (packet,)  # Answered as soon as we may, so that the peer need not repeat it after 3 s.
            if len(self._held) == 1 and self.ipcp is None:
                self.wished_address = requested_address(packet)
                self._tell(events.AddressRequested(self.wished_address))

    @property
    def _ipcp_may_begin(self) -> bool:
        begun_by_peer = bool(self._held) and not self._required
        return self._encryption_settled or begun_by_peer

    def _refuse_ipcp_if_due(self, why: str, now: float) -> None:
        """A Protocol-Reject for the peer's first IPCP packet, so that it fails at addresses (Windows: error 720)."""
        if not self._ipcp_may_begin:
            return
        if self._held:
            self._lcp.send_protocol_reject(Protocol.IPCP, self._held[0].encode())
            self._end(CauseOfEnd.ADDRESS_UNAVAILABLE, why)
        elif self._refusal_deadline == math.inf:
            self._refusal_deadline = now + REFUSAL_WAIT

    def _open_ipcp_if_due(self, ipcp: Ipcp, now: float) -> None:
        if ipcp.state is not State.INITIAL or not self._ipcp_may_begin:
            return
        self._preference_deadline = math.inf
        ipcp.open(now)
        ipcp.up(now)
        held, self._held = self._held, ()
        for packet in held:
            try:
                ipcp.receive(packet, now)
            except MalformedPacket as error:
                self._malformed(error)

    def _ipcp_moved(self, ipcp: Ipcp) -> None:
        happened, ipcp.layer_events = ipcp.layer_events, ()
        for event in happened:
            if event is LayerEvent.UP:
                self.up = True
                self._report_network(ipcp)
            elif event is LayerEvent.DOWN:
                self.up = False
                self._tell(events.NetworkDown())
            elif event is LayerEvent.FINISHED:
                self._end(CauseOfEnd.NETWORK_NOT_AGREED, ipcp.dispute or "the peer ended or refused IPCP")
        if ipcp.failure is not None:
            self._end(CauseOfEnd.NETWORK_NOT_AGREED, ipcp.failure)

    def _report_network(self, ipcp: Ipcp) -> None:
        lcp = self._lcp
        encrypted = self.ccp is not None and self.ccp.send_parameters is not None
        self._tell(
            events.NetworkUp(
                our_address=ipcp.address.ours,
                peer_address=ipcp.address.peers,
                mtu=min(self._settings.mru, lcp.mru.peers) - (MPPE_OVERHEAD if encrypted else 0),
                pfc=lcp.pfc.peer_accepts,
                acfc=lcp.acfc.peer_accepts,
                dns=ipcp.dns,
            )
        )

    def _end(self, cause: CauseOfEnd, detail: str) -> None:
        """The first cause counts."""
        self.ending = self.ending or (cause, detail)
