"""The Password Authentication Protocol (RFC 1334 §2), both roles."""

from dataclasses import replace
from enum import IntEnum
from typing import ClassVar

from poptrio.protocols.ppp.auth_requests import PapRequest
from poptrio.protocols.ppp.authenticator import (
    MOST_TRIES,
    Accepted,
    Authenticator,
    Challenged,
    Credentials,
    Peer,
    Refused,
    message_octets,
)
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.frames import Packet, Protocol
from poptrio.protocols.wire import Reader


class PapCode(IntEnum):
    """Codes of RFC 1334 §2.2."""

    AUTHENTICATE_REQUEST = 1
    AUTHENTICATE_ACK = 2
    AUTHENTICATE_NAK = 3


class PapAuthenticator(Authenticator):
    """Waits for an Authenticate-Request; the peer repeats it until it is answered.

    Who is asked for more gets an Authenticate-Nak, and may send another Authenticate-Request with the answer as its
    password: a one-time code.
    """

    protocol = Protocol.PAP
    can_challenge_again: ClassVar[bool] = False

    def __init__(self, settings: NegotiationSettings) -> None:
        super().__init__(settings)
        self._tries_left = MOST_TRIES

    def start(self, now: float) -> None:
        """Nothing to send: the peer begins. A silent one is told by the session's establish timeout."""

    def receive(self, packet: Packet, now: float) -> None:
        if packet.code != PapCode.AUTHENTICATE_REQUEST or self._repeated(packet):
            return
        reader = Reader(packet.data, "PAP Authenticate-Request")
        name = reader.take(reader.u8()).decode("utf-8", "surrogateescape")
        password = reader.take(reader.u8()).decode("utf-8", "surrogateescape")
        if self.pending is None and (self._answer is None or self._waiting):
            self._tries_left -= 1
            self._answer = None
            self._ask(packet, PapRequest(name=name, username=name, password=password))

    def challenge(self, challenged: Challenged, now: float) -> str | None:
        if self._tries_left <= 0:
            return f"{MOST_TRIES} passwords were not enough"
        self._conclude(self._reply(PapCode.AUTHENTICATE_NAK, challenged.message or "More is needed"))
        self._wait_for_user(now)
        return None

    def _repeated(self, packet: Packet) -> bool:
        """Whether this is a request that was seen before: it comes again under another Identifier (RFC 1334 §2.2.1)."""
        known = self._packet_in_question or self._answered_packet
        if known is None or known.data != packet.data:
            return False
        if self._answer is None:
            self._packet_in_question = packet  # Not judged yet; the answer will be to the latest.
        else:
            self._output += (Packet(self._answer.code, packet.identifier, self._answer.data),)
        return True

    def success_packet(self, accepted: Accepted) -> Packet:
        return self._reply(PapCode.AUTHENTICATE_ACK, accepted.message)

    def failure_packet(self, refused: Refused) -> Packet:
        return self._reply(PapCode.AUTHENTICATE_NAK, refused.message or "Authentication failed")

    def _reply(self, code: PapCode, message: str) -> Packet:
        text = message_octets(message)
        assert self._packet_in_question is not None
        return Packet(code, self._packet_in_question.identifier, bytes((len(text),)) + text)


class PapPeer(Peer):
    """Sends an Authenticate-Request until it is answered."""

    protocol = Protocol.PAP

    def __init__(self, credentials: Credentials, settings: NegotiationSettings) -> None:
        super().__init__(settings)
        self._name = credentials.name
        self._passwords = [credentials.password, *credentials.further_passwords]
        self._identifier = 0
        self._first = 1  # identifier of the first request with the password that is tried

    def start(self, now: float) -> None:
        self._first = self._identifier % 0xFF + 1
        name, password = (
            text.encode("utf-8", "surrogateescape")[:255] for text in (self._name, self._passwords.pop(0))
        )
        data = bytes((len(name),)) + name + bytes((len(password),)) + password
        self._begin(Packet(PapCode.AUTHENTICATE_REQUEST, self._identifier, data), now)

    def receive(self, packet: Packet, now: float) -> None:
        if self._resend is None or not self._first <= packet.identifier <= self._identifier:
            return  # An answer to any request with this password is good: they differ in nothing else.
        if packet.code == PapCode.AUTHENTICATE_ACK:
            self._answered()
            self.succeeded = True
        elif packet.code == PapCode.AUTHENTICATE_NAK:
            self._answered()
            text = packet.data[1 : 1 + packet.data[0]] if packet.data else b""
            self.refusal = text.decode("utf-8", "replace") or "the server sent an Authenticate-Nak"
            if self._passwords:
                self.start(now)
            else:
                self.failure = self.refusal

    def _send_until_answered(self, packet: Packet, now: float) -> None:
        self._identifier = self._identifier % 0xFF + 1  # It "MUST be changed each time" (RFC 1334 §2.2.1).
        super()._send_until_answered(replace(packet, identifier=self._identifier), now)
