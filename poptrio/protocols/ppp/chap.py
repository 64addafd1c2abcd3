"""CHAP-MD5 (RFC 1994), MS-CHAPv1 (RFC 2433) and MS-CHAPv2 (RFC 2759), both roles.

The exchange is the same for all three; what differs is the size of the challenge, the layout of the Response's value
and the text of Success and Failure.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from enum import IntEnum

from poptrio.crypto import keys, mschap
from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.auth_requests import AuthRequest, ChapMd5Request, MsChapV1Request, MsChapV2Request
from poptrio.protocols.ppp.authenticator import (
    Accepted,
    Authenticator,
    Credentials,
    Peer,
    Refused,
    message_octets,
)
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.frames import Packet, Protocol
from poptrio.protocols.ppp.lcp import AuthProtocol, RandomBytes
from poptrio.protocols.wire import Reader


class ChapCode(IntEnum):
    """Codes of RFC 1994 §4."""

    CHALLENGE = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4


LONGEST_NAME = 256
"""Octets of a user name (RFC 2759 §8.1: "0-to-256-char UserName")."""

MS_RESPONSE_SIZE = 49  # RFC 2433 §6 and RFC 2759 §4
CHALLENGE_SIZES = {AuthProtocol.CHAP_MD5: 16, AuthProtocol.MSCHAP_V1: 8, AuthProtocol.MSCHAP_V2: 16}


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

    def start(self, now: float) -> None:
        self._identifier = (self._identifier + 1) & 0xFF
        self._challenge = self._random(CHALLENGE_SIZES[self._kind])
        data = bytes((len(self._challenge),)) + self._challenge + self._our_name
        self._begin(Packet(ChapCode.CHALLENGE, self._identifier, data), now)

    def challenge_again(self, now: float) -> None:
        if self.pending is None and self._resend is None:  # else one is out, and its time runs
            self.start(now)

    def receive(self, packet: Packet, now: float) -> None:
        if packet.code != ChapCode.RESPONSE or self._already_seen(packet):
            return
        if packet.identifier != self._identifier or self._resend is None:
            return  # Not the answer to the challenge that is out: one challenge, one judgement.
        reader = Reader(packet.data, "CHAP Response")
        value = reader.take(reader.u8())
        octets = reader.rest()
        if len(octets) > LONGEST_NAME:
            raise MalformedPacket(f"CHAP Response with a name of {len(octets)} octets, at most {LONGEST_NAME} allowed")
        name = octets.decode("utf-8", "surrogateescape")
        self._ask(packet, self._request(packet.identifier, value, name))

    def _request(self, identifier: int, value: bytes, name: str) -> AuthRequest:
        if self._kind is AuthProtocol.CHAP_MD5:
            return ChapMd5Request(
                name=name, username=name, identifier=identifier, challenge=self._challenge, response=value
            )
        if len(value) != MS_RESPONSE_SIZE:
            raise MalformedPacket(f"MS-CHAP Response of {len(value)} octets instead of {MS_RESPONSE_SIZE}")
        if self._kind is AuthProtocol.MSCHAP_V1:
            return MsChapV1Request(
                name=name,
                username=name,
                identifier=identifier,
                challenge=self._challenge,
                lm_response=value[:24],
                nt_response=value[24:48],
                use_nt=value[48] == 1,
            )
        return MsChapV2Request(
            name=name,
            username=name,
            identifier=identifier,
            challenge=self._challenge,
            peer_challenge=value[:16],
            nt_response=value[24:48],
            flags=value[48],
        )

    def success_packet(self, accepted: Accepted) -> Packet:
        # Windows 98 breaks on anything after "S=", so MS-CHAPv2 gets nothing else.
        v2 = self._kind is AuthProtocol.MSCHAP_V2
        text = accepted.authenticator_response if v2 else accepted.message or "Welcome"
        return Packet(ChapCode.SUCCESS, self._identifier, message_octets(text))

    def failure_packet(self, refused: Refused) -> Packet:
        # No "M=" unless a plugin gave a message: the pppd of Mac OS X 10.4 hangs on it.
        if self._kind is AuthProtocol.CHAP_MD5:
            text = refused.message or "Authentication failed"
        else:
            fresh = self._random(CHALLENGE_SIZES[self._kind]).hex().upper()
            version = 3 if self._kind is AuthProtocol.MSCHAP_V2 else 2
            text = f"E={refused.code} R=0 C={fresh} V={version}"
            if refused.message:
                text += f" M={refused.message}"
        return Packet(ChapCode.FAILURE, self._identifier, message_octets(text))


class ChapPeer(Peer):
    """Answers challenges, also later ones; checks the server's ``S=`` under MS-CHAPv2."""

    protocol = Protocol.CHAP

    def __init__(
        self, kind: AuthProtocol, credentials: Credentials, settings: NegotiationSettings, random: RandomBytes
    ) -> None:
        super().__init__(settings)
        self._kind = kind
        self._name = credentials.name.encode("utf-8", "surrogateescape")
        self._password = credentials.password
        self._random = random
        self._expected_success = ""
        self._challenge_in_work: bytes | None = None

    def start(self, now: float) -> None:
        """Nothing to send: the server begins."""

    def receive(self, packet: Packet, now: float) -> None:
        if packet.code == ChapCode.CHALLENGE:
            self._respond(packet, now)
        elif self._resend is None or packet.identifier != self._resend.identifier:
            return
        elif packet.code == ChapCode.SUCCESS:
            self._answered()
            self._check_success(packet.data.decode("utf-8", "replace"))
        elif packet.code == ChapCode.FAILURE:
            self._answered()
            text = packet.data.decode("utf-8", "replace")
            error = re.search(r"\bE=(\d{1,10})", text)
            self.error_code = int(error[1]) if error else None
            self.failure = text or "the server sent a CHAP Failure"

    def _respond(self, packet: Packet, now: float) -> None:
        reader = Reader(packet.data, "CHAP Challenge")
        challenge = reader.take(reader.u8())
        resend = self._resend
        if resend is not None and (packet.identifier, challenge) == (resend.identifier, self._challenge_in_work):
            self._begin(resend, now)  # Our Response was lost; the same one again (RFC 1994 §4.1).
            return
        answer: Callable[[int, bytes], bytes] = {
            AuthProtocol.CHAP_MD5: self._md5_value,
            AuthProtocol.MSCHAP_V1: self._mschap_v1_value,
            AuthProtocol.MSCHAP_V2: self._mschap_v2_value,
        }[self._kind]
        if self._kind is not AuthProtocol.CHAP_MD5 and len(challenge) != CHALLENGE_SIZES[self._kind]:
            raise MalformedPacket(f"{self._kind.label} Challenge of {len(challenge)} octets")
        value = answer(packet.identifier, challenge)
        self._challenge_in_work = challenge
        data = bytes((len(value),)) + value + self._name
        self._begin(Packet(ChapCode.RESPONSE, packet.identifier, data), now)

    def _md5_value(self, identifier: int, challenge: bytes) -> bytes:
        secret = self._password.encode("utf-8", "surrogateescape")
        return hashlib.md5(bytes((identifier,)) + secret + challenge).digest()

    def _mschap_v1_value(self, identifier: int, challenge: bytes) -> bytes:
        nt_hash = mschap.nt_password_hash(self._password)
        nt_hash_hash = mschap.hash_nt_password_hash(nt_hash)
        lm_hash = mschap.lm_password_hash(self._password)
        self._learn(keys.mschap_v1_keys(nt_hash_hash, lm_hash, challenge))
        # The LM response stays empty (RFC 2433 §6 allows it): it would give the password away.
        return bytes(24) + mschap.challenge_response(challenge, nt_hash) + b"\x01"

    def _mschap_v2_value(self, identifier: int, challenge: bytes) -> bytes:
        peer_challenge = self._random(16)
        user = self._name.rpartition(b"\\")[2]
        nt_hash = mschap.nt_password_hash(self._password)
        nt_response = mschap.generate_nt_response(challenge, peer_challenge, user, nt_hash)
        nt_hash_hash = mschap.hash_nt_password_hash(nt_hash)
        self._expected_success = mschap.generate_authenticator_response(
            nt_hash_hash, nt_response, peer_challenge, challenge, user
        )
        self._learn(keys.mschap_v2_keys(nt_hash_hash, nt_response, server=False))
        return peer_challenge + bytes(8) + nt_response + b"\x00"

    def _learn(self, mppe_keys: MppeKeys) -> None:
        """Keep the keys of the first authentication: a later challenge does not change a running MPPE."""
        if not self.succeeded:
            self.mppe_keys = mppe_keys

    def _check_success(self, text: str) -> None:
        proof = text[:42].encode()
        if self._kind is AuthProtocol.MSCHAP_V2 and not hmac.compare_digest(proof, self._expected_success.encode()):
            self.failure = "the server does not know the password: its S= is wrong (Windows: error 778)"
        else:
            self.succeeded = True
