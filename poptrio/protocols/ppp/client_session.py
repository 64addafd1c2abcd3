"""The client's role of a PPP session: proves who we are, takes the address that the server assigns."""

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.authenticator import Credentials, Peer
from poptrio.protocols.ppp.chap_peer import ChapPeer
from poptrio.protocols.ppp.eap_peer import EapPeer
from poptrio.protocols.ppp.ipcp import Ipcp
from poptrio.protocols.ppp.lcp import AuthProtocol, Lcp, ProveOption, RandomBytes
from poptrio.protocols.ppp.pap import PapPeer
from poptrio.protocols.ppp.session import Phase, PppSession
from poptrio.protocols.ppp.session_events import SessionSettings


class ClientSession(PppSession):
    """A session with a server that we dialled. ``settings.authentication`` are the protocols that we are ready for."""

    def __init__(self, settings: SessionSettings, credentials: Credentials, random: RandomBytes) -> None:
        self._random = random
        self._credentials = credentials
        self._prove = ProveOption(settings.authentication)
        super().__init__(settings, Lcp(self._prove, settings.mru, settings.negotiation, random))
        self._peer: Peer | None = None

    @property
    def error_code(self) -> int | None:
        """The ``E=`` number of an MS-CHAP Failure (RFC 2759 §6)."""
        return self._peer.error_code if self._peer is not None else None

    def _link_up(self, now: float) -> None:
        kind = self._prove.protocol
        self.phase = Phase.AUTHENTICATE
        self._events.append(events.LinkUp(kind, self.lcp.mru.peers))
        negotiation = self.settings.negotiation
        if kind is None:
            self._start_network(self.settings.encryption, None, now).ipcp = Ipcp.as_client(negotiation)
            return
        if kind is AuthProtocol.PAP:
            self._peer = PapPeer(self._credentials, negotiation)
        elif kind is AuthProtocol.EAP:
            self._peer = EapPeer(self._credentials, negotiation, self._random)
        else:
            self._peer = ChapPeer(kind, self._credentials, negotiation, self._random)
        self.authentication = self._peer
        self._peer.start(now)

    def _authentication_moved(self, now: float) -> None:
        peer = self._peer
        if peer is None:
            return
        if peer.failure is not None:
            self.terminate(peer.cause, peer.failure, now)
        elif peer.succeeded and self.phase is Phase.AUTHENTICATE:
            network = self._start_network(self.settings.encryption, peer.mppe_keys, now)
            network.ipcp = Ipcp.as_client(self.settings.negotiation)

    def _early_network_packet(self, now: float) -> bool:
        """A server that goes on has accepted us, should its EAP Success be lost (RFC 2284 §2.2.2)."""
        peer = self._peer
        if self.phase is not Phase.AUTHENTICATE or not isinstance(peer, EapPeer) or not peer.presume_success():
            return False
        self._settle(now)
        return self.network is not None

    def _peer_left(self) -> tuple[CauseOfEnd, str]:
        peer = self._peer
        if self.phase is Phase.AUTHENTICATE and peer is not None and peer.refusal is not None:
            return CauseOfEnd.AUTHENTICATION_FAILED, peer.refusal
        return super()._peer_left()
