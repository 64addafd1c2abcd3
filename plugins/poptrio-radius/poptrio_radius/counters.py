"""`Counters`: what happened between us and one server, for whoever wants to show it."""

from collections import Counter
from dataclasses import dataclass, field

from poptrio.api import Histogram


@dataclass(slots=True)
class Counters:
    """Counts since the start, for one server and one purpose; ``round_trips`` are seconds, ``round_trip`` is the last.

    ``requests`` are first transmissions, ``retransmissions`` the others; ``replies`` were verified; ``timeouts`` are
    requests that a server left without an answer. ``dropped`` counts packets by why nobody got them, ``codes`` replies
    by their code.
    """

    requests: int = 0
    retransmissions: int = 0
    replies: int = 0
    timeouts: int = 0
    probes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    round_trips: Histogram = field(default_factory=Histogram)
    round_trip: float | None = None
