"""The system's libcrypto by ctypes: its low-level functions for what is too old for the providers of OpenSSL 3.

They need no legacy provider to be configured. Whoever uses one looks by a known vector whether it works, and has
another way where it does not: `find_…` is None where there is no such function.
"""

import ctypes
from collections.abc import Callable
from ctypes.util import find_library

_MD4_DIGEST = ctypes.c_char * 16
_DES_BLOCK = ctypes.c_char * 8
_DES_SCHEDULE = ctypes.c_char * 128  # 16 keys (openssl/des.h)


def load() -> ctypes.PyDLL:
    """The library; PyDLL, because letting go of the interpreter lock costs more than ciphering a packet.

    Raises OSError where there is none.
    """
    try:
        return ctypes.PyDLL("libcrypto.so.3")
    except OSError:
        name = find_library("crypto")  # runs ldconfig or a compiler, hence not tried first
        if name is None:
            raise
        return ctypes.PyDLL(name)


def find_md4() -> Callable[[bytes], bytes] | None:
    """MD4 (RFC 1320): the 16-octet digest of data."""
    try:
        digest = load().MD4
    except (OSError, AttributeError):
        return None
    digest.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p)
    digest.restype = ctypes.c_void_p

    def md4(data: bytes) -> bytes:
        output = _MD4_DIGEST()
        digest(data, len(data), output)
        return output.raw

    return md4


def find_des() -> Callable[[bytes, bytes], bytes] | None:
    """DES: one block of 8 octets, encrypted under a key of 8 octets whose parity does not matter."""
    try:
        library = load()
        set_key, encrypt = library.DES_set_key_unchecked, library.DES_ecb_encrypt
    except (OSError, AttributeError):
        return None
    set_key.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    encrypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)
    set_key.restype = encrypt.restype = None

    def des(clear: bytes, key: bytes) -> bytes:
        schedule, output = _DES_SCHEDULE(), _DES_BLOCK()
        set_key(key, schedule)
        encrypt(clear, output, schedule, 1)
        return output.raw

    return des
