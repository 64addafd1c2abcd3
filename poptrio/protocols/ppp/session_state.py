"""The state of a `ServerSession` as a value, once IP passes.

A challenge that is out at that moment is forgotten: the session that goes on asks again by itself.
"""

import math
from dataclasses import dataclass

from poptrio.protocols.ppp.network_phase import NetworkPhase
from poptrio.protocols.ppp.protocol_state import (
    AuthenticatorState,
    CcpState,
    IpcpState,
    LcpState,
    authenticator_state,
    ccp_from,
    ccp_state,
    ipcp_from,
    ipcp_state,
    lcp_state,
    restore_authenticator,
    restore_lcp,
)
from poptrio.protocols.ppp.server_session import ServerSession, _Granted, _were_provided
from poptrio.protocols.ppp.session import Phase
from poptrio.state import keep, put_back


@dataclass(frozen=True, slots=True)
class NetworkState:
    """The Network-Layer Protocol phase; ``required``: encryption is, ``agreed``: at least one direction had it."""

    ccp: CcpState | None
    ipcp: IpcpState
    required: bool
    agreed: bool
    ccp_over: bool
    ccp_refused: bool


@dataclass(frozen=True, slots=True)
class SessionState:
    """What a session knows. ``echo_due`` and ``challenge_due`` are seconds to deadlines, ``last_heard`` seconds ago."""

    lcp: LcpState
    authenticator: AuthenticatorState
    network: NetworkState
    malformed: int
    negotiations: int
    echoes_out: int
    last_heard: float
    echo_due: float
    challenge_due: float


def is_up(session: ServerSession) -> bool:
    """Whether IP passes, and everything has been told: only such a session can be handed over."""
    network = session.network
    moving = session._frames or session._events
    return session.phase is Phase.NETWORK and network is not None and network.up and not moving


def is_quiet(session: ServerSession) -> bool:
    """Whether, besides, the client is not just being asked to prove itself again."""
    authenticator = session._authenticator
    asking = authenticator is not None and (authenticator.pending is not None or authenticator._waiting)
    return is_up(session) and not asking


def state_of(session: ServerSession, now: float) -> SessionState:
    """Where ``session`` stands, which must be up."""
    network, authenticator = session.network, session._authenticator
    assert network is not None
    assert network.ipcp is not None
    assert authenticator is not None
    challenge_due = session._challenge_deadline - now
    if not is_quiet(session) and session.settings.authentication_interval:
        challenge_due = 0.0
    return SessionState(
        lcp=lcp_state(session.lcp, session._demand, now),
        authenticator=authenticator_state(authenticator),
        network=keep(
            NetworkState,
            network,
            ccp=None if network.ccp is None else ccp_state(network.ccp, now),
            ipcp=ipcp_state(network.ipcp, now),
        ),
        malformed=session.malformed,
        negotiations=session._negotiations,
        echoes_out=session._echoes_out,
        last_heard=now - session._last_heard,
        echo_due=session._echo_deadline - now,
        challenge_due=challenge_due,
    )


def restore(session: ServerSession, state: SessionState, now: float) -> None:
    """Make a new ``session`` one that has stood there at ``now``. Raises ValueError for a state that there is not."""
    settings = session.settings
    restore_lcp(session.lcp, session._demand, state.lcp, now)
    session._link_up(now)
    authenticator = session._authenticator
    assert authenticator is not None
    authenticator.packets_to_send()  # the challenge of a beginning
    authenticator._answered()
    restore_authenticator(authenticator, state.authenticator)
    session.phase = Phase.NETWORK
    network = session.network = NetworkPhase(settings, session.lcp, session._events.append, session._malformed)
    ccp = None if state.network.ccp is None else ccp_from(state.network.ccp, settings.negotiation, now)
    put_back(state.network, network, ccp=ccp, ipcp=ipcp_from(state.network.ipcp, settings.negotiation, now))
    network.up = True
    session._granted = _Granted(settings.encryption, None)  # was granted: nothing is assigned a second time
    session._addresses = _were_provided
    session.malformed = state.malformed
    session._heard = True
    session._negotiations = state.negotiations
    session._echoes_out = state.echoes_out
    session._last_heard = now - state.last_heard
    session._echo_deadline = _due(state.echo_due, settings.lcp_echo_interval, now)
    session._challenge_deadline = _due(state.challenge_due, settings.authentication_interval, now)
    session._establish_deadline = math.inf
    session._find_deadline()
    session._events.clear()  # of the link that is up again


def _due(due: float, interval: float, now: float) -> float:
    """The deadline of what comes every ``interval`` seconds, which may be other ones than before, or 0 for never."""
    return now + min(due, interval) if interval else math.inf
