"""The calls and control connections of a server as values, which another process of this server can go on with.

Times in them are seconds, to come or ago, since another process has another clock; ``now`` is the moment for which
they hold. Nothing is sent while a server is put together again: the calls may still be those of the other process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import trio

from poptrio.calls import AccountingKind, CallInfo
from poptrio.datapath import path_state
from poptrio.datapath.base import CallEndpoint
from poptrio.datapath.call_path import GreCallPath
from poptrio.datapath.path_state import PathState
from poptrio.decisions import Accept
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp import session_state
from poptrio.protocols.ppp.session_state import SessionState
from poptrio.protocols.pptp import control_state
from poptrio.protocols.pptp.control_state import ControlState
from poptrio.protocols.pptp.events import ConnectionStarted
from poptrio.server.accounting import CallAccounting
from poptrio.server.call import Call
from poptrio.server.call_task import UpBefore
from poptrio.server.connection import Connection
from poptrio.server.conversation import Conversation
from poptrio.server.limits import CallLimits
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.ppp_task import PppTask
from poptrio.server.server import Server


@dataclass(frozen=True, slots=True)
class KeptLimits:
    """`CallLimits`; ``begun`` and ``session_begun`` are seconds ago, ``next_interim`` seconds to come."""

    begun: float
    session_begun: float
    interim_interval: float
    next_interim: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCall:
    """A call that is up. ``begun`` and ``up_since`` are seconds ago; ``interim_due``: a record is to be told."""

    info: CallInfo
    begun: float
    up_since: float
    steps: dict[str, float]
    name: str
    names: frozenset[str]
    accept: Accept
    address: IPv4Address
    encryption: str
    encrypted: bool
    authentication: str
    authenticated_by: str
    counted_names: frozenset[str]
    conversation: tuple[str, str | None]
    limits: KeptLimits
    interim_due: bool
    path: PathState
    session: SessionState


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptConnection:
    """A control connection and its calls; ``stranger``: nobody on it is authenticated."""

    id: str
    peer: IPv4Address
    local: IPv4Address
    started: ConnectionStarted
    stranger: bool
    calls_seen: int
    too_fast: int
    control: ControlState
    calls: list[KeptCall]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCounts:
    """`Stats`, and what the paths of calls have counted that are over: counters of metrics go on.

    ``ended`` are counted by the labels of causes; one that a new program does not know is left out.
    """

    up: int
    failed: int
    internal_errors: int
    refusals: dict[str, int]
    ended: dict[str, int]
    left_out: dict[str, int]
    paths: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptServer:
    """All that a server has; ``resting`` are Call IDs and the seconds for which they still rest."""

    connections: list[KeptConnection]
    resting: list[tuple[int, float]]
    counts: KeptCounts


BEING_SET_UP = "a call is being set up"


def obstacle(connection: Connection) -> str | None:
    """What still moves in ``connection``, so that it cannot be handed over just now; None: nothing."""
    if connection._wire.is_writing:
        return "a control message is being written"
    if not connection._wire.is_paused:
        return "its control connection is being read"
    if not connection.is_quiet:
        return "it is being set up, or ends"
    return next((what for call in connection.calls.values() if (what := obstacle_of_call(call)) is not None), None)


def obstacle_of_call(call: Call) -> str | None:
    """What still moves in ``call``."""
    ppp, accounting = call.ppp, call.accounting
    if call.cause is not None:
        return "a call is ending"
    if ppp is None or call.up_since is None or not session_state.is_up(ppp.session):
        return BEING_SET_UP
    if isinstance(accounting, CallAccounting) and accounting.is_telling:
        return "a plugin is being told an accounting record"
    return None


def keep_server(server: Server, now: float) -> tuple[KeptServer, list[trio.abc.Stream]]:
    """All of ``server``, where nothing may be moving, and the streams of its connections in their order."""
    connections = list(server.connections)
    kept = KeptServer(
        connections=[_keep_connection(connection, now) for connection in connections],
        resting=server.registry.call_ids.resting(now),
        counts=_keep_counts(server),
    )
    return kept, [connection.stream for connection in connections]


def _keep_counts(server: Server) -> KeptCounts:
    stats = server.stats
    return KeptCounts(
        up=stats.up,
        failed=stats.failed,
        internal_errors=stats.internal_errors,
        refusals=dict(stats.refusals),
        ended={cause.label: count for cause, count in stats.ended.items()},
        left_out=dict(stats.left_out),
        paths=dict(server.path_totals.ended),
    )


def _count_on(server: Server, counts: KeptCounts) -> None:
    stats = server.stats
    stats.up, stats.failed, stats.internal_errors = counts.up, counts.failed, counts.internal_errors
    stats.refusals.update(counts.refusals)
    stats.ended.update({cause: counts.ended[cause.label] for cause in CauseOfEnd if cause.label in counts.ended})
    stats.left_out.update(counts.left_out)
    server.path_totals.count_on(counts.paths)


def _keep_connection(connection: Connection, now: float) -> KeptConnection:
    assert connection.started is not None  # the control connection is established
    return KeptConnection(
        id=connection.id,
        peer=connection.peer,
        local=connection.local,
        started=connection.started,
        stranger=connection.stranger.is_counted,
        calls_seen=connection._calls_seen,
        too_fast=connection._too_fast,
        control=control_state.state_of(connection._control, now),
        calls=[_keep_call(call, now) for call in connection.calls.values()],
    )


def _keep_call(call: Call, now: float) -> KeptCall:
    ppp, path, limits, accounting = call.ppp, call.path, call.limits, call.accounting
    assert ppp is not None
    assert isinstance(path, GreCallPath)
    assert limits is not None
    assert isinstance(accounting, CallAccounting)
    assert call.accept is not None
    assert call.lease is not None
    assert call.up_since is not None
    conversation = ppp.conversation
    return KeptCall(
        info=call.info,
        begun=now - call.begun,
        up_since=now - call.up_since,
        steps=call.steps,
        name=call.name,
        names=call.names,
        accept=replace(call.accept, context=None),
        address=call.lease.address,
        encryption=call.encryption,
        encrypted=ppp.encrypted,
        authentication=call.authentication,
        authenticated_by=call.authenticated_by,
        counted_names=call.counted_names,
        conversation=(conversation.plugin, conversation.name),
        limits=KeptLimits(
            now - limits._begun, now - limits._session_begun, limits._interim_interval, limits._next_interim - now
        ),
        interim_due=accounting.due is AccountingKind.INTERIM,
        path=path_state.state_of(path, now),
        session=session_state.state_of(ppp.session, now),
    )


def restore_server(server: Server, kept: KeptServer, streams: Sequence[trio.abc.Stream], now: float) -> None:
    """Give a new ``server``, which does not run yet, everything that ``kept`` has.

    Raises whatever is wrong with it: nothing of it may be used then.
    """
    call_ids = server.registry.call_ids
    call_ids.rest_on(kept.resting, now)
    call_ids.occupy({call.info.call_id for connection in kept.connections for call in connection.calls})
    _count_on(server, kept.counts)
    calls: list[tuple[KeptCall, Call]] = []
    for kept_connection, stream in zip(kept.connections, streams, strict=True):
        connection = _connection_from(server, kept_connection, stream, now)
        calls += [(call, _call_from(server, call, connection, now)) for call in kept_connection.calls]
        if not kept_connection.stranger:
            connection.stranger.known()
        server.take_up(connection)
    for _, call in sorted(calls, key=lambda one: -one[0].up_since):
        _enter(server, call)


def _connection_from(server: Server, kept: KeptConnection, stream: trio.abc.Stream, now: float) -> Connection:
    connection = Connection(server, stream, kept.id, kept.peer, kept.local)
    connection.started = kept.started
    connection._calls_seen, connection._too_fast = kept.calls_seen, kept.too_fast
    control_state.restore(connection._control, kept.control, now)
    connection._wire.take_up()
    return connection


def _call_from(server: Server, kept: KeptCall, connection: Connection, now: float) -> Call:
    call = Call(server, kept.info, connection.stranger)
    call.begun, call.up_since = now - kept.begun, now - kept.up_since
    call.steps = dict(kept.steps)
    call.name, call.authentication, call.encryption = kept.name, kept.authentication, kept.encryption
    call.authenticated_by, call.counted_names = kept.authenticated_by, kept.counted_names
    call.id_told = True
    call.known_as(*kept.names)
    call.authenticated(kept.accept)
    ppp = PppTask(call)
    accounting = call.accounting
    assert isinstance(accounting, CallAccounting)
    accounting.due = AccountingKind.INTERIM if kept.interim_due else None
    call.limits = CallLimits(
        call, server.ticker, server.limit_settings, server.random, ppp.reauthenticate, accounting.interim_due
    )
    info = kept.info
    endpoint = CallEndpoint(info.call_id, info.peer_call_id, local=info.server, peer=info.peer)
    path = call.path = server.datapath.open_call(endpoint, ppp.driver)
    assert isinstance(path, GreCallPath)
    path_state.restore(path, kept.path, now)
    call.mtu = kept.path.network.mtu if kept.path.network is not None else 0
    call.interface = server.datapath.interface_of(info.call_id)
    session_state.restore(ppp.session, kept.session, now)
    ppp.take_up(path, Conversation(*kept.conversation), encrypted=kept.encrypted)
    assert isinstance(server.authority, LocalAuthority)
    call.lease = server.authority.hooks.keep_address(info, kept.accept, kept.address)
    connection.take_up(call, UpBefore(ppp, accounting))
    server.registry.add(call)
    limits = kept.limits
    call.limits.take_up(
        begun=now - limits.begun,
        session_begun=now - limits.session_begun,
        interim_interval=limits.interim_interval,
        next_interim=now + limits.next_interim,
    )
    return call


def _enter(server: Server, call: Call) -> None:
    assert isinstance(server.authority, LocalAuthority)
    server.authority.sessions.enter(call)
    server.authority.sessions.came_up(call)
