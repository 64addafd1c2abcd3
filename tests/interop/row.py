"""What a row is, and what many of them have in common."""

from collections.abc import Callable
from dataclasses import dataclass

import scenarios
from stage import Dial, Stage

MPPE_128 = ("require-mppe-128",)
CLEAR = {"encryption": "refuse"}


@dataclass(frozen=True, slots=True)
class Row:
    """One case."""

    name: str
    dial: Dial
    play: Callable[[Stage], None] = scenarios.carries_traffic
