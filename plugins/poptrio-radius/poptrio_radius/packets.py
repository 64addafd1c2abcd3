"""RADIUS packets (RFC 2865 §3): requests encoded and signed, replies and requests parsed and verified.

Verification works on the octets as they came, and comes before anything is decoded: bounds first, then the
authenticators. A Message-Authenticator (RFC 3579 §3.2) is the first attribute of what we send, and demanded in what we
get, so that nobody between us and the server can make an Access-Accept of an Access-Reject (CVE-2024-3596).
"""

import hmac
import secrets
import struct
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from hashlib import md5

from poptrio_radius.attributes import Attributes
from poptrio_radius.dictionary import NO_AUTHENTICATOR, unpack
from poptrio_radius.hiding import hide_password

HEADER = struct.Struct("!BBH16s")
LONGEST_PACKET = 4096
"""Octets (RFC 2865 §3)."""

_MESSAGE_AUTHENTICATOR = 80
_EAP_MESSAGE = 79
_PROXY_STATE = 33


class Code(IntEnum):
    """Packet types (RFC 2865 §3, RFC 5176 §2.3, RFC 5997)."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCOUNTING_REQUEST = 4
    ACCOUNTING_RESPONSE = 5
    ACCESS_CHALLENGE = 11
    STATUS_SERVER = 12
    DISCONNECT_REQUEST = 40
    DISCONNECT_ACK = 41
    DISCONNECT_NAK = 42
    COA_REQUEST = 43
    COA_ACK = 44
    COA_NAK = 45


REPLIES = {
    Code.ACCESS_REQUEST: {Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE},
    Code.ACCOUNTING_REQUEST: {Code.ACCOUNTING_RESPONSE},
    Code.STATUS_SERVER: {Code.ACCESS_ACCEPT, Code.ACCOUNTING_RESPONSE},
    Code.DISCONNECT_REQUEST: {Code.DISCONNECT_ACK, Code.DISCONNECT_NAK},
    Code.COA_REQUEST: {Code.COA_ACK, Code.COA_NAK},
}
"""Which packets answer which."""

_RANDOM_AUTHENTICATOR = {Code.ACCESS_REQUEST, Code.STATUS_SERVER}


class Flaw(Enum):
    """Why a packet is dropped; the values are labels of counters and words in the log."""

    TRUNCATED = "truncated"
    TOO_LONG = "too long"
    ATTRIBUTE_LENGTH = "attribute length"
    IDENTIFIER = "identifier"
    CODE = "code"
    AUTHENTICATOR = "authenticator"
    MESSAGE_AUTHENTICATOR = "message authenticator"
    MESSAGE_AUTHENTICATOR_MISSING = "message authenticator missing"
    PROXY_STATE = "proxy state"


class BadPacket(Exception):
    """A packet that is dropped, as the RFCs say: silently towards its sender."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that came: ``raw`` is the octets without padding; ``authenticator`` what stands in its header."""

    code: int
    identifier: int
    authenticator: bytes = field(repr=False)
    attributes: Attributes
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """A request before it has an identifier. A User-Password is in clear among the attributes, and hidden here."""

    code: Code
    attributes: Attributes

    def encode(self, identifier: int, secret: bytes, authenticator: bytes | None = None) -> bytes:
        """The octets to send; ``authenticator`` is random where the RFC wants that, unless it is given.

        Raises ValueError when the attributes do not fit into a packet, or the password into its attribute.
        """
        if self.code not in _RANDOM_AUTHENTICATOR:
            return _sign_with_digest(self.code, identifier, self.attributes, secret)
        authenticator = secrets.token_bytes(16) if authenticator is None else authenticator
        attributes = self.attributes.with_first("Message-Authenticator", bytes(16))
        for password in attributes.octets("User-Password"):
            attributes.replace("User-Password", hide_password(password, secret, authenticator))
        return _with_message_authenticator(_assemble(self.code, identifier, authenticator, attributes), secret)


def parse(datagram: bytes) -> Packet:
    """Decode a packet; octets behind its Length are padding and ignored (RFC 2865 §3). Raises `BadPacket`."""
    if len(datagram) < HEADER.size:
        raise BadPacket(Flaw.TRUNCATED)
    code, identifier, length, authenticator = HEADER.unpack_from(datagram)
    if length < HEADER.size or length > len(datagram):
        raise BadPacket(Flaw.TRUNCATED)
    if length > LONGEST_PACKET:
        raise BadPacket(Flaw.TOO_LONG)
    raw = bytes(datagram[:length])
    _find(raw, _MESSAGE_AUTHENTICATOR)  # walks all of them
    return Packet(code, identifier, authenticator, Attributes(unpack(raw)), raw)


