"""What a worker has counted since it last told its parent: the parent adds it up, and keeps it when the worker dies."""

from collections import Counter
from dataclasses import asdict

from poptrio.server.server import Server
from poptrio.workers.messages import Counted


class News:
    """Remembers what was told already."""

    def __init__(self) -> None:
        self._told: dict[str, Counter[str]] = {}
        self._internal_errors = 0

    def of(self, server: Server, packets: Counter[str]) -> Counted:
        """What ``server`` has counted since the last time; ``packets`` are those of `Server.packets`, just now."""
        stats = server.stats
        internal_errors = stats.internal_errors - self._internal_errors
        self._internal_errors = stats.internal_errors
        return Counted(
            internal_errors=internal_errors,
            refusals=self._new("refusals", stats.refusals),
            left_out=self._new("left_out", stats.left_out),
            packets=self._new("packets", packets),
            strays=self._new("strays", Counter(asdict(server.strays()))),
            lag=server.lag.taken(),
            connections=server.connection_count,
        )

    def _new(self, name: str, now: Counter[str]) -> Counter[str]:
        told, self._told[name] = self._told.get(name, Counter()), now.copy()
        return now - told  # what has not grown is left out
