"""The Extensible Authentication Protocol (RFC 2284) as peer, which our client is: MD5-Challenge and EAP-MSCHAPv2."""

import hashlib
from dataclasses import dataclass

from poptrio.protocols.ppp.authenticator import Credentials, Peer
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.eap_methods import OpCode, embedded, unpack
from poptrio.protocols.ppp.eap_packets import EapCode, EapType, type_and_data, typed
from poptrio.protocols.ppp.frames import Packet, Protocol
from poptrio.protocols.ppp.lcp import AuthProtocol, RandomBytes
from poptrio.protocols.ppp.mschap_dialogue import Failure
from poptrio.protocols.ppp.mschap_peer import WRONG_PROOF, MsChapProver
from poptrio.protocols.wire import Reader


@dataclass(frozen=True, slots=True)
class _Exchange:
    """The last Request and what we answered: a repeated Request gets the same Response."""

    request: Packet
    response: Packet


class EapPeer(Peer):
    """Answers Requests, and never repeats anything by itself (RFC 2284 §2.2.1); refuses other methods by Nak."""

    protocol = Protocol.EAP

    def __init__(self, credentials: Credentials, settings: NegotiationSettings, random: RandomBytes) -> None:
        super().__init__(settings)
        self._name = credentials.name.encode("utf-8", "surrogateescape")
        self._prover = MsChapProver(AuthProtocol.MSCHAP_V2, credentials, random)
        self._last: _Exchange | None = None
        self._done = False  # all is said, and only the server's EAP Success is missing

    def start(self, now: float) -> None:
        """Nothing to send: the server begins."""

    def receive(self, packet: Packet, now: float) -> None:
        if packet.code == EapCode.REQUEST:
            self._request(packet)
        elif packet.code == EapCode.SUCCESS and self._done:
            self._succeed()
        elif packet.code == EapCode.FAILURE and self._last is not None:
            self.failure = self.refusal or "the server sent an EAP Failure"

    def presume_success(self) -> bool:
        """The server acts as if we were authenticated; whether that can be."""
        if self._done and not self.succeeded:
            self._succeed()
        return self.succeeded

    def _succeed(self) -> None:
        if not self.succeeded:  # A later authentication does not change a running MPPE.
            self.mppe_keys = self._prover.mppe_keys
        self.succeeded = True
        self._done = False

    def _request(self, packet: Packet) -> None:
        if self._last is not None and packet == self._last.request:
            self._output += (self._last.response,)
            return
        kind, data = type_and_data(packet)
        match kind:
            case EapType.IDENTITY:
                self._done = False
                self._respond(packet, kind, self._name)
            case EapType.NOTIFICATION:
                self._respond(packet, kind, b"")
            case EapType.MD5:
                self._respond(packet, kind, self._md5(packet.identifier, data))
                self._done = True
            case EapType.MSCHAP_V2:
                answer = self._mschap(data)
                if answer is not None:
                    self._respond(packet, kind, answer)
            case _:
                self._respond(packet, EapType.NAK, bytes((EapType.MSCHAP_V2, EapType.MD5)))

    def _respond(self, request: Packet, kind: int, data: bytes) -> None:
        response = typed(EapCode.RESPONSE, request.identifier, kind, data)
        self._last = _Exchange(request, response)
        self._output += (response,)

    def _md5(self, identifier: int, data: bytes) -> bytes:
        reader = Reader(data, "EAP-MD5 Request")
        challenge = reader.take(reader.u8())
        secret = self._prover.password.encode("utf-8", "surrogateescape")
        value = hashlib.md5(bytes((identifier,)) + secret + challenge).digest()
        return bytes((len(value),)) + value + self._name

    def _mschap(self, data: bytes) -> bytes | None:
        """The Type-Data of our answer, None where there is nothing to say."""
        op_code, identifier, content = unpack(data)
        match op_code:
            case OpCode.CHALLENGE:
                reader = Reader(content, "EAP-MSCHAPv2 Challenge")
                return self._proof(identifier, reader.take(reader.u8()))
            case OpCode.SUCCESS:
                self._done = self._prover.believes(content.decode("utf-8", "replace"))
                if not self._done:
                    self.failure = WRONG_PROOF
                return bytes((OpCode.SUCCESS if self._done else OpCode.FAILURE,))
            case OpCode.FAILURE:
                return self._failed(identifier, content.decode("utf-8", "replace"))
            case _:
                return None

    def _proof(self, identifier: int, challenge: bytes) -> bytes:
        value = self._prover.response(challenge)
        return embedded(OpCode.RESPONSE, identifier, bytes((len(value),)) + value + self._name)

    def _failed(self, identifier: int, text: str) -> bytes:
        """Try again if the server lets us and we have another password, else take note."""
        failure = Failure.parse(text)
        self.error_code, self.refusal = failure.code, text
        identifier = (identifier + 1) & 0xFF
        if failure.challenge is not None:
            if self._prover.wants_change(failure):
                return embedded(OpCode.CHANGE_PASSWORD, identifier, self._prover.change_password(failure.challenge))
            if self._prover.next_password(failure):
                return self._proof(identifier, failure.challenge)
        return bytes((OpCode.FAILURE,))
