"""What a configuration option of PPP is (RFC 1661 §6): one small object per option, with the same verbs for all.

An `Option` speaks for both directions. `request` and `acked`, `naked`, `rejected` are our own Configure-Request and the
peer's answers to it; `judge`, `missing` and `agreed` are the peer's Configure-Request and our answer. LCP, IPCP and CCP
differ in nothing but their lists of options.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ack:
    """The peer's value is fine."""


@dataclass(frozen=True, slots=True)
class Nak:
    """The peer should ask for ``value`` instead."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Reject:
    """The option is not negotiable with us at all."""


Verdict = Ack | Nak | Reject


class Option:
    """Base of all options: not requested by us, rejected when the peer requests it.

    ``mandatory``: the protocol cannot come up without agreement on it. In words for an operator, ``failure`` says why
    there will be none as soon as that is certain, and ``disagreement`` what is still between us while it is not.
    """

    __slots__ = ("disagreement", "failure")

    kind: int
    name: str
    mandatory = False

    def __init__(self) -> None:
        self.failure: str | None = None
        self.disagreement: str | None = None

    def restart(self) -> None:
        """Our own side of the negotiation begins anew; what the peer agreed to request is judged afresh by itself."""

    def request(self) -> bytes | None:
        """The value for our Configure-Request, or None to leave the option out."""
        return None

    def acked(self, value: bytes) -> None:
        """The peer agreed to what we requested."""

    def naked(self, value: bytes) -> None:
        """The peer suggests ``value`` instead of what we requested."""

    def rejected(self) -> None:
        """The peer does not know or want the option."""

    def judge(self, value: bytes) -> Verdict:
        """The peer requests ``value``."""
        return Reject()

    def missing(self) -> bytes | None:
        """The peer did not request the option: a value that our Nak should ask it to add, or None."""
        return None

    def agreed(self, value: bytes | None) -> None:
        """Our Configure-Ack leaves: ``value`` is what the peer requested, None when it left the option out."""


class Insistence:
    """How often a peer may refuse the same thing before its Nak counts as a Reject.

    Windows 2000 Naks with the value that it was sent, for ever; one Yamaha router and one TP-Link do alike.
    """

    __slots__ = ("_left",)

    def __init__(self, patience: int = 2) -> None:
        self._left = patience

    def exhausted(self) -> bool:
        """Count one more useless Nak; True when it is one too many."""
        self._left -= 1
        return self._left < 0
