"""The states of LCP, CCP, IPCP and of an authenticator as values: what was agreed on, and the next Identifiers.

Packets that wait to be sent are none of it: whoever has the session has sent them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.protocols.ppp.authenticator import Authenticator
from poptrio.protocols.ppp.automaton import State
from poptrio.protocols.ppp.ccp import Ccp, EncryptionPolicy, MppeOption
from poptrio.protocols.ppp.chap import ChapAuthenticator
from poptrio.protocols.ppp.control_protocol import ControlProtocol, NegotiationSettings
from poptrio.protocols.ppp.eap import EapAuthenticator
from poptrio.protocols.ppp.frames import Packet
from poptrio.protocols.ppp.ipcp import IpAddressOption, Ipcp, NameServerOption, name_server_options
from poptrio.protocols.ppp.lcp import AuthenticateOption, AuthProtocol, FlagOption, Lcp, MagicNumberOption, MruOption
from poptrio.state import keep, put_back


@dataclass(frozen=True, slots=True)
class NegotiationState:
    """What every control protocol has; ``state`` is the automaton's by its number, ``due`` seconds to the deadline."""

    state: int
    due: float
    terminated_by_peer: bool
    failure: str | None
    codes_rejected: frozenset[int]
    identifier: int
    request_identifier: int | None
    restarts_left: int
    naks_sent: int
    refusals: int
    requested: tuple[tuple[int, bytes], ...]
    acked_request: tuple[int, bytes] | None


@dataclass(frozen=True, slots=True)
class MruState:
    """Maximum-Receive-Unit."""

    peers: int
    requested: int | None


@dataclass(frozen=True, slots=True)
class MagicState:
    """Magic-Number."""

    ours: bytes
    peers: bytes
    requesting: bool


@dataclass(frozen=True, slots=True)
class FlagState:
    """PFC or ACFC."""

    peer_accepts: bool
    requesting: bool


@dataclass(frozen=True, slots=True)
class LcpState:
    """LCP; ``authentication`` is the protocol by which the peer proved itself, by its name in the configuration."""

    negotiation: NegotiationState
    authentication: str
    mru: MruState
    magic: MagicState
    pfc: FlagState
    acfc: FlagState
    heard: bool


@dataclass(frozen=True, slots=True)
class MppeOptionState:
    """The MPPE option."""

    sending: int
    receiving: int
    unwanted: bool
    stateless_suggested: bool


@dataclass(frozen=True, slots=True)
class CcpState:
    """CCP, and the keys that authentication yielded."""

    negotiation: NegotiationState
    policy: EncryptionPolicy
    keys: MppeKeys = field(repr=False)
    mppe: MppeOptionState


@dataclass(frozen=True, slots=True)
class IpcpState:
    """IPCP as server; ``name_servers`` are the addresses that are pushed, by the number of their option."""

    negotiation: NegotiationState
    ours: IPv4Address
    assigned: IPv4Address
    peers: IPv4Address | None
    requesting: bool
    name_servers: Mapping[int, IPv4Address]


@dataclass(frozen=True, slots=True)
class AuthenticatorState:
    """An authenticator that has succeeded: the packet that it judged last and its answer, as code, Identifier, data."""

    answered_packet: tuple[int, int, bytes] | None
    answer: tuple[int, int, bytes] | None
    identifier: int | None


def negotiation_state(protocol: ControlProtocol, now: float) -> NegotiationState:
    """Where the automaton and the options of ``protocol`` stand."""
    return keep(
        NegotiationState,
        protocol,
        state=int(protocol.state),
        due=protocol.deadline - now,
        requested=protocol._requested,
    )


def restore_negotiation(protocol: ControlProtocol, state: NegotiationState, now: float) -> None:
    """Make a new ``protocol`` one that has stood there at ``now``. Raises ValueError for a state that there is not."""
    protocol._automaton.state = State(state.state)
    protocol.deadline = now + state.due
    protocol._requested = state.requested
    for name in ("terminated_by_peer", "failure", "codes_rejected"):
        setattr(protocol, name, getattr(state, name))
    for name in ("identifier", "request_identifier", "restarts_left", "naks_sent", "refusals", "acked_request"):
        setattr(protocol, f"_{name}", getattr(state, name))


