"""The state of a server's `ControlConnection` as a value: its calls, half a message, and what is still to be sent."""

from dataclasses import dataclass

from poptrio.errors import LocalProtocolError
from poptrio.protocols.pptp.calls import CallState, _Call
from poptrio.protocols.pptp.control import ControlConnection
from poptrio.protocols.pptp.link import Echo, Role
from poptrio.protocols.pptp.states import State


@dataclass(frozen=True, slots=True)
class ControlState:
    """What an established control connection knows.

    ``calls`` are our and the peer's Call IDs. ``entered``, ``last_received`` and ``last_ended`` are seconds ago, the
    last infinity where no call has ended; ``echo`` is the Identifier of our unanswered Echo-Request and the seconds
    since. ``received`` is the beginning of a message, ``to_send`` what TCP has not taken yet.
    """

    calls: tuple[tuple[int, int], ...]
    entered: float
    last_received: float
    last_ended: float
    echo: tuple[int, float] | None
    received: bytes
    to_send: bytes


def is_quiet(control: ControlConnection) -> bool:
    """Whether ``control`` is established, and no request waits for an answer of ours."""
    calls = control._link.calls
    events = control._outbox.events
    return control.state is State.ESTABLISHED and not calls._waiting and not calls._cleared and not events


def state_of(control: ControlConnection, now: float) -> ControlState:
    """Where ``control`` stands, which must be quiet. Raises LocalProtocolError otherwise."""
    if not is_quiet(control) or control.role is not Role.SERVER:
        raise LocalProtocolError(f"a control connection in state {control.state.value} cannot be handed over")
    link = control._link
    return ControlState(
        calls=tuple((call.call_id, call.peer_call_id or 0) for call in link.calls._ours.values()),
        entered=now - control._entered,
        last_received=now - control._last_received,
        last_ended=now - link.calls.last_ended,
        echo=None if link.echo is None else (link.echo.identifier, now - link.echo.sent),
        received=bytes(control._stream._buffer),
        to_send=control.peek_data_to_send(),
    )


def restore(control: ControlConnection, state: ControlState, now: float) -> None:
    """Make a new ``control`` of the server's role one that has stood there at ``now``."""
    link = control._link
    link.now, link.state = now, State.ESTABLISHED
    control._entered = now - state.entered
    control._last_received = now - state.last_received
    link.calls.last_ended = now - state.last_ended
    link.echo = None if state.echo is None else Echo(state.echo[0], now - state.echo[1])
    for call_id, peer_call_id in state.calls:
        call = _Call(call_id, peer_call_id, CallState.ESTABLISHED)
        link.calls._ours[call_id] = link.calls._theirs[peer_call_id] = call
    control._stream.feed(state.received)
    control._outbox.output += state.to_send
