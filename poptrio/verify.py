"""From a secret to a decision: `poptrio.protocols.ppp.proof` in the terms of plugins, `Accept` and `Reject`."""

from poptrio.decisions import Accept, LocalEap, Reject
from poptrio.protocols.ppp.auth_requests import AuthRequest, EapRequest
from poptrio.protocols.ppp.proof import prove


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


def reject_unknown(request: AuthRequest) -> Reject:
    """Refuse a user whom nobody knows, exactly as a wrong password is refused and after the same work.

    The host does so when every plugin has returned None; a plugin that answers for all users itself should too.
    """
    if not isinstance(request, EapRequest):
        prove(request, password="no such user", nt_hash=None)
    return Reject(reason=f"no plugin knows the user {request.username!r}")
