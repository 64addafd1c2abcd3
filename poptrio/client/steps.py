"""The steps of a call as a client sees them, and what a failure of each means for the user (KB 923944 numbers)."""

from dataclasses import dataclass
from enum import Enum

from poptrio.errors import CauseOfEnd


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


_FAILED_STEPS = {
    CauseOfEnd.NO_GRE: Step.GRE,
    CauseOfEnd.LCP_TIMEOUT: Step.LCP,
    CauseOfEnd.LCP_LOOPBACK: Step.LCP,
    CauseOfEnd.LCP_NOT_AGREED: Step.LCP,
    CauseOfEnd.AUTHENTICATION_NOT_AGREED: Step.LCP,
    CauseOfEnd.AUTHENTICATION_FAILED: Step.AUTHENTICATION,
    CauseOfEnd.RESTRICTED_HOURS: Step.AUTHENTICATION,
    CauseOfEnd.ACCOUNT_DISABLED: Step.AUTHENTICATION,
    CauseOfEnd.PASSWORD_EXPIRED: Step.AUTHENTICATION,
    CauseOfEnd.NO_DIAL_IN_PERMISSION: Step.AUTHENTICATION,
    CauseOfEnd.CHANGING_PASSWORD_FAILED: Step.AUTHENTICATION,
    CauseOfEnd.AUTHENTICATION_TIMEOUT: Step.AUTHENTICATION,
    CauseOfEnd.AUTHENTICATION_UNAVAILABLE: Step.AUTHENTICATION,
    CauseOfEnd.ENCRYPTION_NOT_AGREED: Step.ENCRYPTION,
    CauseOfEnd.ENCRYPTION_LOST: Step.ENCRYPTION,
    CauseOfEnd.ADDRESS_UNAVAILABLE: Step.ADDRESSES,
    CauseOfEnd.NETWORK_NOT_AGREED: Step.ADDRESSES,
    CauseOfEnd.NETWORK_TIMEOUT: Step.ADDRESSES,
}


def failed_step(cause: CauseOfEnd) -> Step | None:
    """The step that ``cause`` is about; None for one that can end a call at any time."""
    return _FAILED_STEPS.get(cause)


@dataclass(frozen=True, slots=True)
class StepReport:
    """A step that was passed or failed, ``seconds`` after the beginning; ``detail`` is what was agreed, or why not."""

    step: Step
    passed: bool
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class DialOutcome:
    """How a call ended: ``reached`` when all steps were passed; ``why`` is the sentence for the user.

    A call that was interrupted before it was up is not reached, and no step has failed.
    """

    reached: bool
    why: str
