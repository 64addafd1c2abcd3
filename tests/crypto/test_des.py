"""DES with 7-octet keys: parity as in RFC 2759 §9.3, encryption by both ways against a known vector."""

import pytest

from poptrio.crypto import des, libcrypto
from poptrio.crypto.des import add_parity, des_encrypt


@pytest.mark.parametrize(
    ("raw", "expanded"),
    [
        ("FC 15 6A F7 ED CD 6C", "FD 0B 5B 5E 7F 6E 34 D9"),
        ("0E DD E3 33 7D 42 7F", "0E 6E 79 67 37 EA 08 FE"),
        ("00 00 00 00 00 00 00", "01 01 01 01 01 01 01 01"),
        ("FF FF FF FF FF FF FF", "FE FE FE FE FE FE FE FE"),
    ],
)
def test_parity(raw, expanded):
    assert add_parity(bytes.fromhex(raw)) == bytes.fromhex(expanded)


def test_every_octet_has_odd_parity():
    for value in range(256):
        assert all(octet.bit_count() % 2 == 1 for octet in add_parity(bytes([value]) * 7))


@pytest.fixture(params=["cryptography", "libcrypto"])
def block(request):
    found = des.block_by_cryptography if request.param == "cryptography" else libcrypto.find_des()
    return found or pytest.skip("libcrypto was built without DES")


def test_one_block(block, monkeypatch):
    monkeypatch.setattr(des, "_block", block)
    # The weak key of all zeroes is its own inverse; the ciphertext of zeroes under it is known from FIPS 81 tables.
    ciphertext = des_encrypt(bytes(8), bytes(7))
    assert ciphertext == bytes.fromhex("8CA64DE9C1B123A7")
    assert des_encrypt(ciphertext, bytes(7)) == bytes(8)


def test_blocks_agree(block):
    for number in range(64):
        clear, key = (1 << number).to_bytes(8, "big"), add_parity((1 << number % 56).to_bytes(7, "big"))
        assert block(clear, key) == des.block_by_cryptography(clear, key)


@pytest.mark.parametrize("found", [None, lambda clear, key: bytes(8)])
def test_what_is_missing_or_wrong_is_not_chosen(found, monkeypatch):
    monkeypatch.setattr(libcrypto, "find_des", lambda: found)
    assert des.choose() is des.block_by_cryptography
