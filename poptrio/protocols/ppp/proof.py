"""Judging an authentication request by a password or an NT hash: what `poptrio.verify` puts into the terms of plugins.

Every comparison takes the same time whatever the octets are.
"""

from dataclasses import dataclass, field
from hashlib import md5
from hmac import compare_digest
from typing import assert_never

from poptrio.crypto.keys import mschap_v1_keys, mschap_v2_keys
from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.crypto.mschap import (
    challenge_response,
    generate_authenticator_response,
    generate_nt_response,
    hash_nt_password_hash,
    lm_password_hash,
    nt_password_hash,
)
from poptrio.protocols.ppp.auth_requests import (
    AuthRequest,
    ChapMd5Request,
    EapRequest,
    MsChapV1Request,
    MsChapV2ChangePasswordRequest,
    MsChapV2Request,
    PapRequest,
)


class CannotVerify(ValueError):
    """What is known of the user does not suffice for the protocol that the client used."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a right answer yields besides: keys from the server's point of view, and what goes into the Success packet.

    Both are None for PAP and CHAP-MD5; MS-CHAPv1 has keys, MS-CHAPv2 has both.
    """

    mppe_keys: MppeKeys | None = field(default=None, repr=False)
    authenticator_response: str | None = None


def prove(request: AuthRequest, password: str | None = None, nt_hash: bytes | None = None) -> Proof | None:
    """The `Proof` if ``request`` shows knowledge of ``password`` or of the 16-octet ``nt_hash``, else None.

    Exactly one of the two must be given (ValueError). Raises `CannotVerify` for CHAP-MD5, and for MS-CHAPv1 by a client
    that only has the LM hash, when the password itself is not known. A Change-Password is judged by the *new* password.
    """
    if (password is None) == (nt_hash is None):
        raise ValueError("either a password or an NT hash is needed to verify a request")
    match request:
        case PapRequest():
            return _prove_pap(request, password, nt_hash)
        case ChapMd5Request():
            return _prove_chap_md5(request, password)
        case MsChapV1Request():
            return _prove_mschap_v1(request, password, nt_hash)
        case MsChapV2Request() | MsChapV2ChangePasswordRequest():
            return _prove_mschap_v2(request, _hash_of(password, nt_hash))
        case EapRequest():
            raise CannotVerify("an EapRequest is not judged by a secret alone")
        case _:
            assert_never(request)


def proof_of_nt_response(
    request: MsChapV1Request | MsChapV2Request | MsChapV2ChangePasswordRequest, nt_hash_hash: bytes
) -> Proof:
    """What an NT response yields that was found right by somebody else, who told the MD4 of the NT hash.

    Raises ValueError unless ``nt_hash_hash`` has 16 octets.
    """
    if len(nt_hash_hash) != 16:
        raise ValueError("the hash of an NT hash has 16 octets")
    if isinstance(request, MsChapV1Request):
        return Proof(mschap_v1_keys(nt_hash_hash, None, request.challenge))
    answer, name = request.nt_response, request.hashed_name
    return Proof(
        mschap_v2_keys(nt_hash_hash, answer, server=True),
        generate_authenticator_response(nt_hash_hash, answer, request.peer_challenge, request.challenge, name),
    )


def _prove_pap(request: PapRequest, password: str | None, nt_hash: bytes | None) -> Proof | None:
    """RFC 1334 §2."""
    if password is not None:
        right = compare_digest(_octets(request.password), _octets(password))
    else:
        right = compare_digest(nt_password_hash(request.password), _hash_of(password, nt_hash))
    return Proof() if right else None


def _prove_chap_md5(request: ChapMd5Request, password: str | None) -> Proof | None:
    """RFC 1994 §4.1."""
    if password is None:
        raise CannotVerify("CHAP-MD5 needs the password in clear, and only its NT hash is known")
    answer = md5(bytes([request.identifier]) + _octets(password) + request.challenge, usedforsecurity=False)
    return Proof() if compare_digest(answer.digest(), request.response) else None


def _prove_mschap_v1(request: MsChapV1Request, password: str | None, nt_hash: bytes | None) -> Proof | None:
    """RFC 2433 §6: the NT response if the client says so, else the LM response."""
    known_nt_hash = _hash_of(password, nt_hash)
    lm_hash = None if password is None else lm_password_hash(password)
    if request.use_nt:
        right = compare_digest(challenge_response(request.challenge, known_nt_hash), request.nt_response)
    elif lm_hash is not None:
        right = compare_digest(challenge_response(request.challenge, lm_hash), request.lm_response)
    else:
        raise CannotVerify("the client sent an LM response only, and the NT hash that is known cannot judge it")
    if not right:
        return None
    return Proof(mschap_v1_keys(hash_nt_password_hash(known_nt_hash), lm_hash, request.challenge))


def _prove_mschap_v2(request: MsChapV2Request | MsChapV2ChangePasswordRequest, nt_hash: bytes) -> Proof | None:
    """RFC 2759 §4 and §5."""
    answer = generate_nt_response(request.challenge, request.peer_challenge, request.hashed_name, nt_hash)
    if not compare_digest(answer, request.nt_response):
        return None
    return proof_of_nt_response(request, hash_nt_password_hash(nt_hash))


def _hash_of(password: str | None, nt_hash: bytes | None) -> bytes:
    """The NT hash, of whichever is known."""
    known = nt_password_hash(password) if password is not None else nt_hash
    if known is None or len(known) != 16:
        raise ValueError("an NT hash has 16 octets")
    return known


def _octets(password: str) -> bytes:
    """The password as it goes over the wire: UTF-8, with octets that never were UTF-8 as they were."""
    try:
        return password.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return password.encode("utf-8", "surrogatepass")
