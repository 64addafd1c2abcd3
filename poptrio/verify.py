"""From a secret to a decision: `poptrio.protocols.ppp.proof` in the terms of plugins, `Accept` and `Reject`."""

from poptrio.crypto.mschap import challenge_hash
from poptrio.decisions import Accept, LocalEap, Reject
from poptrio.protocols.ppp.auth_requests import AuthRequest, EapRequest, MsChapV1Request, MsChapV2Request
from poptrio.protocols.ppp.proof import proof_of_nt_response, prove


def verify(
    request: AuthRequest, password: str | None = None, *, nt_hash: bytes | None = None, user: str | None = None
) -> Accept | Reject | LocalEap:
    """Judge ``request`` against the ``password``, or the 16-octet NT hash of it (RFC 2759 §8.3), that you know.

    The `Accept` carries the MPPE keys and the ``S=`` string where the protocol has them, and is for ``user``, by
    default ``request.username``. An `EapRequest` is answered with the methods for which the secret suffices. Raises
    `CannotVerify` when an NT hash cannot serve the protocol, as with CHAP-MD5.
    """
    if isinstance(request, EapRequest):
        return LocalEap(("mschap-v2", "md5") if nt_hash is None else ("mschap-v2",))
    proof = prove(request, password=password, nt_hash=nt_hash)
    if proof is None:
        return Reject(reason="wrong password")
    return Accept(
        user=request.username if user is None else user,
        mppe_keys=proof.mppe_keys,
        authenticator_response=proof.authenticator_response or "",
    )


def ntlm_challenge(request: MsChapV1Request | MsChapV2Request) -> bytes:
    """The 8 octets that ``request.nt_response`` answers: what a domain controller needs to judge it.

    That is the challenge itself in MS-CHAPv1, and the hash of both challenges and the name in MS-CHAPv2
    (RFC 2759 §8.2).
    """
    if isinstance(request, MsChapV1Request):
        return request.challenge
    return challenge_hash(request.peer_challenge, request.challenge, request.hashed_name)


def accept_judged(
    request: MsChapV1Request | MsChapV2Request, nt_hash_hash: bytes, *, user: str | None = None
) -> Accept:
    """Accept ``request`` because somebody else, who keeps the hashes, has found its NT response right.

    ``nt_hash_hash`` is the MD4 of the NT hash, 16 octets, which a domain controller hands out as the user session key:
    the MPPE keys and the ``S=`` string are made of it. MS-CHAPv1's keys for 40 and 56 bits need the LM hash and are
    not there. ``user`` as in `verify`.
    """
    proof = proof_of_nt_response(request, nt_hash_hash)
    return Accept(
        user=request.username if user is None else user,
        mppe_keys=proof.mppe_keys,
        authenticator_response=proof.authenticator_response or "",
    )


def reject_unknown(request: AuthRequest) -> Reject:
    """Refuse a user whom nobody knows, exactly as a wrong password is refused and after the same work.

    The host does so when every plugin has returned None; a plugin that answers for all users itself should too.
    """
    if not isinstance(request, EapRequest):
        prove(request, password="no such user", nt_hash=None)
    return Reject(reason=f"no plugin knows the user {request.username!r}")
