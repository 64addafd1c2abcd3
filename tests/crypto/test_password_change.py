"""Changing a password under MS-CHAPv2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poptrio.crypto.des import des_encrypt
from poptrio.crypto.mschap import nt_password_hash
from poptrio.crypto.password_change import (
    BLOCK_SIZE,
    decrypt_new_password,
    new_password_encrypted_with_old_nt_password_hash,
    nt_password_hash_encrypted_with_block,
)
from poptrio.crypto.rc4 import CryptographyRc4

OLD = nt_password_hash("MyPw")


def encrypted(new, old=OLD):
    block = new_password_encrypted_with_old_nt_password_hash(new, old, bytes(BLOCK_SIZE))
    return block, nt_password_hash_encrypted_with_block(old, nt_password_hash(new))


def test_the_hash_of_the_rfcs_example():
    assert OLD.hex() == "fc156af7edcd6c0edde3337d427f4eac"


def test_two_des_blocks_under_fourteen_octets():
    block = bytes(range(16))
    cipher = nt_password_hash_encrypted_with_block(OLD, block)
    assert cipher == des_encrypt(OLD[:8], block[:7]) + des_encrypt(OLD[8:], block[7:14])


@given(st.text(max_size=128), st.binary(min_size=16, max_size=16))
def test_what_was_encrypted_is_decrypted(new, old):
    assert decrypt_new_password(*encrypted(new, old), old) == new


@given(st.text(max_size=20), st.binary(min_size=16, max_size=16))
def test_who_did_not_know_the_old_password_changes_nothing(new, guess):
    block, proof = encrypted(new, guess)
    assert guess == OLD or decrypt_new_password(block, proof, OLD) is None


def test_the_longest_password_fills_the_block():
    assert decrypt_new_password(*encrypted("x" * 256), OLD) == "x" * 256
    with pytest.raises(ValueError, match="at most 256 characters"):
        encrypted("x" * 257)


@given(st.binary(max_size=600), st.binary(max_size=20))
def test_arbitrary_octets_are_no_password(block, proof):
    assert decrypt_new_password(block, proof, OLD) is None


@pytest.mark.parametrize("size", [3, 513, 514, 0xFFFFFFFF])
def test_a_size_that_cannot_be_is_no_password(size):

    block = CryptographyRc4().once(OLD, bytes(512) + size.to_bytes(4, "little"))
    assert decrypt_new_password(block, bytes(16), OLD) is None
