"""A link that drops, duplicates, reorders and delays GRE packets, the same way every time for the same seed."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from poptrio.protocols.gre import call_id_of


@dataclass(slots=True, kw_only=True)
class TerribleLink:
    """A `poptrio.datapath.memory.Link`. Probabilities are of each packet, times in seconds.

    A packet takes ``delay``, and anything up to ``jitter`` more; ``reorder`` of them take ``detour`` on top, so that
    later ones overtake them. Each call and direction has dice of its own, so that what happens to one call does not
    depend on the order in which a scheduler runs the others.
    """

    seed: int
    drop: float = 0.05
    duplicate: float = 0.03
    reorder: float = 0.1
    delay: float = 0.02
    jitter: float = 0.001
    detour: float = 0.01
    _dice: dict[tuple[int, bool], random.Random] = field(default_factory=dict, init=False, repr=False)

    def delays(self, packet: bytes, *, to_server: bool) -> Iterable[float]:
        """Seconds after which ``packet`` arrives, one number per copy; none: it is lost."""
        key = (call_id_of(packet, 0), to_server)
        dice = self._dice.get(key)
        if dice is None:
            dice = self._dice[key] = random.Random(f"{self.seed}/{key}")
        if dice.random() < self.drop:
            return ()
        copies = 2 if dice.random() < self.duplicate else 1
        return [self._one_delay(dice) for _ in range(copies)]

    def _one_delay(self, dice: random.Random) -> float:
        detour = self.detour if dice.random() < self.reorder else 0.0
        return self.delay + dice.uniform(0.0, self.jitter) + detour
