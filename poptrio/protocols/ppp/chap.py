"""CHAP-MD5 (RFC 1994), MS-CHAPv1 (RFC 2433) and MS-CHAPv2 (RFC 2759) as authenticator.

The exchange is the same for all three; what MS-CHAP puts into it is in `mschap_dialogue`.
"""

from enum import IntEnum

from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.auth_requests import AuthRequest, ChapMd5Request
from poptrio.protocols.ppp.authenticator import Accepted, Authenticator, Refused, message_octets
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.frames import Packet, Protocol
from poptrio.protocols.ppp.lcp import AuthProtocol, RandomBytes
from poptrio.protocols.ppp.mschap_dialogue import Expected, MsChapDialogue
from poptrio.protocols.wire import Reader


class ChapCode(IntEnum):
    """Codes of RFC 1994 §4 and RFC 2759 §7."""

    CHALLENGE = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4
    CHANGE_PASSWORD = 7


LONGEST_NAME = 256
"""Octets of a user name (RFC 2759 §8.1: "0-to-256-char UserName")."""

MD5_CHALLENGE_SIZE = 16


class ChapAuthenticator(Authenticator):
    """Challenges the peer, and again whenever `challenge_again` is called."""

    protocol = Protocol.CHAP

    def __init__(self, kind: AuthProtocol, our_name: str, settings: NegotiationSettings, random: RandomBytes) -> None:
        super().__init__(settings)
        self._kind = kind
        self._our_name = our_name.encode("utf-8", "surrogateescape")
        self._random = random
        self._identifier = random(1)[0]
        self._challenge = b""
        self._dialogue: MsChapDialogue | None = None  # from challenge to success; CHAP-MD5 has none

    def start(self, now: float) -> None:
        self._identifier = (self._identifier + 1) & 0xFF
        if self._kind is AuthProtocol.CHAP_MD5:
            self._challenge = self._random(MD5_CHALLENGE_SIZE)
        else:
            self._dialogue = MsChapDialogue(self._kind, self._random)
            self._challenge = self._dialogue.challenge
        data = bytes((len(self._challenge),)) + self._challenge + self._our_name
        self._begin(Packet(ChapCode.CHALLENGE, self._identifier, data), now)

    def receive(self, packet: Packet, now: float) -> None:
        if packet.code not in (ChapCode.RESPONSE, ChapCode.CHANGE_PASSWORD) or self._already_seen(packet):
            return
        if packet.identifier != self._identifier or not self._waiting or packet.code != self._expected:
            return  # Not the answer to the challenge that is out: one challenge, one judgement.
        if packet.code == ChapCode.CHANGE_PASSWORD and self._dialogue is not None:
            self._ask(packet, self._dialogue.change_password(packet.identifier, packet.data))
        else:
            self._ask(packet, self._response(packet))

    @property
    def _expected(self) -> ChapCode:
        """The code of the only packet that we wait for."""
        changing = self._dialogue is not None and self._dialogue.expected is Expected.CHANGE_PASSWORD
        return ChapCode.CHANGE_PASSWORD if changing else ChapCode.RESPONSE

    def _response(self, packet: Packet) -> AuthRequest:
        reader = Reader(packet.data, "CHAP Response")
        value = reader.take(reader.u8())
        octets = reader.rest()
        if len(octets) > LONGEST_NAME:
            raise MalformedPacket(f"CHAP Response with a name of {len(octets)} octets, at most {LONGEST_NAME} allowed")
        name = octets.decode("utf-8", "surrogateescape")
        if self._dialogue is not None:
            return self._dialogue.response(packet.identifier, value, name)
        return ChapMd5Request(
            name=name, username=name, identifier=packet.identifier, challenge=self._challenge, response=value
        )

    def accept(self, accepted: Accepted, now: float) -> None:
        super().accept(accepted, now)
        self._dialogue = None  # until the next challenge

    def refuse(self, refused: Refused, now: float) -> None:
        super().refuse(refused, now)
        if self._dialogue is not None and self._dialogue.expected is not Expected.NOTHING:
            self.failure = None
            self._identifier = (self._identifier + 1) & 0xFF  # what comes next counts up (RFC 2759 §9.1)
            self._wait_for_user(now)

    def success_packet(self, accepted: Accepted) -> Packet:
        text = self._dialogue.success_text(accepted) if self._dialogue else accepted.message or "Welcome"
        return Packet(ChapCode.SUCCESS, self._identifier, message_octets(text))

    def failure_packet(self, refused: Refused) -> Packet:
        text = self._dialogue.failure_text(refused) if self._dialogue else refused.message or "Authentication failed"
        return Packet(ChapCode.FAILURE, self._identifier, message_octets(text))
