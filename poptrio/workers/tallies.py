"""What workers have told that they counted, added up over all that there are and were."""

from collections import Counter
from dataclasses import fields

from poptrio.datapath.base import DataPathCounters
from poptrio.runtime.loop_lag import LoopLag
from poptrio.workers.messages import Counted


class Tallies:
    """Totals over all workers. A worker that dies takes along only what it had not told: 5 seconds of it, or less."""

    def __init__(self) -> None:
        self.packets: Counter[str] = Counter()
        self.strays: Counter[str] = Counter()
        self.lags: dict[int, LoopLag] = {}

    def add(self, number: int, counted: Counted) -> None:
        """What worker ``number`` has counted since it last told."""
        self.packets.update(counted.packets)
        self.strays.update(counted.strays)
        self.lags.setdefault(number, LoopLag()).add(counted.lag)

    def stray_counters(self) -> DataPathCounters:
        """Packets that belong to no call."""
        return DataPathCounters(**{field.name: self.strays[field.name] for field in fields(DataPathCounters)})
