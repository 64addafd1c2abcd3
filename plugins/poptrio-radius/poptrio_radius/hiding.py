"""How RADIUS hides values inside attributes: passwords (RFC 2865 §5.2) and salted values (RFC 2548 §2.4.2)."""

from hashlib import md5

_BLOCK = 16
_LONGEST_PASSWORD = 128


def hide_password(password: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """``password`` as User-Password carries it. Raises ValueError when it has more than 128 octets."""
    if len(password) > _LONGEST_PASSWORD:
        raise ValueError(f"the password has more than {_LONGEST_PASSWORD} octets")
    padded = password + bytes(-len(password) % _BLOCK if password else _BLOCK)
    return _chain(padded, secret, authenticator, hide=True)


def reveal_password(hidden: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """What `hide_password` hid, with the zeros that fill the last block. Raises ValueError for a broken length."""
    if not hidden or len(hidden) % _BLOCK:
        raise ValueError(f"has {len(hidden)} octets, which is not a multiple of {_BLOCK}")
    return _chain(hidden, secret, authenticator, hide=False)


def hide_salted(value: bytes, secret: bytes, authenticator: bytes, salt: bytes) -> bytes:
    """``value`` as MS-MPPE-Send-Key carries it; ``salt`` has two octets, the first bit set."""
    plain = bytes([len(value)]) + value
    plain += bytes(-len(plain) % _BLOCK)
    return salt + _chain(plain, secret, authenticator + salt, hide=True)


def reveal_salted(hidden: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """What `hide_salted` hid; ``authenticator`` is the request's. Raises ValueError when it cannot be right."""
    salt, blocks = hidden[:2], hidden[2:]
    if len(salt) < 2 or not blocks or len(blocks) % _BLOCK:
        raise ValueError(f"has {len(hidden)} octets, which is no salt and a multiple of {_BLOCK}")
    plain = _chain(blocks, secret, authenticator + salt, hide=False)
    if plain[0] >= len(plain):
        raise ValueError("does not decrypt: the shared secret differs from the server's")
    return plain[1 : 1 + plain[0]]


def _chain(octets: bytes, secret: bytes, vector: bytes, *, hide: bool) -> bytes:
    """Each block XORed with an MD5 over the secret and the hidden block before it, the first with ``vector``."""
    blocks = []
    for start in range(0, len(octets), _BLOCK):
        block = octets[start : start + _BLOCK]
        mask = md5(secret + vector).digest()
        result = bytes(a ^ b for a, b in zip(block, mask, strict=True))
        vector = result if hide else block
        blocks.append(result)
    return b"".join(blocks)
