"""What PAP and the CHAP family have in common: the two roles of an authentication protocol, as seen by the session.

An authenticator (the server) turns packets into an `AuthRequest`, waits for `accept` or `refuse`, and repeats its
answer when the peer's packet comes again because the answer was lost. A peer (our client) proves a `Credentials` pair.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.frames import Packet, Protocol

LONGEST_MESSAGE = 255
"""Octets of a message to the peer: PAP has one octet for its length (RFC 1334 §2.2.2)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What our client proves: the name as it is sent (``DOMAIN\\user`` allowed) and the password."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server's answer to a request: the ``S=`` string where MS-CHAPv2 needs one, a message for the others."""

    authenticator_response: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The server's answer to a request: an ``E=`` number (RFC 2759 §6) and a message."""

    code: int = 691
    message: str = ""


class AuthenticationProtocol(ABC):
    """Base of both roles: output, one retransmission timer, and how it ended.

    ``failure`` is a sentence once the protocol has failed for good; ``succeeded`` becomes True at most once.
    """

    protocol: Protocol

    def __init__(self, settings: NegotiationSettings) -> None:
        self.deadline = math.inf
        self.succeeded = False
        self.failure: str | None = None
        self.timed_out = False
        self._settings = settings
        self._output: list[Packet] = []
        self._resend: Packet | None = None
        self._sends_left = 0

    @abstractmethod
    def start(self, now: float) -> None:
        """LCP is up: begin."""

    @abstractmethod
    def receive(self, packet: Packet, now: float) -> None:
        """Take one packet. Raises `MalformedPacket`; the caller drops and counts it."""

    def packets_to_send(self) -> list[Packet]:
        """The packets that have become due, in order; each is handed out once."""
        packets, self._output = self._output, []
        return packets

    def handle_timeout(self, now: float) -> None:
        """Repeat the last packet, or give up after Max-Configure of them."""
        if now < self.deadline or self._resend is None:
            return
        if self._sends_left > 0:
            self._send_until_answered(self._resend, now)
        else:
            self.deadline = math.inf
            self.timed_out = True
            self.failure = f"no answer to {self._settings.max_configure} packets"

    def _begin(self, packet: Packet, now: float) -> None:
        """Send a packet that wants an answer, with a fresh count."""
        self._sends_left = self._settings.max_configure
        self._send_until_answered(packet, now)

    def _send_until_answered(self, packet: Packet, now: float) -> None:
        self._sends_left -= 1
        self._resend = packet
        self.deadline = now + self._settings.restart_interval
        self._output.append(packet)

    def _answered(self) -> None:
        self._resend = None
        self.deadline = math.inf


class Authenticator(AuthenticationProtocol):
    """The server's role: ``pending`` is the request that waits for `accept` or `refuse`."""

    def __init__(self, settings: NegotiationSettings) -> None:
        super().__init__(settings)
        self.pending: AuthRequest | None = None
        self.requests: list[AuthRequest] = []
        self._answer: Packet | None = None
        self._answered_packet: Packet | None = None
        self._packet_in_question: Packet | None = None

    def accept(self, accepted: Accepted) -> None:
        """The pending request is good: tell the peer."""
        self._conclude(self.success_packet(accepted))
        self.succeeded = True

    def refuse(self, refused: Refused) -> None:
        """The pending request is bad: tell the peer."""
        self._conclude(self.failure_packet(refused))
        self.failure = f"E={refused.code}"

    def challenge_again(self, now: float) -> None:
        """Ask the peer to prove itself once more; nothing where the protocol cannot."""

    @abstractmethod
    def success_packet(self, accepted: Accepted) -> Packet:
        """The packet that says yes."""

    @abstractmethod
    def failure_packet(self, refused: Refused) -> Packet:
        """The packet that says no."""

    def _ask(self, packet: Packet, request: AuthRequest) -> None:
        """A new request from the peer; only one is judged at a time."""
        self._answered()
        self.pending = request
        self._packet_in_question = packet
        self.requests.append(request)

    def _already_seen(self, packet: Packet) -> bool:
        """Whether ``packet`` needs no new judgement; an answered one gets its old answer again (RFC 1994 §4.2)."""
        if self.pending is not None:
            return True
        if packet == self._answered_packet and self._answer is not None:
            self._output.append(self._answer)
            return True
        return False

    def _conclude(self, answer: Packet) -> None:
        self._answered_packet, self._answer = self._packet_in_question, answer
        self.pending = self._packet_in_question = None
        self._output.append(answer)


class Peer(AuthenticationProtocol):
    """The client's role; ``mppe_keys`` after success where the protocol yields them."""

    def __init__(self, settings: NegotiationSettings) -> None:
        super().__init__(settings)
        self.mppe_keys: MppeKeys | None = None
        self.error_code: int | None = None


def message_octets(text: str) -> bytes:
    """The text of an Ack, Nak, Success or Failure as it is sent; what is too long or cannot be encoded is lost."""
    return text.encode("utf-8", "replace")[:LONGEST_MESSAGE]
