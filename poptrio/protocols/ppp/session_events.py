"""What a PPP session tells the outside: one frozen dataclass per event, and the settings it is made with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.lcp import AuthProtocol


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session negotiates; octets and seconds. Zero switches an interval off.

    ``mru`` is what we ask the peer to keep its packets to, and the most that we send; ``establish_timeout`` is the time
    from the first packet until IPCP is up.
    """

    name: str = "poptrio"
    mru: int = 1400
    authentication: Sequence[AuthProtocol] = (AuthProtocol.MSCHAP_V2,)
    encryption: EncryptionPolicy = field(default_factory=EncryptionPolicy)
    negotiation: NegotiationSettings = field(default_factory=NegotiationSettings)
    lcp_echo_interval: float = 30.0
    lcp_echo_failures: int = 4
    establish_timeout: float = 60.0
    authentication_interval: float = 0.0


@dataclass(frozen=True, slots=True)
class LinkUp:
    """LCP is Opened: which authentication follows, and the MRU of the peer in octets."""

    authentication: AuthProtocol | None
    peer_mru: int


@dataclass(frozen=True, slots=True)
class AuthenticationNeeded:
    """The peer offered a proof; answer with `authenticated`, `refused`, `challenged` or `speak_eap` of the session."""

    request: AuthRequest


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The peer believes us (client role), or we have accepted it (server role)."""


@dataclass(frozen=True, slots=True)
class AddressRequested:
    """The peer's first IPCP Configure-Request came before it could be answered: the address in it, or None."""

    address: IPv4Address | None


@dataclass(frozen=True, slots=True)
class EncryptionChanged:
    """The data path must use these parameters from now on; None: this direction is not encrypted."""

    send: MppeParameters | None
    receive: MppeParameters | None


@dataclass(frozen=True, slots=True)
class EncryptionUp:
    """CCP is Opened with these parameters."""

    send: MppeParameters | None
    receive: MppeParameters | None


@dataclass(frozen=True, slots=True)
class EncryptionReset:
    """The peer asked us to start MPPE's tables afresh (CCP Reset-Request)."""


@dataclass(frozen=True, slots=True)
class NetworkUp:
    """IPCP is Opened; IP packets may pass. ``mtu`` is the largest IP packet in octets that the peer takes."""

    our_address: IPv4Address
    peer_address: IPv4Address | None
    mtu: int
    pfc: bool
    acfc: bool
    dns: tuple[IPv4Address, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkDown:
    """IPCP is not Opened any more."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something for the log that changes nothing: ``event`` is a stable name, ``detail`` free text."""

    event: str
    detail: str


@dataclass(frozen=True, slots=True)
class SessionEnding:
    """A Terminate-Request of ours leaves; `SessionEnded` follows with the same cause, unless the peer is gone first."""

    cause: CauseOfEnd
    detail: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The last event: why, and what exactly, in words that continue the sentence of the cause (may be empty)."""

    cause: CauseOfEnd
    detail: str


SessionEvent = (
    LinkUp
    | AuthenticationNeeded
    | Authenticated
    | AddressRequested
    | EncryptionChanged
    | EncryptionUp
    | EncryptionReset
    | NetworkUp
    | NetworkDown
    | Noted
    | SessionEnding
    | SessionEnded
)
