"""Both RC4 providers against the vectors of RFC 6229 §2, and the choice between them."""

import pytest

from poptrio.crypto import libcrypto, rc4

# Key length in octets (the key is 01 02 03 …) and the key stream at offsets 0 and 16.
VECTORS = [
    (5, "b2396305f03dc027ccc3524a0a1118a8 6982944f18fc82d589c403a47a0d0919"),
    (7, "293f02d47f37c9b633f2af5285feb46b e620f1390d19bd84e2e0fd752031afc1"),
    (8, "97ab8a1bf0afb96132f2f67258da15a8 8263efdb45c4a18684ef87e6b19e5b09"),
    (16, "9ac7cc9a609d1ef7b2932899cde41b97 5248c4959014126a6e8a84f11d1a9e1c"),
]


@pytest.fixture(params=[rc4.CryptographyRc4, rc4.LibcryptoRc4], ids=lambda provider: provider.name)
def provider(request):
    try:
        return request.param()
    except OSError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("size", "stream"), VECTORS)
def test_rfc_6229_vectors(provider, size, stream):
    key = bytes(range(1, size + 1))
    expected = bytes.fromhex(stream)
    assert provider.once(key, bytes(32)) == expected
    running = provider.new(key)
    assert b"".join(running.update(bytes(count)) for count in (1, 0, 15, 16)) == expected


def test_streams_do_not_disturb_each_other(provider):
    one, other = provider.new(b"one key!"), provider.new(b"another!")
    pieces = [(one.update(bytes(10)), other.update(bytes(10)), provider.once(b"third !!", bytes(10))) for _ in "ab"]
    assert pieces[0][0] + pieces[1][0] == provider.once(b"one key!", bytes(20))
    assert pieces[0][1] + pieces[1][1] == provider.once(b"another!", bytes(20))
    assert pieces[0][2] == pieces[1][2]


def test_any_length(provider):
    for size in (0, 1, 65535, 65536, 65537, 200_000):
        ciphered = provider.once(b"some key", bytes(size))
        assert len(ciphered) == size
        assert provider.once(b"some key", ciphered) == bytes(size)


def test_providers_agree(provider):
    key = b"0123456789abcdef"
    assert provider.once(key, bytes(3000)) == rc4.CryptographyRc4().once(key, bytes(3000))


class Wrong(rc4.CryptographyRc4):
    """A provider with a key stream of its own."""

    def once(self, key, data):
        return bytes(len(data))


def test_a_wrong_provider_is_noticed(provider):
    assert rc4.works(provider)
    assert not rc4.works(Wrong())


def test_the_choice_falls_back_to_cryptography(monkeypatch):
    def missing():
        raise OSError("no such library")

    monkeypatch.setattr(rc4, "LibcryptoRc4", missing)
    assert rc4.choose().name == "cryptography"
    monkeypatch.setattr(rc4, "LibcryptoRc4", Wrong)
    assert rc4.choose().name == "cryptography"


class NoRc4:
    """A libcrypto that was built without RC4."""


def test_libcrypto_under_another_name(monkeypatch):
    asked = []

    def load(name):
        asked.append(name)
        if name == "libcrypto.so.3":
            raise OSError("no such library")
        return NoRc4()

    monkeypatch.setattr(libcrypto.ctypes, "PyDLL", load)
    monkeypatch.setattr(libcrypto, "find_library", lambda name: f"lib{name}.so.9")
    with pytest.raises(OSError, match="built without RC4"):
        rc4.LibcryptoRc4()
    assert asked == ["libcrypto.so.3", "libcrypto.so.9"]
    monkeypatch.setattr(libcrypto, "find_library", lambda _: None)
    with pytest.raises(OSError, match="no such library"):
        rc4.LibcryptoRc4()


def test_libcrypto_is_preferred():
    try:
        rc4.LibcryptoRc4()
    except OSError as error:
        pytest.skip(str(error))
    assert rc4.default.name == "libcrypto"
