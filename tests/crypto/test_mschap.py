"""MS-CHAP against the vectors of RFC 2433 §B.2, RFC 2759 §9.2 and RFC 3079 §2.5."""

import pytest

from poptrio.crypto.mschap import (
    challenge_hash,
    challenge_response,
    check_authenticator_response,
    generate_authenticator_response,
    generate_nt_response,
    hash_nt_password_hash,
    lm_password_hash,
    nt_password_hash,
)

NAME = b"User"
PASSWORD = "clientPass"
AUTHENTICATOR_CHALLENGE = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
PEER_CHALLENGE = bytes.fromhex("21402324255E262A28295F2B3A337C7E")
NT_HASH = bytes.fromhex("44EBBA8D5312B8D611474411F56989AE")
NT_HASH_HASH = bytes.fromhex("41C00C584BD2D91C4017A2A12FA59F3F")
NT_RESPONSE = bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
AUTHENTICATOR_RESPONSE = "S=407A5589115FD0D6209F510FE9C04566932CDA56"


def test_rfc_2433_b2():
    challenge = bytes.fromhex("102DB5DF085D3041")
    nt_hash = nt_password_hash("MyPw")
    assert nt_hash == bytes.fromhex("FC156AF7EDCD6C0EDDE3337D427F4EAC")
    expected = bytes.fromhex("4E9D3C8F9CFD385D5BF4D3246791956CA4C351AB409A3D61")
    assert challenge_response(challenge, nt_hash) == expected


def test_rfc_2759_9_2():
    assert challenge_hash(PEER_CHALLENGE, AUTHENTICATOR_CHALLENGE, NAME) == bytes.fromhex("D02E4386BCE91226")
    assert nt_password_hash(PASSWORD) == NT_HASH
    assert hash_nt_password_hash(NT_HASH) == NT_HASH_HASH
    assert generate_nt_response(AUTHENTICATOR_CHALLENGE, PEER_CHALLENGE, NAME, NT_HASH) == NT_RESPONSE
    response = generate_authenticator_response(NT_HASH_HASH, NT_RESPONSE, PEER_CHALLENGE, AUTHENTICATOR_CHALLENGE, NAME)
    assert response == AUTHENTICATOR_RESPONSE


def test_lm_password_hash_of_rfc_3079_2_5():
    assert lm_password_hash(PASSWORD) == bytes.fromhex("76a152936096d7830e2390227404afd2")


def test_lm_password_hash_knows_no_case_and_fourteen_characters():
    assert lm_password_hash("CLIENTpASS") == lm_password_hash(PASSWORD)
    assert lm_password_hash("12345678901234567") == lm_password_hash("12345678901234")
    assert lm_password_hash("") == bytes.fromhex("aad3b435b51404eeaad3b435b51404ee")


def test_nt_password_hash_is_utf_16():
    # A character beyond the basic plane is two UTF-16 units; a lone surrogate, once an octet not in UTF-8, is one.
    assert nt_password_hash("\U0001f511") == nt_password_hash("\ud83d\udd11")
    assert nt_password_hash("pass\udcff") != nt_password_hash("pass")


@pytest.mark.parametrize(
    ("message", "accepted"),
    [
        (AUTHENTICATOR_RESPONSE, True),
        (AUTHENTICATOR_RESPONSE + " M=Welcome", True),
        (AUTHENTICATOR_RESPONSE[:-1], False),
        (AUTHENTICATOR_RESPONSE + "0", False),
        ("", False),
        ("S=\udcff", False),
    ],
)
def test_check_authenticator_response(message, accepted):
    assert check_authenticator_response(message, AUTHENTICATOR_RESPONSE) is accepted
