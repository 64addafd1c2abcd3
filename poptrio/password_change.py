"""For plugins that keep secrets: the new password in an MS-CHAPv2 Change-Password (RFC 2759 §7)."""

from poptrio.crypto.mschap import nt_password_hash
from poptrio.crypto.password_change import decrypt_new_password
from poptrio.protocols.ppp.auth_requests import MsChapV2ChangePasswordRequest
from poptrio.protocols.ppp.proof import prove


def new_password_of(
    request: MsChapV2ChangePasswordRequest, password: str | None = None, *, nt_hash: bytes | None = None
) -> str | None:
    """The new password, if the client knew the old ``password``, or the 16-octet NT hash of it; None if it did not.

    Everything is checked: the old password encrypts the new one and its own hash is encrypted by it, and the client has
    answered the challenge with the new one. Store it, then answer with `verify` of ``request`` and the new password.
    """
    if (password is None) == (nt_hash is None):
        raise ValueError("either the old password or its NT hash is needed to decrypt the new one")
    old_nt_hash = nt_password_hash(password) if password is not None else nt_hash
    assert old_nt_hash is not None  # one of the two was given
    new_password = decrypt_new_password(request.encrypted_password, request.encrypted_hash, old_nt_hash)
    if new_password is None or prove(request, password=new_password) is None:
        return None
    return new_password
