"""State (RFC 2865 §5.24): which conversation with a server a request goes on with.

Within a call the core brings it back. A PAP client that hangs up at a challenge, as pppd does, dials again with its
one-time password: `ChallengeMemory` finds the State by user and client address then, once.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from poptrio_radius.server import Server

MOST_CHALLENGES = 10_000
"""Challenges that are remembered at once; then the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a server calls the conversation, and the one server that knows of it; None where all do."""

    state: bytes = field(repr=False)
    server: Server | None


class ChallengeMemory:
    """Conversations whose answer may come with another call, for ``seconds`` each; ``clock`` gives seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._remembered: OrderedDict[tuple[str, IPv4Address], tuple[float, Conversation]] = OrderedDict()

    def remember(self, user: str, peer: IPv4Address, conversation: Conversation) -> None:
        """This user, at this address, was asked for more."""
        if not self._seconds:
            return
        self._remembered.pop((user, peer), None)
        self._remembered[user, peer] = (self._clock() + self._seconds, conversation)
        self._forget_old()

    def take(self, user: str, peer: IPv4Address) -> Conversation | None:
        """The conversation that this user's next request goes on with, if there is one. It is forgotten by that."""
        self._forget_old()
        _, conversation = self._remembered.pop((user, peer), (0.0, None))
        return conversation

    def _forget_old(self) -> None:
        now = self._clock()
        while self._remembered:
            deadline, _ = next(iter(self._remembered.values()))
            if deadline > now and len(self._remembered) <= MOST_CHALLENGES:
                return
            self._remembered.popitem(last=False)
