"""The state of a `GreCallPath` as a value: GRE, MPPE, what IPCP settled, and the counters."""

from dataclasses import dataclass, fields, replace
from math import inf

from poptrio.crypto.mppe_state import (
    DecryptorState,
    EncryptorState,
    decryptor_from,
    decryptor_state,
    encryptor_from,
    encryptor_state,
)
from poptrio.datapath.base import NetworkParameters, PathCounters
from poptrio.datapath.call_path import GreCallPath
from poptrio.protocols import gre_state
from poptrio.protocols.gre_state import GreState


@dataclass(frozen=True, slots=True)
class PathState:
    """What a path knows. In ``counters``, times are seconds ago, and -1 before the first packet."""

    gre: GreState
    encryptor: EncryptorState | None
    decryptor: DecryptorState | None
    network: NetworkParameters | None
    counters: PathCounters


def state_of(path: GreCallPath, now: float) -> PathState:
    """Where ``path`` stands."""
    counters = path.counters
    send, receive = path._send_parameters, path._receive_parameters
    return PathState(
        gre=gre_state.state_of(path._channel, now),
        encryptor=encryptor_state(path._encryptor, send) if path._encryptor and send else None,
        decryptor=decryptor_state(path._decryptor, receive) if path._decryptor and receive else None,
        network=path._network.parameters if path._network is not None else None,
        counters=replace(
            counters,
            last_received=_age(counters.last_received, now),
            last_sent=_age(counters.last_sent, now),
        ),
    )


def restore(path: GreCallPath, state: PathState, now: float) -> None:
    """Make a new ``path`` one that has stood there at ``now``. Raises ValueError for a key stream of another kind."""
    for field in fields(PathCounters):  # the channel counts in the same object
        setattr(path.counters, field.name, getattr(state.counters, field.name))
    path.counters.last_received = _time(state.counters.last_received, now)
    path.counters.last_sent = _time(state.counters.last_sent, now)
    gre_state.restore(path._channel, state.gre, now)
    if state.encryptor is not None:
        path._send_parameters = state.encryptor.parameters
        path._encryptor = encryptor_from(state.encryptor)
    if state.decryptor is not None:
        path._receive_parameters = state.decryptor.parameters
        path._decryptor = decryptor_from(state.decryptor)
    if state.network is not None:
        path.open_network(state.network)
    deadline = path._channel.next_deadline()
    if deadline < inf:  # nothing is sent here: the path may not be ours yet
        path._wake_at = deadline
        path._call_at(deadline, path.wake)


def _age(time: float, now: float) -> float:
    return now - time if time else -1.0


def _time(age: float, now: float) -> float:
    return now - age if age >= 0 else 0.0
