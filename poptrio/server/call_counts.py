"""How many calls and connections there are, and from where: the limits of ``[server]``, and who is still a stranger."""

from ipaddress import IPv4Address
from typing import Protocol

from poptrio.calls import CallInfo
from poptrio.config.sections import Server as ServerLimits
from poptrio.server.call_rate import CallRate


class CountedCall(Protocol):
    """What is counted."""

    info: CallInfo


class CallCounts:
    """All calls and connections of one server, and the limits on them."""

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self._number_of_calls = 0
        self._calls_of: dict[IPv4Address, int] = {}
        self._strangers_of: dict[IPv4Address, int] = {}
        self._strangers = 0
        self._rate = CallRate()

    def refuse_stranger(self, peer: IPv4Address) -> str | None:
        """Why one more unauthenticated connection or call from ``peer`` is too many, or None."""
        if self._strangers >= self.limits.max_unauthenticated:
            return f"{self._strangers} unauthenticated connections and calls (server.max_unauthenticated)"
        strangers = self._strangers_of.get(peer, 0)
        if strangers >= self.limits.max_unauthenticated_per_address:
            return (
                f"{strangers} unauthenticated connections and calls from this address "
                "(server.max_unauthenticated_per_address)"
            )
        return None

    def too_fast(self, peer: IPv4Address, now: float) -> bool:
        """Count one more request for a call; whether ``peer`` asks for them too fast."""
        return not self._rate.take(peer, now)

    def refuse_call(self, peer: IPv4Address) -> str | None:
        """Why one more call from ``peer`` is too many, or None."""
        if self._number_of_calls >= self.limits.max_calls:
            return f"{self._number_of_calls} calls (server.max_calls)"
        most = self.limits.max_calls_per_address
        if most and (calls := self._calls_of.get(peer, 0)) >= most:
            return f"{calls} calls from this address (server.max_calls_per_address)"
        return self.refuse_stranger(peer)

    def stranger(self, peer: IPv4Address) -> "Stranger":
        """Count one unauthenticated connection or call until it is `Stranger.known`."""
        return Stranger(self, peer)

    def count_stranger(self, peer: IPv4Address, change: int) -> None:
        """One more or one less."""
        self._strangers += change
        _change(self._strangers_of, peer, change)

    def count(self, call: CountedCall) -> None:
        """The call has begun."""
        self._number_of_calls += 1
        _change(self._calls_of, call.info.peer, 1)

    def uncount(self, call: CountedCall) -> None:
        """The call is over."""
        self._number_of_calls -= 1
        _change(self._calls_of, call.info.peer, -1)


class Stranger:
    """One unauthenticated connection or call, counted against the limits."""

    __slots__ = ("_counted", "_counts", "_peer")

    def __init__(self, counts: CallCounts, peer: IPv4Address) -> None:
        self._counts = counts
        self._peer = peer
        self._counted = True
        counts.count_stranger(peer, 1)

    @property
    def is_counted(self) -> bool:
        """Whether it still counts."""
        return self._counted

    def known(self) -> None:
        """Authenticated, or gone; only the first time changes anything."""
        if self._counted:
            self._counted = False
            self._counts.count_stranger(self._peer, -1)


def _change(counts: dict[IPv4Address, int], peer: IPv4Address, change: int) -> None:
    """One more or one less of ``peer``, of whom nothing is kept when nothing is left."""
    count = counts.get(peer, 0) + change
    if count:
        counts[peer] = count
    else:
        del counts[peer]
