"""What PAP and the CHAP family have in common: the two roles of an authentication protocol, as seen by the session.

An authenticator (the server) turns packets into an `AuthRequest`, waits for `accept` or `refuse`, and repeats its
answer when the peer's packet comes again because the answer was lost. A peer (our client) proves a `Credentials` pair.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.frames import Packet, Protocol

LONGEST_MESSAGE = 255
"""Octets of a message to the peer: PAP has one octet for its length (RFC 1334 §2.2.2)."""

MOST_TRIES = 3
"""Proofs that a peer may offer in one authentication, where it may try again at all (as in RFC 2759 §9.1.5)."""

USER_WAIT = 60.0
"""Seconds for another proof, which a person types in: no short timeout (RFC 2759 §6)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What our client proves: the name as it is sent (``DOMAIN\\user`` allowed) and the password.

    ``further_passwords`` are tried in their order where the server lets us try again: other passwords after a failure
    with ``R=1``, or one-time codes that it asks for under PAP. ``new_password`` is what the password is changed to when
    the server says that it has expired (``E=648``); None does not change it.
    """

    name: str
    password: str = field(repr=False)
    further_passwords: tuple[str, ...] = field(default=(), repr=False)
    new_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server's answer to a request: the ``S=`` string where MS-CHAPv2 needs one, a message for the peer.

    ``eap`` is the packet that ends an EAP conversation, an EAP Success of our own if empty.
    """

    authenticator_response: str = ""
    message: str = ""
    eap: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """The server's answer to a request: an ``E=`` number (RFC 2759 §6) and a message.

    With ``retry`` the peer may try again, where its protocol can and it has not done so too often; ``challenge`` is
    what it must answer then, a fresh one if empty. ``eap`` is as in `Accepted`.
    """

    code: int = 691
    message: str = ""
    retry: bool = False
    challenge: bytes = b""
    eap: bytes = b""


@dataclass(frozen=True, slots=True)
class Challenged:
    """The server's answer to a request: it must know more. ``message`` is for PAP, ``eap`` the EAP Request to send."""

    message: str = ""
    eap: bytes = b""


EapMethodName = Literal["mschap-v2", "md5"]
"""The EAP methods that we speak ourselves."""


class AuthenticationProtocol(ABC):
    """Base of both roles: output, one retransmission timer, and how it ended.

    ``failure`` is a sentence once the protocol has failed for good, ``cause`` how the session ends by it; ``succeeded``
    becomes True at most once.
    """

    protocol: Protocol

    def __init__(self, settings: NegotiationSettings) -> None:
        self.deadline = math.inf
        self.succeeded = False
        self.failure: str | None = None
        self.cause = CauseOfEnd.AUTHENTICATION_FAILED
        self._settings = settings
        self._output: tuple[Packet, ...] = ()
        self._resend: Packet | None = None
        self._sends_left = 0

    @abstractmethod
    def start(self, now: float) -> None:
        """LCP is up: begin."""

    @abstractmethod
    def receive(self, packet: Packet, now: float) -> None:
        """Take one packet. Raises `MalformedPacket`; the caller drops and counts it."""

    def packets_to_send(self) -> tuple[Packet, ...]:
        """The packets that have become due, in order; each is handed out once."""
        packets, self._output = self._output, ()
        return packets

    def handle_timeout(self, now: float) -> None:
        """Repeat the last packet, or give up after Max-Configure of them, or when the user's time is over."""
        if now < self.deadline:
            return
        if self._resend is not None and self._sends_left > 0:
            self._send_until_answered(self._resend, now)
            return
        self.cause = CauseOfEnd.AUTHENTICATION_TIMEOUT
        packets = f"no answer to {self._settings.max_configure} packets"
        self.failure = packets if self._resend is not None else f"no other proof within {USER_WAIT:.0f} seconds"
        self._answered()

    @property
    def has_packets(self) -> bool:
        """Whether `packets_to_send` has any."""
        return bool(self._output)

    def _begin(self, packet: Packet, now: float) -> None:
        """Send a packet that wants an answer, with a fresh count."""
        self._sends_left = self._settings.max_configure
        self._send_until_answered(packet, now)

    def _send_until_answered(self, packet: Packet, now: float) -> None:
        self._sends_left -= 1
        self._resend = packet
        self.deadline = now + self._settings.restart_interval
        self._output += (packet,)

    def _answered(self) -> None:
        self._resend = None
        self.deadline = math.inf

    @property
    def _waiting(self) -> bool:
        """Whether something is out that the other side must answer."""
        return self.deadline < math.inf


