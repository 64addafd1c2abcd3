"""The state of a `GreChannel` as a value, with which another process goes on where this one stood."""

from dataclasses import dataclass

from poptrio.protocols.gre import GreChannel
from poptrio.state import keep


@dataclass(frozen=True, slots=True)
class GreState:
    """What a channel knows. ``waiting`` are number, payload and the seconds that it has waited, in order of arrival;
    ``ack_due`` are the seconds until an acknowledgement must leave, infinity when none is owed.
    """

    next: int
    acknowledged: int
    expected: int
    highest: int
    waiting: tuple[tuple[int, bytes, float], ...]
    gaps: tuple[tuple[int, int], ...]
    suspect: tuple[int, int]
    unacknowledged: int
    ack_due: float


def state_of(channel: GreChannel, now: float) -> GreState:
    """Where ``channel`` stands."""
    waiting = tuple((number, payload, now - arrival) for number, (payload, arrival) in channel._waiting.items())
    return keep(GreState, channel, waiting=waiting, gaps=channel._gaps, ack_due=channel.ack_deadline - now)


def restore(channel: GreChannel, state: GreState, now: float) -> None:
    """Make a new ``channel`` one that has stood there at ``now``."""
    channel._next = state.next
    channel._acknowledged = state.acknowledged
    channel._expected = state.expected
    channel._highest = state.highest
    channel._waiting = {number: (payload, now - waited) for number, payload, waited in state.waiting}
    channel._gaps = tuple(state.gaps)
    channel._suspect = state.suspect
    channel._unacknowledged = state.unacknowledged
    channel.ack_deadline = now + state.ack_due
