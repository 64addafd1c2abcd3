"""Start keys and first session keys against the samples of RFC 3079 §2.5 and §3.5."""

import pytest

from poptrio.crypto import rc4
from poptrio.crypto.keys import (
    get_master_key,
    get_new_key_from_sha,
    get_start_key,
    initial_session_key,
    mschap_v1_keys,
    mschap_v2_keys,
)

NT_HASH_HASH = bytes.fromhex("41C00C584BD2D91C4017A2A12FA59F3F")
NT_RESPONSE = bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
LM_HASH = bytes.fromhex("76a152936096d7830e2390227404afd2")
CHALLENGE = bytes.fromhex("102db5df085d3041")


def test_mschap_v1_weak_keys_of_2_5_1_and_2_5_2():
    keys = mschap_v1_keys(NT_HASH_HASH, LM_HASH, CHALLENGE)
    assert keys.weak_send == keys.weak_receive == LM_HASH[:8]
    assert get_new_key_from_sha(LM_HASH[:8], LM_HASH[:8]) == bytes.fromhex("d80801538cec4a08")
    assert initial_session_key(LM_HASH[:8], 40) == bytes.fromhex("d1269e538cec4a08")
    assert initial_session_key(LM_HASH[:8], 56) == bytes.fromhex("d10801538cec4a08")


def test_mschap_v1_128_bit_key_of_2_5_3():
    start_key = get_start_key(CHALLENGE, NT_HASH_HASH)
    # Step 3 prints the eighth octet as CA, step 4 the same key with C1; only with the latter does step 5 come out.
    assert start_key == bytes.fromhex("a8947850cfc0acc1d1789fb62ddcddb0")
    keys = mschap_v1_keys(NT_HASH_HASH, None, CHALLENGE)
    assert keys.send == keys.receive == start_key
    assert keys.weak_send is None
    assert keys.weak_receive is None
    assert initial_session_key(start_key, 128) == bytes.fromhex("59d159bc09f76f1da2a86a28ffec0b1e")


def test_master_key_of_3_5():
    assert get_master_key(NT_HASH_HASH, NT_RESPONSE) == bytes.fromhex("FDECE3717A8C838CB388E527AE3CDD31")


@pytest.mark.parametrize(
    ("bits", "session_key", "ciphertext"),
    [
        (40, "D1269EC49FA62E3E", "929137917E5803D668D75898"),
        # The RFC prints 58 as the last octet of this one; RC4 under the key that it gives yields B8.
        (56, "D15C00C49FA62E3E", "3F106833FA448DA842BC57B8"),
        (128, "405CB2247A7956E6E211007AE27B22D4", "81848317DF68846272FB5ABE"),
    ],
)
def test_mschap_v2_send_keys_of_3_5_1_to_3_5_3(bits, session_key, ciphertext):
    keys = mschap_v2_keys(NT_HASH_HASH, NT_RESPONSE, server=True)
    assert keys.send == bytes.fromhex("8B7CDC149B993A1BA118CB153F56DCCB")
    assert keys.weak_send == keys.send[:8]
    key = initial_session_key(keys.send if bits == 128 else keys.weak_send, bits)
    assert key == bytes.fromhex(session_key)
    assert rc4.default.once(key, b"test message") == bytes.fromhex(ciphertext)


def test_the_client_sends_with_what_the_server_receives_with():
    server = mschap_v2_keys(NT_HASH_HASH, NT_RESPONSE, server=True)
    client = mschap_v2_keys(NT_HASH_HASH, NT_RESPONSE, server=False)
    assert (client.send, client.receive) == (server.receive, server.send)
    assert (client.weak_send, client.weak_receive) == (server.weak_receive, server.weak_send)
    assert client.send != client.receive
