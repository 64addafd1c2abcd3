"""What came of asking plugins: how long each took, what it said, and when it last could and could not."""

import time
from collections import Counter

import trio

from poptrio.calls import AddressLease
from poptrio.decisions import Accept, Challenge, LocalEap, Reject, Unavailable
from poptrio.errors import NoAddress
from poptrio.measurements import Histogram

_LABELS: dict[type, str] = {
    Accept: "accept",
    Reject: "reject",
    Challenge: "challenge",
    LocalEap: "local-eap",
    Unavailable: "unavailable",
    AddressLease: "lease",
    NoAddress: "no-address",
    type(None): "none",
    str: "refusal",
}
"""What plugins answer: None is "not mine" where they are asked, and "done" where they are told."""

FAILED, TOO_SLOW, WRONG_TYPE = "failed", "too-slow", "wrong-type"


class PluginTally:
    """One plugin's. ``seconds`` are by hook, ``answers`` by hook and label.

    ``last_success`` and ``last_failure`` are Unix seconds, 0.0 for never; ``last_error`` is the sentence about the
    latter. A refusal is a success: the plugin could answer.
    """

    __slots__ = ("answers", "last_error", "last_failure", "last_success", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[str, Histogram] = {}
        self.answers: Counter[tuple[str, str]] = Counter()
        self.last_success = 0.0
        self.last_failure = 0.0
        self.last_error = ""

    def answered(self, hook: str, seconds: float, answer: object) -> None:
        """The plugin said something, after so many ``seconds``."""
        label = _LABELS.get(type(answer), WRONG_TYPE)
        self._count(hook, seconds, label)
        if isinstance(answer, Unavailable):
            self._failed(answer.reason)
        elif label == WRONG_TYPE:
            self._failed(f"it answered {hook} with a {type(answer).__name__}")
        else:
            self.last_success = time.time()

    def failed(self, hook: str, seconds: float, error: BaseException) -> None:
        """The plugin raised something, or was out of time."""
        if isinstance(error, trio.TooSlowError):
            self._count(hook, seconds, TOO_SLOW)
            self._failed(f"no answer to {hook} within {seconds:.0f} seconds")
        else:
            self._count(hook, seconds, FAILED)
            self._failed(f"{hook} failed with {type(error).__name__}; the traceback is in the log")

    @property
    def is_failing(self) -> bool:
        """Whether the last thing that it did was to fail."""
        return self.last_failure > self.last_success

    def _count(self, hook: str, seconds: float, label: str) -> None:
        self.answers[hook, label] += 1
        if hook not in self.seconds:
            self.seconds[hook] = Histogram()
        self.seconds[hook].observe(seconds)

    def _failed(self, sentence: str) -> None:
        # Never before a success of the same clock tick.
        self.last_failure = max(time.time(), self.last_success + 1e-6)
        self.last_error = sentence
