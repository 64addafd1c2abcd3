"""The server's role of a PPP session: demands authentication, assigns addresses."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.protocols.ppp.authenticator import (
    USER_WAIT,
    Accepted,
    Authenticator,
    Challenged,
    EapMethodName,
    Refused,
)
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.chap import ChapAuthenticator
from poptrio.protocols.ppp.eap import EapAuthenticator
from poptrio.protocols.ppp.ipcp import Ipcp
from poptrio.protocols.ppp.lcp import AuthenticateOption, AuthProtocol, Lcp, RandomBytes
from poptrio.protocols.ppp.network_phase import NetworkPhase
from poptrio.protocols.ppp.pap import PapAuthenticator
from poptrio.protocols.ppp.session import Phase, PppSession
from poptrio.protocols.ppp.session_events import SessionSettings


@dataclass(frozen=True, slots=True)
class _Granted:
    """What an authenticated peer gets: in effect when its protocol has ended."""

    encryption: EncryptionPolicy
    keys: MppeKeys | None


class ServerSession(PppSession):
    """A session with a client that dialled in.

    `AuthenticationNeeded` is answered by `authenticated`, `refused`, `challenged` or `speak_eap`; after the first
    success `assign` says which addresses IPCP hands out, or `no_address` that there are none. Every question may be
    answered at any later time; one that nobody waits for any more is ignored: see `awaits`.
    """

    def __init__(self, settings: SessionSettings, random: RandomBytes) -> None:
        self._random = random
        self._demand = AuthenticateOption(settings.authentication)
        super().__init__(settings, Lcp(self._demand, settings.mru, settings.negotiation, random))
        self._authenticator: Authenticator | None = None
        self._challenge_deadline = math.inf
        self._granted: _Granted | None = None
        self._refusal: tuple[CauseOfEnd, str] | None = None
        self._addresses: Callable[[NetworkPhase], None] | None = None

    # Authentication.

    def awaits(self, request: AuthRequest) -> bool:
        """Whether ``request`` still wants an answer: not when LCP was negotiated again meanwhile, or the call ends."""
        return self._asked_by(request) is not None

    def authenticated(
        self,
        request: AuthRequest,
        accepted: Accepted,
        keys: MppeKeys | None,
        now: float,
        encryption: EncryptionPolicy | None = None,
    ) -> None:
        """The client is who it says. ``keys`` and ``encryption`` (instead of the configured one) count the first time.

        Where its protocol tells the client of success by a packet that wants an answer, all waits for that answer.
        """
        authenticator = self._asked_by(request)
        if authenticator is None:
            return
        authenticator.accept(accepted, now)
        self._granted = _Granted(encryption or self.settings.encryption, keys)
        if self.settings.authentication_interval:
            self._challenge_deadline = now + self.settings.authentication_interval
        self._settle(now)

    def refused(self, request: AuthRequest, refused: Refused, cause: CauseOfEnd, detail: str, now: float) -> None:
        """The client is refused: tell it, and end the session for ``cause`` unless it may and does try again."""
        authenticator = self._asked_by(request)
        if authenticator is None:
            return
        self._refusal = cause, detail
        authenticator.refuse(refused, now)
        if authenticator.failure is None:
            self._give_time(now)
        self._settle(now)

    def challenged(self, request: AuthRequest, challenged: Challenged, now: float) -> None:
        """The client must answer something more; it is refused where its protocol has no way to ask."""
        authenticator = self._asked_by(request)
        if authenticator is None:
            return
        fault = authenticator.challenge(challenged, now)
        if fault is not None:
            self.refused(request, Refused(), CauseOfEnd.AUTHENTICATION_FAILED, fault, now)
            return
        if isinstance(authenticator, PapAuthenticator):
            self._give_time(now)
        self._settle(now)

    def speak_eap(self, request: AuthRequest, methods: Sequence[EapMethodName], now: float) -> None:
        """Speak one of these EAP methods with the client, the preferred first; it is refused where that cannot be."""
        authenticator = self._asked_by(request)
        if authenticator is None:
            return
        fault = authenticator.speak(methods, now)
        if fault is not None:
            self.refused(request, Refused(), CauseOfEnd.AUTHENTICATION_FAILED, fault, now)
            return
        self._settle(now)

    @property
    def can_challenge_again(self) -> bool:
        """Whether a client that is authenticated can be asked to prove itself once more: not under PAP."""
        authenticator = self._authenticator
        return self.phase is Phase.NETWORK and authenticator is not None and authenticator.can_challenge_again

    def challenge_again(self, now: float) -> None:
        """Ask the client to prove itself once more, where that can be; nothing if it is being asked just now."""
        if self.can_challenge_again and self._authenticator is not None:
            self._authenticator.challenge_again(now)
            self._settle(now)

    def _asked_by(self, request: AuthRequest) -> Authenticator | None:
        """The authenticator if it waits for the answer to ``request``."""
        authenticator = self._authenticator
        listening = self.phase in (Phase.AUTHENTICATE, Phase.NETWORK)
        return authenticator if listening and authenticator is not None and authenticator.pending is request else None

    def _give_time(self, now: float) -> None:
        """A person must type something in: the call may take that much longer to establish."""
        if self._establish_deadline < math.inf:
            self._establish_deadline = max(self._establish_deadline, now + USER_WAIT)

    # Addresses.

    @property
    def wished_address(self) -> IPv4Address | None:
        """The address that the client asked for before it got one; None: not known yet, or it asked for none."""
        return self.network.wished_address if self.network is not None else None

    def assign(
        self,
        ours: IPv4Address,
        address: IPv4Address,
        dns: Sequence[IPv4Address],
        wins: Sequence[IPv4Address],
        now: float,
    ) -> None:
        """Give the client ``address``, ``dns`` and ``wins`` by IPCP, as soon as encryption is settled."""

        def give(network: NetworkPhase) -> None:
            network.ipcp = Ipcp.as_server(ours, address, dns, wins, self.settings.negotiation)

        self._provide(give, now)

    def no_address(self, detail: str, now: float) -> None:
        """There is no address for the client, for the reason ``detail``; this instead of `assign`.

        The session ends when encryption is settled and IPCP could be refused, so that the client sees what failed.
        """
        self._provide(lambda network: network.no_address(detail), now)

    def _provide(self, addresses: Callable[[NetworkPhase], None], now: float) -> None:
        """Carry out ``addresses`` in the Network phase, which may still have to begin; the first time counts."""
        if self._granted is None or self._addresses is not None or self.phase is Phase.TERMINATE:
            return
        self._addresses = addresses
        if self.phase is Phase.NETWORK and self.network is not None:
            self._carry_out(addresses, self.network)
            self._settle(now)

    def _carry_out(self, addresses: Callable[[NetworkPhase], None], network: NetworkPhase) -> None:
        addresses(network)
        self._addresses = _were_provided

    # What happens.

    def _link_up(self, now: float) -> None:
        kind = self._demand.protocol
        self.phase = Phase.AUTHENTICATE
        self._refusal = None
        self._events.append(events.LinkUp(kind, self.lcp.mru.peers))
        negotiation = self.settings.negotiation
        if kind is AuthProtocol.PAP:
            self._authenticator = PapAuthenticator(negotiation)
        elif kind is AuthProtocol.EAP:
            self._authenticator = EapAuthenticator(self.settings.name, self.lcp.mru.peers, negotiation, self._random)
        else:
            self._authenticator = ChapAuthenticator(kind, self.settings.name, negotiation, self._random)
        self.authentication = self._authenticator
        self._authenticator.start(now)

    def _authentication_moved(self, now: float) -> None:
        authenticator = self._authenticator
        assert authenticator is not None  # there is one in the phases in which this is asked
        requests, authenticator.requests = authenticator.requests, ()
        if requests:
            self._refusal = None
        self._events.extend(events.AuthenticationNeeded(request) for request in requests)
        if authenticator.failure is not None:
            self.terminate(*(self._refusal or self._end_of(authenticator)), now)
        elif authenticator.succeeded and self.phase is Phase.AUTHENTICATE and self._granted is not None:
            network = self._start_network(self._granted.encryption, self._granted.keys, now)
            if self._addresses is not None:
                self._carry_out(self._addresses, network)

    def _end_of(self, authenticator: Authenticator) -> tuple[CauseOfEnd, str]:
        timed_out = authenticator.cause is CauseOfEnd.AUTHENTICATION_TIMEOUT
        return authenticator.cause, "" if timed_out else authenticator.failure or ""

    def _stuck(self) -> tuple[CauseOfEnd, str]:
        authenticator = self._authenticator
        if self.phase is Phase.AUTHENTICATE and authenticator is not None:
            if authenticator.pending is not None:
                return CauseOfEnd.AUTHENTICATION_UNAVAILABLE, "none had answered yet"
            if self._refusal is not None:
                return self._refusal
        return super()._stuck()

    def _peer_left(self) -> tuple[CauseOfEnd, str]:
        if self.phase is Phase.AUTHENTICATE and self._refusal is not None:
            return self._refusal  # it was allowed to try again, and did not want to
        return super()._peer_left()

    def _role_deadline(self) -> float:
        return self._challenge_deadline if self.phase is Phase.NETWORK else math.inf

    def _role_timeout(self, now: float) -> None:
        if now >= self._role_deadline() and self._authenticator is not None:
            self._challenge_deadline = now + self.settings.authentication_interval
            self._authenticator.challenge_again(now)


def _were_provided(network: NetworkPhase) -> None:
    """Instead of what provided the addresses, and would hold them for as long as the session lives."""
