"""MPPE keys from MS-CHAP credentials (RFC 3079 §2, §3): start keys of an authentication and first session keys.

A *start key* comes out of the authentication and is never used for a packet; MPPE makes its session keys of it, the
first with `initial_session_key`, the following ones as RFC 3078 §7.3 says (`poptrio.crypto.mppe`).
"""

from hashlib import sha1

from poptrio.crypto.mppe_keys import MppeKeys

SHA_PAD1 = bytes(40)
SHA_PAD2 = b"\xf2" * 40

_MASTER_KEY_MAGIC = b"This is the MPPE Master Key"
_CLIENT_SENDS_MAGIC = b"On the client side, this is the send key; on the server side, it is the receive key."
_CLIENT_RECEIVES_MAGIC = b"On the client side, this is the receive key; on the server side, it is the send key."

# The known octets that a weak session key begins with, which leave 56 or 40 secret bits (RFC 3079 §2.1, §2.2).
WEAK_PREFIX = {128: b"", 56: b"\xd1", 40: b"\xd1\x26\x9e"}


def mschap_v2_keys(nt_hash_hash: bytes, nt_response: bytes, *, server: bool) -> MppeKeys:
    """The start keys of an MS-CHAPv2 authentication, from the server's or the client's point of view (RFC 3079 §3).

    ``nt_hash_hash`` is the MD4 of the 16-octet NT password hash, ``nt_response`` the 24 octets that the client sent.
    """
    master_key = get_master_key(nt_hash_hash, nt_response)
    client_sends = get_asymmetric_start_key(master_key, is_send=True, is_server=False)
    client_receives = get_asymmetric_start_key(master_key, is_send=False, is_server=False)
    send, receive = (client_receives, client_sends) if server else (client_sends, client_receives)
    return MppeKeys(send=send, receive=receive, weak_send=send[:8], weak_receive=receive[:8])


def mschap_v1_keys(nt_hash_hash: bytes, lm_hash: bytes | None, challenge: bytes) -> MppeKeys:
    """The start keys of an MS-CHAPv1 authentication; they are the same in both directions (RFC 3079 §2).

    The 128-bit key is made of the NT password and the 8-octet challenge, the weak ones of the LM hash alone: without
    ``lm_hash`` there are none.
    """
    key = get_start_key(challenge, nt_hash_hash)
    weak_key = None if lm_hash is None else lm_hash[:8]
    return MppeKeys(send=key, receive=key, weak_send=weak_key, weak_receive=weak_key)


def initial_session_key(start_key: bytes, bits: int) -> bytes:
    """The session key that MPPE begins with: 16 octets for 128 bits, 8 for 56 and 40 (RFC 3079 §2.1 to §2.3)."""
    prefix = WEAK_PREFIX[bits]
    return prefix + get_new_key_from_sha(start_key, start_key)[len(prefix) :]


def get_new_key_from_sha(start_key: bytes, session_key: bytes) -> bytes:
    """GetNewKeyFromSHA of RFC 3078 §7.3, called Get_Key in RFC 3079 §2.4; as long as the keys given."""
    return sha1(start_key + SHA_PAD1 + session_key + SHA_PAD2).digest()[: len(start_key)]


def get_start_key(challenge: bytes, nt_hash_hash: bytes) -> bytes:
    """GetStartKey of MS-CHAPv1, 16 octets (RFC 3079 §2.4)."""
    return sha1(nt_hash_hash + nt_hash_hash + challenge).digest()[:16]


def get_master_key(nt_hash_hash: bytes, nt_response: bytes) -> bytes:
    """GetMasterKey of MS-CHAPv2, 16 octets (RFC 3079 §3.4)."""
    return sha1(nt_hash_hash + nt_response + _MASTER_KEY_MAGIC).digest()[:16]


def get_asymmetric_start_key(master_key: bytes, *, is_send: bool, is_server: bool) -> bytes:
    """GetAsymmetricStartKey of MS-CHAPv2, 16 octets, of which weak keys use the first 8 (RFC 3079 §3.4)."""
    magic = _CLIENT_SENDS_MAGIC if is_send != is_server else _CLIENT_RECEIVES_MAGIC
    return sha1(master_key + SHA_PAD1 + magic + SHA_PAD2).digest()[:16]
