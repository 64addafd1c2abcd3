"""Changing a password under MS-CHAPv2 (RFC 2759 §8.9 to §8.13): how the new one crosses the network, and back.

The names are those of the RFC's pseudocode. Like `poptrio.crypto.mschap` these functions take hashes where they can.
"""

from hmac import compare_digest

from poptrio.crypto.des import des_encrypt
from poptrio.crypto.mschap import nt_password_hash
from poptrio.crypto.rc4 import CryptographyRc4

BLOCK_SIZE = 516
"""Octets of a PWBLOCK: 256 characters of UTF-16 and a length of 4."""

_PASSWORD_SIZE = BLOCK_SIZE - 4

_RC4 = CryptographyRc4()  # the one without scratch memory: a plugin may be in a thread of its own


def new_password_encrypted_with_old_nt_password_hash(new_password: str, old_nt_hash: bytes, filling: bytes) -> bytes:
    """NewPasswordEncryptedWithOldNtPasswordHash: 516 octets (RFC 2759 §8.9, §8.10).

    ``filling`` are 516 random octets, of which those that the password leaves free are used. Raises ValueError for a
    password of more than 256 characters.
    """
    octets = new_password.encode("utf-16-le", "surrogatepass")
    if len(octets) > _PASSWORD_SIZE:
        raise ValueError("a password for MS-CHAPv2 has at most 256 characters")
    block = filling[: _PASSWORD_SIZE - len(octets)] + octets + len(octets).to_bytes(4, "little")
    return _RC4.once(old_nt_hash, block)


def nt_password_hash_encrypted_with_block(nt_hash: bytes, block: bytes) -> bytes:
    """NtPasswordHashEncryptedWithBlock: 16 octets under the first 14 of ``block``, another hash (RFC 2759 §8.13)."""
    return des_encrypt(nt_hash[:8], block[:7]) + des_encrypt(nt_hash[8:], block[7:14])


def decrypt_new_password(encrypted_password: bytes, encrypted_hash: bytes, old_nt_hash: bytes) -> str | None:
    """The new password, if whoever encrypted it knew the old one; else None.

    ``encrypted_hash`` is the old hash under the new one (RFC 2759 §8.12), by which both are checked.
    """
    if len(encrypted_password) != BLOCK_SIZE:
        return None
    block = _RC4.once(old_nt_hash, encrypted_password)
    size = int.from_bytes(block[_PASSWORD_SIZE:], "little")
    if size > _PASSWORD_SIZE or size % 2:
        return None
    new_password = block[_PASSWORD_SIZE - size : _PASSWORD_SIZE].decode("utf-16-le", "surrogatepass")
    expected = nt_password_hash_encrypted_with_block(old_nt_hash, nt_password_hash(new_password))
    return new_password if compare_digest(expected, encrypted_hash) else None
