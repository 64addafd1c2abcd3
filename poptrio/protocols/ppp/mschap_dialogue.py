"""What MS-CHAPv1 (RFC 2433) and MS-CHAPv2 (RFC 2759) say to each other, whether CHAP or EAP carries it.

The layout of a Response and of a Change-Password, the texts of Success and Failure, and what may follow a Failure:

    Challenge → Response ─ good → Success
                         ─ bad, R=1 → Response to the challenge in the Failure     (at most `MOST_TRIES` altogether)
                         ─ E=648    → Change-Password, after which there is no retry (RFC 2759 §9.1)
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.auth_requests import MsChapV1Request, MsChapV2ChangePasswordRequest, MsChapV2Request
from poptrio.protocols.ppp.authenticator import MOST_TRIES, Accepted, Refused
from poptrio.protocols.ppp.lcp import AuthProtocol, RandomBytes
from poptrio.protocols.wire import Reader

RESPONSE_SIZE = 49  # RFC 2433 §6 and RFC 2759 §4
CHALLENGE_SIZES = {AuthProtocol.MSCHAP_V1: 8, AuthProtocol.MSCHAP_V2: 16}

PASSWORD_EXPIRED = 648
"""``ERROR_PASSWD_EXPIRED``."""

WINDOWS_98 = 0x04
"""The flag by which Windows 98 can be told; it breaks on anything after ``S=``."""


class Expected(Enum):
    """What the peer may send next."""

    RESPONSE = auto()
    CHANGE_PASSWORD = auto()
    NOTHING = auto()


class MsChapDialogue:
    """One authentication by MS-CHAP as authenticator.

    ``challenge`` is what the peer must answer next, ``expected`` how it may.
    """

    def __init__(self, version: AuthProtocol, random: RandomBytes) -> None:
        self._version = version
        self._random = random
        self._tries_left = MOST_TRIES
        self._name = ""
        self._flags = 0
        self.challenge = self._fresh()
        self.expected = Expected.RESPONSE

    def response(self, identifier: int, value: bytes, name: str) -> MsChapV1Request | MsChapV2Request:
        """What a Response's value and name ask. Raises `MalformedPacket`."""
        if len(value) != RESPONSE_SIZE:
            raise MalformedPacket(f"MS-CHAP Response of {len(value)} octets instead of {RESPONSE_SIZE}")
        self._took(name, value[48])
        if self._version is AuthProtocol.MSCHAP_V1:
            return MsChapV1Request(
                name=name,
                username=name,
                identifier=identifier,
                challenge=self.challenge,
                lm_response=value[:24],
                nt_response=value[24:48],
                use_nt=value[48] == 1,
            )
        return MsChapV2Request(
            name=name,
            username=name,
            identifier=identifier,
            challenge=self.challenge,
            peer_challenge=value[:16],
            nt_response=value[24:48],
            flags=value[48],
        )

    def change_password(self, identifier: int, data: bytes) -> MsChapV2ChangePasswordRequest:
        """What a Change-Password packet asks, for the user of the Response before it. Raises `MalformedPacket`."""
        reader = Reader(data, "MS-CHAPv2 Change-Password")
        encrypted_password, encrypted_hash = reader.take(516), reader.take(16)
        peer_challenge, _, nt_response, flags = reader.take(16), reader.take(8), reader.take(24), reader.u16()
        reader.end()
        self._tries_left = 0
        self._took(self._name, flags)
        return MsChapV2ChangePasswordRequest(
            name=self._name,
            username=self._name,
            identifier=identifier,
            challenge=self.challenge,
            peer_challenge=peer_challenge,
            nt_response=nt_response,
            encrypted_password=encrypted_password,
            encrypted_hash=encrypted_hash,
            flags=flags,
        )

    def success_text(self, accepted: Accepted) -> str:
        """The Message of a Success packet (RFC 2759 §5); MS-CHAPv1 has only a text for people."""
        if self._version is AuthProtocol.MSCHAP_V1:
            return accepted.message or "Welcome"
        if accepted.message and not self._flags & WINDOWS_98:
            return f"{accepted.authenticator_response} M={accepted.message}"
        return accepted.authenticator_response

    def failure_text(self, refused: Refused) -> str:
        """The Message of a Failure packet (RFC 2759 §6); from then on ``expected`` says what the peer may do.

        ``R=`` is about another Response only: a password may be changed after ``R=0`` as well (§9.1.6).
        """
        # No "M=" unless a plugin gave a message: the pppd of Mac OS X 10.4 hangs on it.
        given = refused.challenge if refused.retry else b""
        self.challenge = given if len(given) == CHALLENGE_SIZES[self._version] else self._fresh()
        self.expected = self._next(refused)
        retry = int(self.expected is Expected.RESPONSE)
        version = 3 if self._version is AuthProtocol.MSCHAP_V2 else 2
        text = f"E={refused.code} R={retry} C={self.challenge.hex().upper()} V={version}"
        return f"{text} M={refused.message}" if refused.message else text

    def _next(self, refused: Refused) -> Expected:
        if not refused.retry or self._tries_left <= 0:
            return Expected.NOTHING
        if refused.code != PASSWORD_EXPIRED:
            return Expected.RESPONSE
        return Expected.CHANGE_PASSWORD if self._version is AuthProtocol.MSCHAP_V2 else Expected.NOTHING

    def _took(self, name: str, flags: int) -> None:
        self._tries_left -= 1
        self._name, self._flags = name, flags
        self.expected = Expected.NOTHING

    def _fresh(self) -> bytes:
        return self._random(CHALLENGE_SIZES[self._version])


@dataclass(frozen=True, slots=True)
class Failure:
    """The Message of a Failure packet as a peer reads it (RFC 2759 §6); what it lacks is None or False."""

    code: int | None
    retry: bool
    challenge: bytes | None
    version: int

    @classmethod
    def parse(cls, text: str) -> "Failure":
        """Read what can be read; any text is one."""
        fields, _, _ = text.partition(" M=")
        code = re.search(r"\bE=(\d{1,10})\b", fields)
        challenge = re.search(r"\bC=([0-9A-Fa-f]+)\b", fields)
        version = re.search(r"\bV=(\d{1,10})\b", fields)
        octets = challenge[1] if challenge is not None and len(challenge[1]) % 2 == 0 else None
        return cls(
            code=int(code[1]) if code else None,
            retry=re.search(r"\bR=1\b", fields) is not None,
            challenge=bytes.fromhex(octets) if octets is not None else None,
            version=int(version[1]) if version else 1,
        )
