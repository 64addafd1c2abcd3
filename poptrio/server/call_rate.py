"""How fast one client address may ask for calls: a token bucket for each.

Each call costs a Call ID, which must rest after use, a log line and PPP packets, and a client can ask for thousands in
a second before anybody knows who it is.
"""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address

CALLS_PER_SECOND = 20.0
"""Calls that one address may ask for, in the long run: with Call IDs resting 60 s, it holds 2 % of them at most."""

TOO_FAST = f"more than {CALLS_PER_SECOND:.0f} calls a second from this address"
"""Why a call is refused whose address asks for more."""

CALL_BURST = 100.0
"""Calls that it may ask for at once: an office behind one NAT gateway, after an outage."""

MOST_ADDRESSES = 10_000
"""Addresses remembered at most; one that is forgotten starts with a full bucket."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class CallRate:
    """The token buckets of all client addresses."""

    def __init__(self, per_second: float = CALLS_PER_SECOND, burst: float = CALL_BURST) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[IPv4Address, _Bucket] = OrderedDict()

    def take(self, peer: IPv4Address, now: float) -> bool:
        """Whether ``peer`` may ask for one more call now."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = _Bucket(self._burst, now)
            if len(self._buckets) > MOST_ADDRESSES:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(peer)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled) * self._per_second)
        bucket.filled = now
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True
