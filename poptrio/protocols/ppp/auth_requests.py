"""What a client offered as proof of who it is: one frozen dataclass per authentication protocol.

Filled by the authenticator core, judged by plugins. ``name`` is what the client sent (``DOMAIN\\user`` and all);
``username`` and ``domain`` are set by the server's domain rule before a plugin sees the request, and until then
``username`` equals ``name``. Names that are not UTF-8 keep their octets as surrogate escapes; anything secret is hidden
from ``repr``.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What every authentication request has: the name as sent, and the user and domain that the rule made of it."""

    name: str
    username: str
    domain: str = ""
    context: object = field(default=None, repr=False, compare=False)
    """What the plugin gave along with its `Challenge`, or with the `Accept` of an earlier authentication."""

    @property
    def protocol(self) -> str:
        """The protocol under its name in ``[ppp] authentication``."""
        return _PROTOCOLS[type(self)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PapRequest(_Request):
    """PAP Authenticate-Request (RFC 1334 §2.2.1): the password in clear."""

    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChapMd5Request(_Request):
    """CHAP-MD5 Response (RFC 1994 §4.1): MD5(identifier, secret, challenge), 16 octets."""

    identifier: int
    challenge: bytes
    response: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MsChapV1Request(_Request):
    """MS-CHAPv1 Response (RFC 2433 §6): LM and NT responses of 24 octets each to an 8-octet challenge."""

    identifier: int
    challenge: bytes
    lm_response: bytes = field(repr=False)
    nt_response: bytes = field(repr=False)
    use_nt: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MsChapV2Request(_Request):
    """MS-CHAPv2 Response (RFC 2759 §4): 24-octet NT response to both 16-octet challenges.

    The hash is over the name without its domain, whatever ``username`` the rule made: see `hashed_name`.
    """

    identifier: int
    challenge: bytes
    peer_challenge: bytes
    nt_response: bytes = field(repr=False)
    flags: int = 0

    @property
    def hashed_name(self) -> bytes:
        """The octets that the client put into ChallengeHash: the user part of its name (RFC 2759 §8.2)."""
        return self.name.rpartition("\\")[2].encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class MsChapV2ChangePasswordRequest(_Request):
    """MS-CHAPv2 Change-Password (RFC 2759 §7), sent after a Failure with ``E=648``: a new password and its proof.

    ``encrypted_password`` has 516 octets, the new password under the old one's NT hash; ``encrypted_hash`` 16, the old
    NT hash under the new one. ``peer_challenge`` and ``nt_response`` are those of a Response with the new password to
    ``challenge``.
    """

    identifier: int
    challenge: bytes
    peer_challenge: bytes
    nt_response: bytes = field(repr=False)
    encrypted_password: bytes = field(repr=False)
    encrypted_hash: bytes = field(repr=False)
    flags: int = 0

    @property
    def hashed_name(self) -> bytes:
        """As of `MsChapV2Request`."""
        return self.name.rpartition("\\")[2].encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class EapRequest(_Request):
    """EAP Response of the client (RFC 2284 §2.2): ``packet`` is the whole EAP packet, ``name`` the Identity.

    The first one of a conversation is the Identity Response itself.
    """

    packet: bytes = field(repr=False)

    @property
    def is_identity(self) -> bool:
        """Whether the packet is the Identity Response, with which a conversation begins."""
        return self.packet[4:5] == b"\x01"


AuthRequest = (
    PapRequest | ChapMd5Request | MsChapV1Request | MsChapV2Request | MsChapV2ChangePasswordRequest | EapRequest
)

_PROTOCOLS: dict[type, str] = {
    PapRequest: "pap",
    ChapMd5Request: "chap-md5",
    MsChapV1Request: "mschap-v1",
    MsChapV2Request: "mschap-v2",
    MsChapV2ChangePasswordRequest: "mschap-v2",
    EapRequest: "eap",
}