def lcp_state(lcp: Lcp, demand: AuthenticateOption, now: float) -> LcpState:
    """Where ``lcp`` stands, whose Authentication-Protocol option is ``demand``."""
    return LcpState(
        negotiation=negotiation_state(lcp, now),
        authentication=demand.protocol.label,
        mru=keep(MruState, lcp.mru),
        magic=keep(MagicState, lcp.magic),
        pfc=keep(FlagState, lcp.pfc),
        acfc=keep(FlagState, lcp.acfc),
        heard=lcp.heard,
    )


def restore_lcp(lcp: Lcp, demand: AuthenticateOption, state: LcpState, now: float) -> None:
    """As `restore_negotiation`."""
    options: tuple[tuple[MruState | MagicState | FlagState, MruOption | MagicNumberOption | FlagOption], ...] = (
        (state.mru, lcp.mru),
        (state.magic, lcp.magic),
        (state.pfc, lcp.pfc),
        (state.acfc, lcp.acfc),
    )
    for kept, option in options:
        put_back(kept, option)
    lcp.heard = state.heard
    demand.protocol = AuthProtocol.from_label(state.authentication)
    restore_negotiation(lcp, state.negotiation, now)


def ccp_state(ccp: Ccp, now: float) -> CcpState:
    """Where ``ccp`` stands."""
    mppe = keep(MppeOptionState, ccp.mppe, receiving=ccp.mppe._receiving)
    return CcpState(negotiation_state(ccp, now), ccp.mppe._policy, ccp._keys, mppe)


def ccp_from(state: CcpState, settings: NegotiationSettings, now: float) -> Ccp:
    """A CCP that has stood there at ``now``."""
    ccp = Ccp(state.policy, state.keys, settings)
    option: MppeOption = ccp.mppe
    option.sending = state.mppe.sending
    option._receiving = state.mppe.receiving
    option._unwanted = state.mppe.unwanted
    option._stateless_suggested = state.mppe.stateless_suggested
    restore_negotiation(ccp, state.negotiation, now)
    return ccp


def ipcp_state(ipcp: Ipcp, now: float) -> IpcpState:
    """Where ``ipcp`` stands, which is a server's."""
    address = ipcp.address
    assert address._assigned is not None  # a server's
    servers = (option for option in ipcp.name_servers if isinstance(option, NameServerOption))
    return IpcpState(
        negotiation=negotiation_state(ipcp, now),
        ours=address.ours,
        assigned=address._assigned,
        peers=address.peers,
        requesting=address._requesting,
        name_servers={option.kind: option.address for option in servers if option.address is not None},
    )


def ipcp_from(state: IpcpState, settings: NegotiationSettings, now: float) -> Ipcp:
    """An IPCP that has stood there at ``now``."""
    servers = name_server_options(frozenset(state.name_servers.items()))
    ipcp = Ipcp(IpAddressOption(state.ours, state.assigned), servers, settings)
    ipcp.address.peers = state.peers
    ipcp.address._requesting = state.requesting
    restore_negotiation(ipcp, state.negotiation, now)
    return ipcp


def authenticator_state(authenticator: Authenticator) -> AuthenticatorState:
    """What ``authenticator`` repeats to a peer that has not heard its answer."""
    numbered = isinstance(authenticator, ChapAuthenticator | EapAuthenticator)
    return AuthenticatorState(
        _packet_state(authenticator._answered_packet),
        _packet_state(authenticator._answer),
        identifier=authenticator._identifier if numbered else None,  # type: ignore[attr-defined]
    )


def restore_authenticator(authenticator: Authenticator, state: AuthenticatorState) -> None:
    """Make a new ``authenticator`` one that has accepted the peer."""
    authenticator.succeeded = True
    authenticator._answered_packet = _packet_from(state.answered_packet)
    authenticator._answer = _packet_from(state.answer)
    if state.identifier is not None and isinstance(authenticator, ChapAuthenticator | EapAuthenticator):
        authenticator._identifier = state.identifier


def _packet_state(packet: Packet | None) -> tuple[int, int, bytes] | None:
    return None if packet is None else (packet.code, packet.identifier, packet.data)


def _packet_from(state: tuple[int, int, bytes] | None) -> Packet | None:
    return None if state is None else Packet(*state)
