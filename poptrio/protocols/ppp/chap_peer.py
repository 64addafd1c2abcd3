"""CHAP-MD5 (RFC 1994), MS-CHAPv1 (RFC 2433) and MS-CHAPv2 (RFC 2759) as peer, which our client is."""

import hashlib

from poptrio.protocols.ppp.authenticator import Credentials, Peer
from poptrio.protocols.ppp.chap import ChapCode
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.frames import Packet, Protocol
from poptrio.protocols.ppp.lcp import AuthProtocol, RandomBytes
from poptrio.protocols.ppp.mschap_dialogue import Failure
from poptrio.protocols.ppp.mschap_peer import WRONG_PROOF, MsChapProver
from poptrio.protocols.wire import Reader


class ChapPeer(Peer):
    """Answers challenges, also later ones; checks the server's ``S=`` under MS-CHAPv2."""

    protocol = Protocol.CHAP

    def __init__(
        self, kind: AuthProtocol, credentials: Credentials, settings: NegotiationSettings, random: RandomBytes
    ) -> None:
        super().__init__(settings)
        self._credentials = credentials
        self._name = credentials.name.encode("utf-8", "surrogateescape")
        self._prover = None if kind is AuthProtocol.CHAP_MD5 else MsChapProver(kind, credentials, random)
        self._challenge_in_work: bytes | None = None

    def start(self, now: float) -> None:
        """Nothing to send: the server begins."""

    def receive(self, packet: Packet, now: float) -> None:
        if packet.code == ChapCode.CHALLENGE:
            self._respond(packet, now)
        elif self._resend is None or packet.identifier != self._resend.identifier:
            return
        elif packet.code == ChapCode.SUCCESS:
            self._answered()
            self._success(packet.data.decode("utf-8", "replace"))
        elif packet.code == ChapCode.FAILURE:
            self._answered()
            self._failed(packet, now)

    def _respond(self, packet: Packet, now: float) -> None:
        reader = Reader(packet.data, "CHAP Challenge")
        challenge = reader.take(reader.u8())
        resend = self._resend
        if resend is not None and (packet.identifier, challenge) == (resend.identifier, self._challenge_in_work):
            self._begin(resend, now)  # Our Response was lost; the same one again (RFC 1994 §4.1).
            return
        self._prove(packet.identifier, challenge, now)

    def _prove(self, identifier: int, challenge: bytes, now: float) -> None:
        if self._prover is None:
            secret = self._credentials.password.encode("utf-8", "surrogateescape")
            value = hashlib.md5(bytes((identifier,)) + secret + challenge).digest()
        else:
            value = self._prover.response(challenge)
        self._challenge_in_work = challenge
        data = bytes((len(value),)) + value + self._name
        self._begin(Packet(ChapCode.RESPONSE, identifier, data), now)

    def _failed(self, packet: Packet, now: float) -> None:
        """Try again if the server lets us and we have another password, else that was it."""
        text = packet.data.decode("utf-8", "replace")
        failure = Failure.parse(text)
        self.error_code = failure.code
        self.refusal = text or "the server sent a CHAP Failure"
        identifier = (packet.identifier + 1) & 0xFF
        if self._prover is not None and failure.challenge is not None:
            if self._prover.wants_change(failure):
                data = self._prover.change_password(failure.challenge)
                self._begin(Packet(ChapCode.CHANGE_PASSWORD, identifier, data), now)
                return
            if self._prover.next_password(failure):
                self._prove(identifier, failure.challenge, now)
                return
        self.failure = self.refusal

    def _success(self, text: str) -> None:
        if self._prover is not None and not self._prover.believes(text):
            self.failure = WRONG_PROOF
            return
        if not self.succeeded and self._prover is not None:
            self.mppe_keys = self._prover.mppe_keys  # A later challenge does not change a running MPPE.
        self.succeeded = True
