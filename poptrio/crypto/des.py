"""DES as MS-CHAP uses it: one block in ECB mode under a key of 7 octets (RFC 2759 §8.6)."""

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes


def des_encrypt(clear: bytes, key: bytes) -> bytes:
    """Encrypt the 8 octets ``clear`` under the 7 octets ``key``."""
    # Encrypting, decrypting and encrypting again under one key is encrypting once.
    encryptor = Cipher(TripleDES(add_parity(key) * 3), modes.ECB()).encryptor()
    return encryptor.update(clear) + encryptor.finalize()


def add_parity(key: bytes) -> bytes:
    """Expand a key of 7 octets to 8, each with 7 bits of it and odd parity (RFC 2759 §9.3)."""
    bits = int.from_bytes(key, "big")
    septets = (bits >> shift & 0x7F for shift in range(49, -1, -7))
    return bytes(septet << 1 | (septet.bit_count() + 1) & 1 for septet in septets)
