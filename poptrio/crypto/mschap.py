"""MS-CHAPv1 (RFC 2433) and MS-CHAPv2 (RFC 2759): hashes, responses and the authenticator's answer, as pure functions.

The names are those of the pseudocode in RFC 2433 appendix A and RFC 2759 §8. Where the RFC takes a password these
functions take its hash, so that a server which keeps hashes only can use them as well.
"""

from hashlib import sha1
from hmac import compare_digest

from poptrio.crypto.des import des_encrypt
from poptrio.crypto.md4 import md4

_LM_STANDARD_TEXT = b"KGS!@#$%"
_LM_PASSWORD_SIZE = 14

_MAGIC_1 = b"Magic server to client signing constant"
_MAGIC_2 = b"Pad to make it do more than one iteration"


def nt_password_hash(password: str) -> bytes:
    """NtPasswordHash: MD4 of the password in little-endian UTF-16, 16 octets (RFC 2759 §8.3).

    Lone surrogates, which stand for octets that were not UTF-8, are hashed as they are.
    """
    return md4(password.encode("utf-16-le", "surrogatepass"))


def hash_nt_password_hash(nt_hash: bytes) -> bytes:
    """HashNtPasswordHash: MD4 of the NT password hash, 16 octets (RFC 2759 §8.4)."""
    return md4(nt_hash)


def lm_password_hash(password: str) -> bytes:
    """LmPasswordHash: two DES blocks keyed by the upper-case password, 16 octets (RFC 2433 §A.2).

    "OEM characters" are taken to be code page 437, and of a longer password the first 14 count, which is what other
    implementations do; Windows makes no LM hash of such a password at all.
    """
    octets = password.upper().encode("cp437", "replace")[:_LM_PASSWORD_SIZE].ljust(_LM_PASSWORD_SIZE, b"\0")
    return des_encrypt(_LM_STANDARD_TEXT, octets[:7]) + des_encrypt(_LM_STANDARD_TEXT, octets[7:])


def challenge_hash(peer_challenge: bytes, authenticator_challenge: bytes, hashed_name: bytes) -> bytes:
    """ChallengeHash: the 8 octets that MS-CHAPv2 encrypts instead of the challenge (RFC 2759 §8.2).

    ``hashed_name`` is the user name as the peer presents it, without a domain.
    """
    return sha1(peer_challenge + authenticator_challenge + hashed_name).digest()[:8]


def challenge_response(challenge: bytes, password_hash: bytes) -> bytes:
    """ChallengeResponse: 24 octets from an 8-octet challenge and an LM or NT hash (RFC 2759 §8.5)."""
    padded = password_hash.ljust(21, b"\0")
    return b"".join(des_encrypt(challenge, padded[offset : offset + 7]) for offset in (0, 7, 14))


def generate_nt_response(
    authenticator_challenge: bytes, peer_challenge: bytes, hashed_name: bytes, nt_hash: bytes
) -> bytes:
    """GenerateNTResponse: what an MS-CHAPv2 peer answers to both 16-octet challenges (RFC 2759 §8.1)."""
    return challenge_response(challenge_hash(peer_challenge, authenticator_challenge, hashed_name), nt_hash)


def generate_authenticator_response(
    nt_hash_hash: bytes, nt_response: bytes, peer_challenge: bytes, authenticator_challenge: bytes, hashed_name: bytes
) -> str:
    """GenerateAuthenticatorResponse: ``S=`` and 40 hexadecimal digits for the Success packet (RFC 2759 §8.7)."""
    digest = sha1(nt_hash_hash + nt_response + _MAGIC_1).digest()
    challenge = challenge_hash(peer_challenge, authenticator_challenge, hashed_name)
    return "S=" + sha1(digest + challenge + _MAGIC_2).hexdigest().upper()


def check_authenticator_response(received: str, expected: str) -> bool:
    """CheckAuthenticatorResponse: whether the message of a Success packet begins with what we expect (RFC 2759 §8.8).

    ``received`` is the whole message; a space and ``M=`` with a text for the user may follow the response.
    """
    response, _, _ = received.partition(" ")
    return compare_digest(response.encode("utf-8", "surrogateescape"), expected.encode())
