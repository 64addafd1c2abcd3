"""Authentication requests as a client with a password makes them, for tests that call a plugin's hook directly.

Challenges are always the same octets, so that equal requests are equal. ``name`` is as sent; the domain rule is applied
with ``strip_domain``.
"""

from hashlib import md5

from poptrio.crypto.mschap import challenge_response, generate_nt_response, nt_password_hash
from poptrio.protocols.ppp.auth_requests import ChapMd5Request, EapRequest, MsChapV1Request, MsChapV2Request, PapRequest

CHALLENGE = bytes(range(16))
PEER_CHALLENGE = bytes(range(16, 32))
IDENTIFIER = 7


def pap_request(name: str, password: str) -> PapRequest:
    """The password in clear."""
    domain, username = _parts(name)
    return PapRequest(name=name, username=username, domain=domain, password=password)


def chap_md5_request(name: str, password: str) -> ChapMd5Request:
    """Its MD5 response."""
    domain, username = _parts(name)
    response = md5(bytes([IDENTIFIER]) + password.encode() + CHALLENGE, usedforsecurity=False).digest()
    return ChapMd5Request(
        name=name, username=username, domain=domain, identifier=IDENTIFIER, challenge=CHALLENGE, response=response
    )


def mschap_v1_request(name: str, password: str) -> MsChapV1Request:
    """Its NT response, and no LM response."""
    domain, username = _parts(name)
    return MsChapV1Request(
        name=name,
        username=username,
        domain=domain,
        identifier=IDENTIFIER,
        challenge=CHALLENGE[:8],
        lm_response=bytes(24),
        nt_response=challenge_response(CHALLENGE[:8], nt_password_hash(password)),
        use_nt=True,
    )


def mschap_v2_request(name: str, password: str) -> MsChapV2Request:
    """Its NT response to both challenges."""
    domain, username = _parts(name)
    user = username.encode("utf-8", "surrogateescape")
    return MsChapV2Request(
        name=name,
        username=username,
        domain=domain,
        identifier=IDENTIFIER,
        challenge=CHALLENGE,
        peer_challenge=PEER_CHALLENGE,
        nt_response=generate_nt_response(CHALLENGE, PEER_CHALLENGE, user, nt_password_hash(password)),
    )


def eap_identity(name: str) -> EapRequest:
    """The EAP Identity Response with which a conversation begins."""
    domain, username = _parts(name)
    octets = name.encode("utf-8", "surrogateescape")
    length = (5 + len(octets)).to_bytes(2, "big")
    packet = bytes([2, IDENTIFIER]) + length + b"\x01" + octets
    return EapRequest(name=name, username=username, domain=domain, packet=packet)


def _parts(name: str) -> tuple[str, str]:
    domain, _, username = name.rpartition("\\")
    return domain, username
