"""MD4 against the vectors of RFC 1320 §A.5, and around the block size against the system's libcrypto."""

import ctypes
from ctypes.util import find_library

import pytest

from poptrio.crypto.md4 import md4

VECTORS = [
    (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
    (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
    (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
    (b"message digest", "d9130a8164549fe818874806e1c7014b"),
    (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"),
    (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
]


@pytest.mark.parametrize(("data", "digest"), VECTORS)
def test_rfc_1320_vectors(data, digest):
    assert md4(data).hex() == digest


def test_every_padding_length():
    library = ctypes.CDLL(find_library("crypto"))
    if not hasattr(library, "MD4"):
        pytest.skip("libcrypto was built without MD4")
    library.MD4.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p)
    library.MD4.restype = ctypes.c_void_p
    output = ctypes.create_string_buffer(16)
    for size in range(150):
        data = bytes(range(size))
        library.MD4(data, size, output)
        assert md4(data) == output.raw
