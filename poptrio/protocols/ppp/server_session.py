"""The server's role of a PPP session: demands authentication, assigns addresses."""

import math
from collections.abc import Sequence
from ipaddress import IPv4Address

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.protocols.ppp.authenticator import Accepted, Authenticator, Refused
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.chap import ChapAuthenticator
from poptrio.protocols.ppp.ipcp import Ipcp
from poptrio.protocols.ppp.lcp import AuthenticateOption, AuthProtocol, Lcp, RandomBytes
from poptrio.protocols.ppp.pap import PapAuthenticator
from poptrio.protocols.ppp.session import Phase, PppSession
from poptrio.protocols.ppp.session_events import SessionSettings


class ServerSession(PppSession):
    """A session with a client that dialled in.

    `AuthenticationNeeded` is answered by `authenticated` or `refused`; after the first success `assign` says which
    addresses IPCP hands out, or `no_address` that there are none. Both questions may be answered at any later time.
    """

    def __init__(self, settings: SessionSettings, random: RandomBytes) -> None:
        self._random = random
        self._demand = AuthenticateOption(settings.authentication)
        super().__init__(settings, Lcp(self._demand, settings.mru, settings.negotiation, random))
        self._authenticator: Authenticator | None = None
        self._challenge_deadline = math.inf

    def awaits(self, request: AuthRequest) -> bool:
        """Whether ``request`` still wants an answer: not when LCP was negotiated again meanwhile, or the call ends."""
        authenticator = self._authenticator
        return self.phase in (Phase.AUTHENTICATE, Phase.NETWORK) and (
            authenticator is not None and authenticator.pending is request
        )

    def authenticated(
        self,
        request: AuthRequest,
        accepted: Accepted,
        keys: MppeKeys | None,
        now: float,
        encryption: EncryptionPolicy | None = None,
    ) -> None:
        """The client is who it says. ``keys`` and ``encryption`` (instead of the configured one) count the first time.

        A request that is not pending any more is ignored: see `awaits`.
        """
        authenticator = self._authenticator
        if authenticator is None or not self.awaits(request):
            return
        authenticator.accept(accepted)
        self._collect(authenticator)
        if self.phase is Phase.AUTHENTICATE:
            self._start_network(encryption or self.settings.encryption, keys, now)
        if self.settings.authentication_interval:
            self._challenge_deadline = now + self.settings.authentication_interval
        self._settle(now)

    def refused(self, request: AuthRequest, refused: Refused, cause: CauseOfEnd, detail: str, now: float) -> None:
        """The client is refused: tell it, and end the session for ``cause``."""
        authenticator = self._authenticator
        if authenticator is not None and self.awaits(request):
            authenticator.refuse(refused)
            self._collect(authenticator)
            self.terminate(cause, detail, now)

    @property
    def can_challenge_again(self) -> bool:
        """Whether the client can be asked to prove itself once more: not by PAP, and not before it is authenticated."""
        return self.phase is Phase.NETWORK and isinstance(self._authenticator, ChapAuthenticator)

    def challenge_again(self, now: float) -> None:
        """Ask the client to prove itself once more, if it can be."""
        if self.can_challenge_again and self._authenticator is not None:
            self._authenticator.challenge_again(now)
            self._settle(now)

    def assign(
        self,
        ours: IPv4Address,
        address: IPv4Address,
        dns: Sequence[IPv4Address],
        wins: Sequence[IPv4Address],
        now: float,
    ) -> None:
        """Give the client ``address``, ``dns`` and ``wins`` by IPCP, as soon as encryption is settled."""
        if self.phase is Phase.NETWORK and self.network is not None and self.network.ipcp is None:
            self.network.ipcp = Ipcp.as_server(ours, address, dns, wins, self.settings.negotiation)
            self._settle(now)

    def no_address(self, detail: str, now: float) -> None:
        """There is no address for the client, for the reason ``detail``; this instead of `assign`.

        The session ends when encryption is settled and IPCP could be refused, so that the client sees what failed.
        """
        if self.phase is Phase.NETWORK and self.network is not None and self.network.ipcp is None:
            self.network.no_address(detail)
            self._settle(now)

    def _link_up(self, now: float) -> None:
        kind = self._demand.protocol
        self.phase = Phase.AUTHENTICATE
        self._events.append(events.LinkUp(kind, self.lcp.mru.peers))
        negotiation = self.settings.negotiation
        if kind is AuthProtocol.PAP:
            self._authenticator = PapAuthenticator(negotiation)
        else:
            self._authenticator = ChapAuthenticator(kind, self.settings.name, negotiation, self._random)
        self.authentication = self._authenticator
        self._authenticator.start(now)

    def _authentication_moved(self, now: float) -> None:
        authenticator = self._authenticator
        assert authenticator is not None  # there is one in the phases in which this is asked
        requests, authenticator.requests = authenticator.requests, []
        self._events.extend(events.AuthenticationNeeded(request) for request in requests)
        if authenticator.timed_out:
            self.terminate(CauseOfEnd.AUTHENTICATION_TIMEOUT, "", now)

    def _stuck(self) -> tuple[CauseOfEnd, str]:
        authenticator = self._authenticator
        if self.phase is Phase.AUTHENTICATE and authenticator is not None and authenticator.pending is not None:
            return CauseOfEnd.AUTHENTICATION_UNAVAILABLE, "none had answered yet"
        return super()._stuck()

    def _role_deadline(self) -> float:
        return self._challenge_deadline if self.phase is Phase.NETWORK else math.inf

    def _role_timeout(self, now: float) -> None:
        if now >= self._role_deadline() and self._authenticator is not None:
            self._challenge_deadline = now + self.settings.authentication_interval
            self._authenticator.challenge_again(now)
