"""All calls of a server and which Call IDs are theirs: identifiers that nobody can guess.

Our Call IDs are unique over all peers, because behind a NAT gateway two clients may have the same address and the same
Call ID of their own (RFC 2637 §4.1 lets GRE be told apart by nothing else). They are random, so that nobody can address
a call that is not his, and rest after use, so that stragglers of an ended call do not arrive in a new one.
"""

import random
from array import array
from collections import deque
from collections.abc import Collection
from typing import Protocol

from poptrio.config.sections import Server as ServerLimits
from poptrio.datapath.base import ALL_CALL_IDS, CallIdSlice
from poptrio.server.call_counts import CallCounts, CountedCall
from poptrio.server.call_events import ObservedCall

CALL_ID_REST = 60.0
"""Seconds before a Call ID is used again: more than GRE packets live in any network."""


class RegisteredCall(CountedCall, ObservedCall, Protocol):
    """What the registry knows of a call; ``id_told``: its client may have heard its Call ID."""

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

    def rest(self, call_ids: Collection[int], now: float) -> None:
        """Let Call IDs rest that another process has told clients, before the first is taken here."""
        resting = frozenset(call_ids)
        self._free = array("H", (call_id for call_id in self._free if call_id not in resting))
        self._resting.extend((now + CALL_ID_REST, call_id) for call_id in resting)

    def occupy(self, call_ids: Collection[int]) -> None:
        """Calls have these Call IDs already, which another process has taken for them."""
        self.in_use.update(call_ids)
        self._free = array("H", (call_id for call_id in self._free if call_id not in self.in_use))

    def resting(self, now: float) -> list[tuple[int, float]]:
        """The Call IDs that rest, and for how many seconds, the shortest first."""
        return [(call_id, until - now) for until, call_id in self._resting if until > now]

    def rest_on(self, resting: Collection[tuple[int, float]], now: float) -> None:
        """Let Call IDs rest as `resting` said in another process, before the first is taken here."""
        of_those = frozenset(call_id for call_id, _ in resting)
        self._free = array("H", (call_id for call_id in self._free if call_id not in of_those))
        self._resting.extend((now + seconds, call_id) for call_id, seconds in resting)

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


class Registry(CallCounts):
    """All calls and connections of one server, the limits on them, and their Call IDs."""

    def __init__(self, limits: ServerLimits, call_ids: CallIds | None = None) -> None:
        super().__init__(limits)
        self.calls: dict[int, RegisteredCall] = {}
        self.call_ids = call_ids or CallIds()

    def add(self, call: RegisteredCall) -> None:
        """The call has begun."""
        self.calls[call.info.call_id] = call
        self.count(call)

    def remove(self, call: RegisteredCall, now: float) -> None:
        """The call is over; its Call ID rests."""
        del self.calls[call.info.call_id]
        self.uncount(call)
        self.call_ids.give_back(call.info.call_id, now, told=call.id_told)
