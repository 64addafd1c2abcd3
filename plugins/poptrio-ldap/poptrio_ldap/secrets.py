"""What an entry says of a user's password: in clear, as an NT hash, or in a way that serves only the directory."""

import re
from dataclasses import dataclass, field

from poptrio_ldap.directory import Entry

_SCHEME = re.compile(r"\{([A-Za-z0-9./_-]+)\}")
_CLEAR_SCHEMES = ("CLEAR", "CLEARTEXT")
_NT_SCHEMES = ("NT", "NTHASH", "MD4")


@dataclass(frozen=True, slots=True)
class Secrets:
    """The passwords and the NT hashes of 16 octets that an entry holds, and in ``unusable`` what is neither.

    ``unusable`` are phrases for the log, without the secrets themselves.
    """

    passwords: tuple[str, ...] = field(default=(), repr=False)
    nt_hashes: tuple[bytes, ...] = field(default=(), repr=False)
    unusable: tuple[str, ...] = ()


def secrets_of(entry: Entry, password_attribute: str, nt_hash_attribute: str) -> Secrets:
    """The secrets in the two attributes; an empty name is no attribute.

    A value of ``password_attribute`` is the password itself, or one after a scheme in braces (RFC 2307 §5.3), of which
    ``{CLEAR}``, ``{CLEARTEXT}`` and ``{NT}`` are understood. A value of ``nt_hash_attribute`` is 32 hexadecimal
    digits, with ``0x`` before them or not, or the 16 octets.
    """
    passwords, hashes, unusable = [], [], []
    for value in entry.texts(password_attribute):
        scheme, secret = _split(value)
        if scheme is None or scheme in _CLEAR_SCHEMES:
            if secret:
                passwords.append(secret)
            continue
        nt_hash = _nt_hash(secret.encode("utf-8", "surrogateescape")) if scheme in _NT_SCHEMES else None
        if nt_hash is not None:
            hashes.append(nt_hash)
        else:
            unusable.append(f"{password_attribute} is hashed as {{{scheme}}}")
    for octets in entry.octets(nt_hash_attribute):
        nt_hash = _nt_hash(octets)
        if nt_hash is not None:
            hashes.append(nt_hash)
        else:
            unusable.append(f"{nt_hash_attribute} holds no NT hash")
    return Secrets(tuple(passwords), tuple(hashes), tuple(unusable))


def _split(value: str) -> tuple[str | None, str]:
    """The scheme in capitals, or None, and what follows it."""
    match = _SCHEME.match(value)
    return (match[1].upper(), value[match.end() :]) if match else (None, value)


def _nt_hash(octets: bytes) -> bytes | None:
    if len(octets) == 16:
        return octets
    digits = octets.strip().removeprefix(b"0x").removeprefix(b"0X")
    if len(digits) != 32 or not re.fullmatch(rb"[0-9A-Fa-f]+", digits):
        return None
    return bytes.fromhex(digits.decode("ascii"))
