"""Both MD4s against the vectors of RFC 1320 §A.5, against each other around the block size, and the choice."""

import pytest

from poptrio.crypto import libcrypto
from poptrio.crypto.md4 import choose, md4_in_python

VECTORS = [
    (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
    (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
    (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
    (b"message digest", "d9130a8164549fe818874806e1c7014b"),
    (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"),
    (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
]


@pytest.fixture(params=["python", "libcrypto"])
def md4(request):
    found = md4_in_python if request.param == "python" else libcrypto.find_md4()
    return found or pytest.skip("libcrypto was built without MD4")


@pytest.mark.parametrize(("data", "digest"), VECTORS)
def test_rfc_1320_vectors(md4, data, digest):
    assert md4(data).hex() == digest


def test_every_padding_length(md4):
    for size in range(150):
        data = bytes(range(size))
        assert md4(data) == md4_in_python(data)


@pytest.mark.parametrize("found", [None, lambda data: bytes(16)])
def test_what_is_missing_or_wrong_is_not_chosen(found, monkeypatch):
    monkeypatch.setattr(libcrypto, "find_md4", lambda: found)
    assert choose() is md4_in_python


def test_where_there_is_no_library(monkeypatch):
    monkeypatch.setattr(libcrypto.ctypes, "PyDLL", lambda name: _raise(OSError(name)))
    monkeypatch.setattr(libcrypto, "find_library", lambda name: None)
    assert libcrypto.find_md4() is None
    assert libcrypto.find_des() is None


def _raise(error):
    raise error
