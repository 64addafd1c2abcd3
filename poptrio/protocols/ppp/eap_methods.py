"""The EAP methods that poptrio speaks itself as authenticator: MD5-Challenge and EAP-MSCHAPv2.

A method makes Type-Data of Requests and reads that of Responses; identifiers, retransmission and the packets at both
ends of the conversation are `eap`'s. What it learns becomes the same question that CHAP would have asked.
"""

from abc import ABC, abstractmethod
from enum import Enum, IntEnum, auto

from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.auth_requests import AuthRequest, ChapMd5Request
from poptrio.protocols.ppp.authenticator import Accepted, EapMethodName, Refused, message_octets
from poptrio.protocols.ppp.eap_packets import EapType
from poptrio.protocols.ppp.lcp import AuthProtocol, RandomBytes
from poptrio.protocols.ppp.mschap_dialogue import Expected, MsChapDialogue
from poptrio.protocols.wire import Reader


class Verdict(Enum):
    """What a Response means that asks nothing."""

    CONFIRMED = auto()
    """The peer has taken note of success or failure."""

    REFUSED = auto()
    """The peer does not believe us."""

    FOREIGN = auto()
    """The peer speaks of another user than the one who was identified."""

    OUT_OF_PLACE = auto()
    """Not what was waited for: dropped."""


class EapMethod(ABC):
    """One method of one conversation with the peer that said ``identity``."""

    kind: EapType

    def __init__(self, identity: str, our_name: bytes, random: RandomBytes) -> None:
        self._identity = identity
        self._our_name = our_name
        self._random = random

    @abstractmethod
    def first(self, identifier: int) -> bytes:
        """Type-Data of the first Request, which will have this Identifier."""

    @abstractmethod
    def receive(self, data: bytes, identifier: int) -> AuthRequest | Verdict:
        """Take the Type-Data of a Response with this Identifier. Raises `MalformedPacket`."""

    def accepted(self, accepted: Accepted) -> bytes | None:
        """Type-Data of the Request that tells the peer of success, None if an EAP Success is enough."""
        return None

    def refused(self, refused: Refused) -> bytes | None:
        """Type-Data of the Request that tells the peer of failure, None if an EAP Failure is enough."""
        return None

    @property
    def goes_on(self) -> bool:
        """Whether the peer may have another try after `refused`."""
        return False


class Md5Method(EapMethod):
    """MD5-Challenge (RFC 2284 §3.4): CHAP-MD5 with the Identifier of the EAP packets."""

    kind = EapType.MD5

    def first(self, identifier: int) -> bytes:
        self._challenge = self._random(16)
        return bytes((16,)) + self._challenge + self._our_name

    def receive(self, data: bytes, identifier: int) -> AuthRequest | Verdict:
        reader = Reader(data, "EAP-MD5 Response")
        value = reader.take(reader.u8())  # What follows is a name, which many leave out: the identity counts.
        return ChapMd5Request(
            name=self._identity,
            username=self._identity,
            identifier=identifier,
            challenge=self._challenge,
            response=value,
        )


class OpCode(IntEnum):
    """OpCodes of EAP-MSCHAPv2, which are the codes of the CHAP packets inside (draft-kamath-pppext §2)."""

    CHALLENGE = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4
    CHANGE_PASSWORD = 7


def embedded(op_code: OpCode, identifier: int, data: bytes) -> bytes:
    """The Type-Data of EAP-MSCHAPv2: OpCode, MS-CHAPv2-ID and MS-Length before the data of a CHAP packet."""
    return bytes((op_code, identifier)) + (len(data) + 4).to_bytes(2, "big") + data


def unpack(data: bytes) -> tuple[int, int, bytes]:
    """OpCode, MS-CHAPv2-ID and what follows. Raises `MalformedPacket`, also where MS-Length lies."""
    reader = Reader(data, "EAP-MSCHAPv2")
    op_code, identifier, length = reader.u8(), reader.u8(), reader.u16()
    content = reader.rest()
    if length != len(data):
        raise MalformedPacket(f"EAP-MSCHAPv2: MS-Length of {length} octets, {len(data)} are there")
    return op_code, identifier, content


class MsChapV2Method(EapMethod):
    """EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2): MS-CHAPv2 whose Success and Failure are answered."""

    kind = EapType.MSCHAP_V2

    def __init__(self, identity: str, our_name: bytes, random: RandomBytes) -> None:
        super().__init__(identity, our_name, random)
        self._dialogue = MsChapDialogue(AuthProtocol.MSCHAP_V2, random)
        self._identifier = 0
        self._told: OpCode | None = None  # Success or Failure, once the peer was told

    def first(self, identifier: int) -> bytes:
        self._identifier = identifier
        challenge = self._dialogue.challenge
        return embedded(OpCode.CHALLENGE, identifier, bytes((len(challenge),)) + challenge + self._our_name)

    def receive(self, data: bytes, identifier: int) -> AuthRequest | Verdict:
        op_code = data[0] if data else 0
        if self._told is not None and op_code in (OpCode.SUCCESS, OpCode.FAILURE):
            # Nothing but the OpCode counts, and often there is nothing else (§2.4, §2.6).
            return Verdict.CONFIRMED if op_code == self._told else Verdict.REFUSED
        expected = self._dialogue.expected
        if op_code == OpCode.RESPONSE and expected is Expected.RESPONSE:
            return self._response(data)
        if op_code == OpCode.CHANGE_PASSWORD and expected is Expected.CHANGE_PASSWORD:
            _, self._identifier, content = unpack(data)
            return self._dialogue.change_password(self._identifier, content)
        return Verdict.OUT_OF_PLACE

    def _response(self, data: bytes) -> AuthRequest | Verdict:
        _, identifier, content = unpack(data)
        reader = Reader(content, "EAP-MSCHAPv2 Response")
        value = reader.take(reader.u8())
        name = self._name(reader.rest().decode("utf-8", "surrogateescape"))
        if name is None:
            return Verdict.FOREIGN
        self._identifier = identifier
        return self._dialogue.response(identifier, value, name)

    def _name(self, sent: str) -> str | None:
        """The name to judge: the identity's domain, and its user in the octets that the peer has hashed.

        Whoever was identified is who is judged: a plugin has been chosen by the identity, and it is what was throttled.
        """
        domain, backslash, user = self._identity.rpartition("\\")
        hashed = sent.rpartition("\\")[2] or user
        return domain + backslash + hashed if hashed.casefold() == user.casefold() else None

    def accepted(self, accepted: Accepted) -> bytes | None:
        self._told = OpCode.SUCCESS
        text = message_octets(self._dialogue.success_text(accepted))
        return embedded(OpCode.SUCCESS, self._identifier, text)

    def refused(self, refused: Refused) -> bytes | None:
        self._told = OpCode.FAILURE
        text = message_octets(self._dialogue.failure_text(refused))
        return embedded(OpCode.FAILURE, self._identifier, text)

    @property
    def goes_on(self) -> bool:
        return self._dialogue.expected is not Expected.NOTHING


METHODS: dict[EapMethodName, type[EapMethod]] = {"mschap-v2": MsChapV2Method, "md5": Md5Method}