class Authenticator(AuthenticationProtocol):
    """The server's role: ``pending`` is the request that waits for `accept`, `refuse`, `challenge` or `speak`.

    ``can_challenge_again``: the protocol lets us ask a peer that is authenticated once more.
    """

    can_challenge_again: ClassVar[bool] = True

    def __init__(self, settings: NegotiationSettings) -> None:
        super().__init__(settings)
        self.pending: AuthRequest | None = None
        self.requests: tuple[AuthRequest, ...] = ()
        self._answer: Packet | None = None
        self._answered_packet: Packet | None = None
        self._packet_in_question: Packet | None = None

    def accept(self, accepted: Accepted, now: float) -> None:
        """The pending request is good: tell the peer."""
        self._conclude(self.success_packet(accepted))
        self.succeeded = True

    def refuse(self, refused: Refused, now: float) -> None:
        """The pending request is bad: tell the peer, which may have another try."""
        self._conclude(self.failure_packet(refused))
        self.failure = f"E={refused.code}"

    def challenge(self, challenged: Challenged, now: float) -> str | None:
        """The pending request is not enough: ask the peer for more. Returns why that cannot be, None if it can."""
        return f"{self.protocol.name} has no way to ask the client for more"

    def speak(self, methods: Sequence[EapMethodName], now: float) -> str | None:
        """Speak one of these EAP methods, the first one best. Returns why that cannot be, None if it can."""
        return f"{self.protocol.name} has no methods"

    def challenge_again(self, now: float) -> None:
        """Ask the peer to prove itself once more, unless it is being asked just now."""
        if self.can_challenge_again and self.pending is None and not self._waiting and self.failure is None:
            self.start(now)

    @abstractmethod
    def success_packet(self, accepted: Accepted) -> Packet:
        """The packet that says yes."""

    @abstractmethod
    def failure_packet(self, refused: Refused) -> Packet:
        """The packet that says no."""

    def _wait_for_user(self, now: float) -> None:
        """Another proof may come; nothing is repeated until then."""
        self._answered()
        self.deadline = now + USER_WAIT

    def _ask(self, packet: Packet, request: AuthRequest) -> None:
        """A new request from the peer; only one is judged at a time."""
        self._answered()
        self.pending = request
        self._packet_in_question = packet
        self.requests += (request,)

    def _already_seen(self, packet: Packet) -> bool:
        """Whether ``packet`` needs no new judgement; an answered one gets its old answer again (RFC 1994 §4.2)."""
        if self.pending is not None:
            return True
        if packet == self._answered_packet and self._answer is not None:
            self._output += (self._answer,)
            return True
        return False

    def _conclude(self, answer: Packet) -> None:
        self._remember(answer)
        self._output += (answer,)

    def _remember(self, answer: Packet) -> None:
        """``answer`` is what the packet in question gets, also when it comes again."""
        self._answered_packet, self._answer = self._packet_in_question, answer
        self.pending = self._packet_in_question = None


class Peer(AuthenticationProtocol):
    """The client's role; ``mppe_keys`` after success where the protocol yields them.

    ``refusal`` is what the server said when it last refused us, also where we may try again, and ``error_code`` the
    ``E=`` number in it.
    """

    def __init__(self, settings: NegotiationSettings) -> None:
        super().__init__(settings)
        self.mppe_keys: MppeKeys | None = None
        self.error_code: int | None = None
        self.refusal: str | None = None


def message_octets(text: str) -> bytes:
    """The text of an Ack, Nak, Success or Failure as it is sent; what is too long or cannot be encoded is lost."""
    return text.encode("utf-8", "replace")[:LONGEST_MESSAGE]
