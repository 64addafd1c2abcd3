"""`Counters`: what happened between us and one server, for whoever wants to show it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Counts since the start, for one server and one purpose. ``round_trip`` is the last one, in seconds.

    ``requests`` are first transmissions, ``retransmissions`` the others; ``replies`` were verified; ``timeouts`` are
    requests that a server left without an answer. ``dropped`` counts packets by why nobody got them.
    """

    requests: int = 0
    retransmissions: int = 0
    replies: int = 0
    timeouts: int = 0
    probes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    round_trip: float | None = None
