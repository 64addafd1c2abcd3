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


AuthRequest = PapRequest | ChapMd5Request | MsChapV1Request | MsChapV2Request

_PROTOCOLS: dict[type, str] = {
    PapRequest: "pap",
    ChapMd5Request: "chap-md5",
    MsChapV1Request: "mschap-v1",
    MsChapV2Request: "mschap-v2",
}
