"""The steps of a call as a client sees them, and what a failure of each means for the user (KB 923944 numbers)."""

from dataclasses import dataclass
from enum import Enum


class Step(Enum):
    """The steps in their order: name, and what passing it proves."""

    TCP = ("tcp", "TCP connection to the server")
    CONTROL = ("control", "control connection and Outgoing-Call-Reply")
    GRE = ("gre", "GRE packets both ways")
    LCP = ("lcp", "PPP link")
    AUTHENTICATION = ("authentication", "user name and password")
    ENCRYPTION = ("encryption", "MPPE")
    ADDRESSES = ("addresses", "IP addresses")

    def __init__(self, label: str, meaning: str) -> None:
        self.label = label
        self.meaning = meaning


@dataclass(frozen=True, slots=True)
class StepReport:
    """A step that was passed or failed, ``seconds`` after the beginning; ``detail`` is what was agreed, or why not."""

    step: Step
    passed: bool
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class DialOutcome:
    """How a call ended: ``reached`` when all steps were passed; ``why`` is the sentence for the user."""

    reached: bool
    why: str
