"""DES as MS-CHAP uses it: one block in ECB mode under a key of 7 octets (RFC 2759 §8.6).

libcrypto's if it is there and works, since a new cipher object of `cryptography` costs twenty times as much as a block.
"""

from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from poptrio.crypto import libcrypto

Block = Callable[[bytes, bytes], bytes]
"""One block of 8 octets, encrypted under a key of 8 octets."""


def des_encrypt(clear: bytes, key: bytes) -> bytes:
    """Encrypt the 8 octets ``clear`` under the 7 octets ``key``."""
    return _block(clear, add_parity(key))


def add_parity(key: bytes) -> bytes:
    """Expand a key of 7 octets to 8, each with 7 bits of it and odd parity (RFC 2759 §9.3)."""
    bits = int.from_bytes(key, "big")
    return bytes([_ODD_PARITY[bits >> shift & 0x7F] for shift in range(49, -1, -7)])


def block_by_cryptography(clear: bytes, key: bytes) -> bytes:
    """`Block` of the `cryptography` package."""
    # Encrypting, decrypting and encrypting again under one key is encrypting once.
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(clear) + encryptor.finalize()


def choose() -> Block:
    """libcrypto's if it is there and works (zeroes under the weak key of zeroes), else that of `cryptography`."""
    found = libcrypto.find_des()
    works = found is not None and found(bytes(8), b"\x01" * 8).hex() == "8ca64de9c1b123a7"
    return found if found is not None and works else block_by_cryptography


_ODD_PARITY = [septet << 1 | (septet.bit_count() + 1) & 1 for septet in range(128)]
_block: Block = choose()
