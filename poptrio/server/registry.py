"""Who is connected and which Call IDs are theirs: limits, and identifiers that nobody can guess.

Our Call IDs are unique over all peers, because behind a NAT gateway two clients may have the same address and the same
Call ID of their own (RFC 2637 §4.1 lets GRE be told apart by nothing else). They are random, so that nobody can address
a call that is not his, and rest after use, so that stragglers of an ended call do not arrive in a new one.
"""

import random
from array import array
from collections import Counter, deque
from ipaddress import IPv4Address
from typing import Protocol

from poptrio.calls import CallInfo
from poptrio.config.sections import Server as ServerLimits
from poptrio.datapath.base import ALL_CALL_IDS, CallIdSlice
from poptrio.server.call_rate import CallRate

CALL_ID_REST = 60.0
"""Seconds before a Call ID is used again: more than GRE packets live in any network."""


class Registered(Protocol):
    """What the registry knows of a call; ``id_told``: its client may have heard its Call ID."""

    info: CallInfo
    id_told: bool


class CallIds:
    """Hands out 16-bit Call IDs of one slice, each in the same time however few are left.

    ``randomness`` is the system's unless a test says otherwise; ``in_use`` are those that calls have.
    """

    def __init__(self, randomness: random.Random | None = None, of: CallIdSlice = ALL_CALL_IDS) -> None:
        self.in_use: set[int] = set()
        self._random = randomness or random.SystemRandom()
        self._free = array("H", range(of.worker or of.workers, 0x10000, of.workers))
        self._resting: deque[tuple[float, int]] = deque()

    def take(self, now: float) -> int | None:
        """A Call ID that is free and rested, or None when there is none."""
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])
        if not self._free:
            return None
        drawn = self._random.randrange(len(self._free))
        self._free[drawn], self._free[-1] = self._free[-1], self._free[drawn]
        call_id = self._free.pop()
        self.in_use.add(call_id)
        return call_id

    def give_back(self, call_id: int, now: float, *, told: bool = True) -> None:
        """Let a Call ID rest, unless the client was never told of it: then no straggler can carry it."""
        self.in_use.discard(call_id)
        if told:
            self._resting.append((now + CALL_ID_REST, call_id))
        else:
            self._free.append(call_id)


class Registry:
    """All calls and connections of one server, and the limits on them."""

    def __init__(self, limits: ServerLimits, call_ids: CallIds | None = None) -> None:
        self._limits = limits
        self.calls: dict[int, Registered] = {}
        self.call_ids = call_ids or CallIds()
        self._calls_of: Counter[IPv4Address] = Counter()
        self._strangers_of: Counter[IPv4Address] = Counter()
        self._strangers = 0
        self._rate = CallRate()

    def refuse_stranger(self, peer: IPv4Address) -> str | None:
        """Why one more unauthenticated connection or call from ``peer`` is too many, or None."""
        if self._strangers >= self._limits.max_unauthenticated:
            return f"{self._strangers} unauthenticated connections and calls (server.max_unauthenticated)"
        if self._strangers_of[peer] >= self._limits.max_unauthenticated_per_address:
            return (
                f"{self._strangers_of[peer]} unauthenticated connections and calls from this address "
                "(server.max_unauthenticated_per_address)"
            )
        return None

    def too_fast(self, peer: IPv4Address, now: float) -> bool:
        """Count one more request for a call; whether ``peer`` asks for them too fast."""
        return not self._rate.take(peer, now)

    def refuse_call(self, peer: IPv4Address) -> str | None:
        """Why one more call from ``peer`` is too many, or None."""
        if len(self.calls) >= self._limits.max_calls:
            return f"{len(self.calls)} calls (server.max_calls)"
        most = self._limits.max_calls_per_address
        if most and self._calls_of[peer] >= most:
            return f"{self._calls_of[peer]} calls from this address (server.max_calls_per_address)"
        return self.refuse_stranger(peer)

    def stranger(self, peer: IPv4Address) -> "Stranger":
        """Count one unauthenticated connection or call until it is `Stranger.known`."""
        return Stranger(self, peer)

    def count_stranger(self, peer: IPv4Address, change: int) -> None:
        """One more or one less."""
        self._strangers += change
        self._strangers_of[peer] += change
        if not self._strangers_of[peer]:
            del self._strangers_of[peer]

    def add(self, call: Registered) -> None:
        """The call has begun."""
        self.calls[call.info.call_id] = call
        self._calls_of[call.info.peer] += 1

    def remove(self, call: Registered, now: float) -> None:
        """The call is over; its Call ID rests."""
        del self.calls[call.info.call_id]
        self.call_ids.give_back(call.info.call_id, now, told=call.id_told)
        self._calls_of[call.info.peer] -= 1
        if not self._calls_of[call.info.peer]:
            del self._calls_of[call.info.peer]


class Stranger:
    """One unauthenticated connection or call, counted against the limits."""

    __slots__ = ("_counted", "_peer", "_registry")

    def __init__(self, registry: Registry, peer: IPv4Address) -> None:
        self._registry = registry
        self._peer = peer
        self._counted = True
        registry.count_stranger(peer, 1)

    def known(self) -> None:
        """Authenticated, or gone; only the first time changes anything."""
        if self._counted:
            self._counted = False
            self._registry.count_stranger(self._peer, -1)
