"""MS-CHAPv1 (RFC 2433) and MS-CHAPv2 (RFC 2759) as peer, whether CHAP or EAP carries them: what our client proves."""

from poptrio.crypto import keys, mschap, password_change
from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.authenticator import Credentials
from poptrio.protocols.ppp.lcp import AuthProtocol, RandomBytes
from poptrio.protocols.ppp.mschap_dialogue import CHALLENGE_SIZES, PASSWORD_EXPIRED, Failure

WRONG_PROOF = "the server does not know the password: its S= is wrong (Windows: error 778)"


class MsChapProver:
    """Proves ``credentials`` by one version of MS-CHAP.

    ``mppe_keys`` are those of the last proof, made with ``password``. After a failure `next_password` says
    whether there is another one.
    """

    def __init__(self, version: AuthProtocol, credentials: Credentials, random: RandomBytes) -> None:
        self.mppe_keys: MppeKeys | None = None
        self._version = version
        self._name = credentials.name.encode("utf-8", "surrogateescape")
        self.password = credentials.password
        self._further = list(credentials.further_passwords)
        self._new_password = credentials.new_password
        self._random = random
        self._expected_success = ""

    def response(self, challenge: bytes) -> bytes:
        """The 49 octets of a Response's value. Raises `MalformedPacket` for a challenge of a wrong size."""
        if len(challenge) != CHALLENGE_SIZES[self._version]:
            raise MalformedPacket(f"{self._version.label} Challenge of {len(challenge)} octets")
        if self._version is AuthProtocol.MSCHAP_V1:
            return self._v1_value(challenge)
        peer_challenge, nt_response = self._prove(challenge)
        return peer_challenge + bytes(8) + nt_response + b"\x00"

    def change_password(self, challenge: bytes) -> bytes:
        """The data of a Change-Password packet (RFC 2759 §7); from then on the new password is ours."""
        assert self._new_password is not None  # `wants_change` has seen to it
        old_hash, new_hash = (mschap.nt_password_hash(word) for word in (self.password, self._new_password))
        block = password_change.new_password_encrypted_with_old_nt_password_hash(
            self._new_password, old_hash, self._random(password_change.BLOCK_SIZE)
        )
        encrypted_hash = password_change.nt_password_hash_encrypted_with_block(old_hash, new_hash)
        self.password, self._new_password, self._further = self._new_password, None, []
        peer_challenge, nt_response = self._prove(challenge)
        return block + encrypted_hash + peer_challenge + bytes(8) + nt_response + bytes(2)

    def wants_change(self, failure: Failure) -> bool:
        """Whether the server asks for a new password, and we have one."""
        return (
            failure.code == PASSWORD_EXPIRED
            and self._version is AuthProtocol.MSCHAP_V2
            and self._new_password is not None
            and failure.challenge is not None
            and len(failure.challenge) == CHALLENGE_SIZES[self._version]
        )

    def next_password(self, failure: Failure) -> bool:
        """Take the next password if the server lets us try again and there is one; whether it is so."""
        if not failure.retry or failure.challenge is None or not self._further:
            return False
        self.password = self._further.pop(0)
        return len(failure.challenge) == CHALLENGE_SIZES[self._version]

    def believes(self, success: str) -> bool:
        """Whether the text of a Success packet proves that the server knows the password (MS-CHAPv2 only)."""
        if self._version is not AuthProtocol.MSCHAP_V2:
            return True
        return mschap.check_authenticator_response(success, self._expected_success)

    def _v1_value(self, challenge: bytes) -> bytes:
        nt_hash = mschap.nt_password_hash(self.password)
        nt_hash_hash = mschap.hash_nt_password_hash(nt_hash)
        lm_hash = mschap.lm_password_hash(self.password)
        self.mppe_keys = keys.mschap_v1_keys(nt_hash_hash, lm_hash, challenge)
        # The LM response stays empty (RFC 2433 §6 allows it): it would give the password away.
        return bytes(24) + mschap.challenge_response(challenge, nt_hash) + b"\x01"

    def _prove(self, challenge: bytes) -> tuple[bytes, bytes]:
        """Peer challenge and NT response of MS-CHAPv2; what the server must then answer is kept for `believes`."""
        peer_challenge = self._random(16)
        user = self._name.rpartition(b"\\")[2]
        nt_hash = mschap.nt_password_hash(self.password)
        nt_response = mschap.generate_nt_response(challenge, peer_challenge, user, nt_hash)
        nt_hash_hash = mschap.hash_nt_password_hash(nt_hash)
        self._expected_success = mschap.generate_authenticator_response(
            nt_hash_hash, nt_response, peer_challenge, challenge, user
        )
        self.mppe_keys = keys.mschap_v2_keys(nt_hash_hash, nt_response, server=False)
        return peer_challenge, nt_response