def verify_reply(
    datagram: bytes, request: bytes, secret: bytes, *, require_message_authenticator: bool = True
) -> Packet:
    """The packet in ``datagram``, if it is the answer of somebody who knows ``secret`` to ``request``, as sent.

    A Message-Authenticator that is there must be right. With ``require_message_authenticator`` it must be there in
    answers to an Access-Request; with an EAP-Message always (RFC 3579 §3.1). Raises `BadPacket`.
    """
    reply = parse(datagram)
    code, identifier, _, authenticator = HEADER.unpack_from(request)
    if reply.identifier != identifier:
        raise BadPacket(Flaw.IDENTIFIER)
    if reply.code not in REPLIES[Code(code)]:
        raise BadPacket(Flaw.CODE)
    digest = md5(reply.raw[:4] + authenticator + reply.raw[HEADER.size :] + secret).digest()
    if not hmac.compare_digest(digest, reply.authenticator):
        raise BadPacket(Flaw.AUTHENTICATOR)
    if _find(reply.raw, _PROXY_STATE):  # we send none: it is what the attack of CVE-2024-3596 leaves behind
        raise BadPacket(Flaw.PROXY_STATE)
    needed = code == Code.ACCESS_REQUEST and require_message_authenticator
    vectors = [authenticator]
    if code == Code.ACCOUNTING_REQUEST:
        vectors.append(NO_AUTHENTICATOR)  # what FreeRADIUS takes there; no RFC says
    _check_message_authenticator(reply.raw, secret, vectors, needed=needed or bool(_find(reply.raw, _EAP_MESSAGE)))
    return reply


def verify_request(datagram: bytes, secret: bytes, *, require_message_authenticator: bool = True) -> Packet:
    """The Accounting-, Disconnect- or CoA-Request in ``datagram``, if its sender knows ``secret``.

    Raises `BadPacket`. Which codes are welcome, and what is old, is for the caller to say.
    """
    request = parse(datagram)
    digest = md5(request.raw[:4] + NO_AUTHENTICATOR + request.raw[HEADER.size :] + secret).digest()
    if not hmac.compare_digest(digest, request.authenticator):
        raise BadPacket(Flaw.AUTHENTICATOR)
    _check_message_authenticator(request.raw, secret, [NO_AUTHENTICATOR], needed=require_message_authenticator)
    return request


def respond(request: Packet, code: Code, attributes: Attributes, secret: bytes) -> bytes:
    """The octets of an answer to ``request``, with a Message-Authenticator first."""
    attributes = attributes.with_first("Message-Authenticator", bytes(16))
    unsigned = _assemble(code, request.identifier, request.authenticator, attributes)
    signed = _with_message_authenticator(unsigned, secret)
    return _with_digest(signed, secret)


def _sign_with_digest(code: Code, identifier: int, attributes: Attributes, secret: bytes) -> bytes:
    """A request whose Authenticator is a digest over it (RFC 2866 §3, RFC 5176 §2.3)."""
    if code is Code.ACCOUNTING_REQUEST:
        return _with_digest(_assemble(code, identifier, NO_AUTHENTICATOR, attributes), secret)
    attributes = attributes.with_first("Message-Authenticator", bytes(16))
    unsigned = _assemble(code, identifier, NO_AUTHENTICATOR, attributes)
    return _with_digest(_with_message_authenticator(unsigned, secret), secret)


def _assemble(code: Code, identifier: int, authenticator: bytes, attributes: Attributes) -> bytes:
    packed = attributes.pack()
    length = HEADER.size + len(packed)
    if length > LONGEST_PACKET:
        raise ValueError(f"the packet would have {length} octets, and {LONGEST_PACKET} is the most")
    return HEADER.pack(code, identifier, length, authenticator) + packed


def _with_digest(packet: bytes, secret: bytes) -> bytes:
    """The authenticator of the header replaced by the MD5 over the packet, with it inside, and the secret."""
    return packet[:4] + md5(packet + secret).digest() + packet[HEADER.size :]


def _with_message_authenticator(packet: bytes, secret: bytes) -> bytes:
    """The zeros of the first attribute replaced by the HMAC over the packet."""
    start = HEADER.size + 2
    return packet[:start] + hmac.digest(secret, packet, "md5") + packet[start + 16 :]


def _check_message_authenticator(raw: bytes, secret: bytes, vectors: list[bytes], *, needed: bool) -> None:
    """Raise `BadPacket` unless there is one that is right for one of ``vectors``, or none and none is needed."""
    places = _find(raw, _MESSAGE_AUTHENTICATOR)
    if not places:
        if needed:
            raise BadPacket(Flaw.MESSAGE_AUTHENTICATOR_MISSING)
        return
    start, end = places[0]
    if len(places) > 1 or end - start != 16:
        raise BadPacket(Flaw.MESSAGE_AUTHENTICATOR)
    cleared = raw[HEADER.size : start] + bytes(16) + raw[end:]
    rights = [hmac.digest(secret, raw[:4] + vector + cleared, "md5") for vector in vectors]
    if not any(hmac.compare_digest(right, raw[start:end]) for right in rights):
        raise BadPacket(Flaw.MESSAGE_AUTHENTICATOR)


def _find(raw: bytes, number: int) -> list[tuple[int, int]]:
    """Where the values of the attribute ``number`` begin and end. Raises `BadPacket` unless all lengths add up."""
    places = []
    at = HEADER.size
    while at < len(raw):
        length = raw[at + 1] if at + 1 < len(raw) else 0
        if length < 2 or at + length > len(raw):
            raise BadPacket(Flaw.ATTRIBUTE_LENGTH)
        if raw[at] == number:
            places.append((at + 2, at + length))
        at += length
    return places
