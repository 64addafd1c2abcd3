"""The MD4 message digest (RFC 1320), which the NT password hash is made of.

Broken for every other purpose, and missing from hashlib wherever OpenSSL 3 does not load its legacy provider. `md4` is
that of libcrypto if it is there and digests a known vector rightly, since ours takes fifty times as long.
"""

from collections.abc import Callable
from struct import pack, unpack

from poptrio.crypto import libcrypto

_MASK = 0xFFFFFFFF

# One row per round (RFC 1320 §3.4): additive constant, order in which the words of the block are used, shifts.
_ROUNDS = (
    (0x00000000, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)


def md4_in_python(data: bytes) -> bytes:
    """The 16-octet digest of ``data``."""
    padding = b"\x80" + bytes((55 - len(data)) % 64)
    message = data + padding + pack("<Q", 8 * len(data) & 0xFFFFFFFFFFFFFFFF)
    state = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
    for offset in range(0, len(message), 64):
        state = _compress(state, unpack("<16I", message[offset : offset + 64]))
    return pack("<4I", *state)


def _compress(state: tuple[int, int, int, int], block: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Process one block of 16 words (RFC 1320 §3.4)."""
    a, b, c, d = state
    for (constant, order, shifts), function in zip(_ROUNDS, (_f, _g, _h), strict=True):
        for step, word in enumerate(order):
            total = (a + function(b, c, d) + block[word] + constant) & _MASK
            shift = shifts[step % 4]
            # The operations of a round rotate the roles of the four registers: [ABCD] [DABC] [CDAB] [BCDA].
            a, b, c, d = d, (total << shift | total >> (32 - shift)) & _MASK, b, c
    return (state[0] + a) & _MASK, (state[1] + b) & _MASK, (state[2] + c) & _MASK, (state[3] + d) & _MASK


def _f(x: int, y: int, z: int) -> int:
    """If X then Y else Z, bit by bit."""
    return (x & y) | (~x & z)


def _g(x: int, y: int, z: int) -> int:
    """The majority of X, Y and Z."""
    return (x & y) | (x & z) | (y & z)


def _h(x: int, y: int, z: int) -> int:
    """The parity of X, Y and Z."""
    return x ^ y ^ z


def choose() -> Callable[[bytes], bytes]:
    """libcrypto's if it is there and works (RFC 1320 §A.5), else ours."""
    found = libcrypto.find_md4()
    works = found is not None and found(b"abc").hex() == "a448017aaf21d8525fc10ae87aa6729d"
    return found if found is not None and works else md4_in_python


md4: Callable[[bytes], bytes] = choose()
"""The 16-octet digest of data."""
