"""The Extensible Authentication Protocol (RFC 2284) as authenticator: any method passed through, two spoken here.

We ask for the identity; each Response then becomes a question to a plugin, which answers with the next EAP Request (a
server elsewhere has the method), with success or failure, or with the wish that we speak a method ourselves:

    Request/Identity → Response ─ challenge → plugin's Request → Response ─ … → Success or Failure
                                ─ speak ────→ our Request → Response → judged like CHAP → Success or Failure

A Request is repeated until it is answered, a Response that comes again gets what it got. EAP-MSCHAPv2 tells the peer of
the outcome by one more Request, and what the plugin decided takes effect when that is answered.
"""

from collections.abc import Sequence

from poptrio.errors import CauseOfEnd, MalformedPacket
from poptrio.protocols.ppp.auth_requests import AuthRequest, EapRequest
from poptrio.protocols.ppp.authenticator import (
    USER_WAIT,
    Accepted,
    Authenticator,
    Challenged,
    EapMethodName,
    Refused,
)
from poptrio.protocols.ppp.chap import LONGEST_NAME
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.eap_methods import METHODS, EapMethod, Verdict
from poptrio.protocols.ppp.eap_packets import EapCode, EapType, fault_of, type_and_data, typed
from poptrio.protocols.ppp.frames import Packet, Protocol
from poptrio.protocols.ppp.lcp import RandomBytes

MOST_ROUNDS = 100
"""Requests in one conversation: a method that sends large certificates in small pieces needs many, a loop more."""

SENDS_OF_FAILURE = 2
"""How often a peer is told that a method has failed before it is told by EAP Failure."""

_REASONS = {
    Verdict.CONFIRMED: "it took note of an outcome that there is not",
    Verdict.FOREIGN: "it answered for another user than the one of its identity",
    Verdict.REFUSED: "it does not believe that we know its password",
}


class EapAuthenticator(Authenticator):
    """Asks for the identity, also whenever `challenge_again` is called. ``largest`` is the peer's MRU in octets."""

    protocol = Protocol.EAP

    def __init__(self, our_name: str, largest: int, settings: NegotiationSettings, random: RandomBytes) -> None:
        super().__init__(settings)
        self._our_name = our_name.encode("utf-8", "surrogateescape")
        self._largest = largest
        self._random = random
        self._identifier = random(1)[0]
        self._identity: str | None = None
        self._method: EapMethod | None = None
        self._methods: tuple[EapMethodName, ...] = ()
        self._rounds = 0
        self._verdict: Accepted | Refused | None = None  # in effect as soon as the peer has heard of it

    def start(self, now: float) -> None:
        self._identity = self._method = self._verdict = None
        self._methods = ()
        self._rounds = 0
        self._request(EapType.IDENTITY, b"", now)

    # What the peer says.

    def receive(self, packet: Packet, now: float) -> None:
        if packet.code != EapCode.RESPONSE or self._already_seen(packet):
            return
        if packet.identifier != self._identifier or not self._waiting:
            return
        kind, data = type_and_data(packet)
        if self._identity is None:
            self._take_identity(packet, kind, data)
        elif self._method is None:
            self._ask(packet, self._question(packet, self._identity))
        elif kind == EapType.NAK and self._verdict is None:
            self._next_method(packet, data, now)
        elif kind == self._method.kind:
            self._take_response(self._method, packet, data, now)

    def _take_identity(self, packet: Packet, kind: int, data: bytes) -> None:
        if kind != EapType.IDENTITY:
            return
        if len(data) > LONGEST_NAME:
            raise MalformedPacket(f"EAP Identity of {len(data)} octets, at most {LONGEST_NAME} allowed")
        self._identity = data.decode("utf-8", "surrogateescape")
        self._ask(packet, self._question(packet, self._identity))

    def _question(self, packet: Packet, identity: str) -> EapRequest:
        return EapRequest(name=identity, username=identity, packet=packet.encode())

    def _take_response(self, method: EapMethod, packet: Packet, data: bytes, now: float) -> None:
        outcome: AuthRequest | Verdict = method.receive(data, packet.identifier)
        match outcome:
            case Verdict.OUT_OF_PLACE:
                return
            case Verdict.CONFIRMED if self._verdict is not None:
                self._packet_in_question = packet
                self._end(self._verdict)
            case Verdict():
                self._packet_in_question = packet
                self._give_up(_REASONS[outcome])
            case _:
                self._verdict = None
                self._ask(packet, outcome)

    def _next_method(self, packet: Packet, wanted: bytes, now: float) -> None:
        """A Nak: go on with one of the Types that the peer wants instead (RFC 2284 §3.3)."""
        assert self._identity is not None  # a method was begun for it
        self._packet_in_question = packet
        left = [name for name in self._methods if METHODS[name].kind in wanted]
        if left:
            self._begin_method(left[0], self._identity, now)
            return
        types = ", ".join(map(str, wanted.rstrip(b"\0"))) or "none that it names"
        self.cause = CauseOfEnd.AUTHENTICATION_NOT_AGREED
        self._give_up(f"of EAP types, the client wants {types}")

    # What the plugins say.

    def challenge(self, challenged: Challenged, now: float) -> str | None:
        fault = fault_of(challenged.eap, (EapCode.REQUEST,), self._largest)
        if self._method is not None:
            fault = f"a plugin's EAP Request has no place in a method of ours ({self._method.kind.name})"
        elif not fault and challenged.eap[1] == self._identifier:
            fault = "the EAP Request has the Identifier of the one before it"
        elif self._rounds >= MOST_ROUNDS:
            fault = f"after {self._rounds} EAP Requests there was no decision"
        if fault:
            return fault
        packet = Packet.decode(challenged.eap, "EAP")
        self._identifier = packet.identifier
        self._send_request(packet, now)
        self._sends_left = self._patience
        return None

    def speak(self, methods: Sequence[EapMethodName], now: float) -> str | None:
        known = tuple(name for name in methods if name in METHODS)
        if self._identity is None or self._rounds > 1 or not known:
            return "only an identity can be answered with EAP methods of ours" if known else "no EAP method is possible"
        self._methods = known
        self._begin_method(known[0], self._identity, now)
        return None

    def accept(self, accepted: Accepted, now: float) -> None:
        told = None if self._method is None else self._method.accepted(accepted)
        if self._method is None or told is None:
            self._end(accepted)
        else:
            self._verdict = accepted
            self._request(self._method.kind, told, now)

    def refuse(self, refused: Refused, now: float) -> None:
        told = None if self._method is None else self._method.refused(refused)
        if self._method is None or told is None:
            self._end(refused)
            return
        self._verdict = refused
        self._request(self._method.kind, told, now)
        self._sends_left = self._patience if self._method.goes_on else SENDS_OF_FAILURE - 1

    # Requests, and the end.

    def _begin_method(self, name: EapMethodName, identity: str, now: float) -> None:
        self._methods = tuple(other for other in self._methods if other != name)
        self._method = METHODS[name](identity, self._our_name, self._random)
        self._request(self._method.kind, self._method.first((self._identifier + 1) & 0xFF), now)

    @property
    def _patience(self) -> int:
        """How often a Request is repeated that a person may have to answer; meanwhile peers discard it (§2.2.1)."""
        return max(self._settings.max_configure, int(USER_WAIT / self._settings.restart_interval)) - 1

    def _request(self, kind: EapType, data: bytes, now: float) -> None:
        self._identifier = (self._identifier + 1) & 0xFF
        self._send_request(typed(EapCode.REQUEST, self._identifier, kind, data), now)

    def _send_request(self, packet: Packet, now: float) -> None:
        self._rounds += 1
        self._remember(packet)
        self._begin(packet, now)

    def handle_timeout(self, now: float) -> None:
        super().handle_timeout(now)
        if self.failure is not None and isinstance(self._verdict, Refused):
            self.cause = CauseOfEnd.AUTHENTICATION_FAILED  # it was told, and there was nothing for it to say

    def _end(self, verdict: Accepted | Refused) -> None:
        """The last packet: what the plugin gave, or our own."""
        self._answered()
        if isinstance(verdict, Accepted):
            self._conclude(self.success_packet(verdict))
            self.succeeded = True
        else:
            self._conclude(self.failure_packet(verdict))
            self.failure = f"E={verdict.code}"

    def _give_up(self, why: str) -> None:
        self._answered()
        self._conclude(self.failure_packet(Refused()))
        self.failure = why

    def success_packet(self, accepted: Accepted) -> Packet:
        return self._last_packet(EapCode.SUCCESS, accepted.eap)

    def failure_packet(self, refused: Refused) -> Packet:
        return self._last_packet(EapCode.FAILURE, refused.eap)

    def _last_packet(self, code: EapCode, given: bytes) -> Packet:
        """``given`` as it is, if it is what it should be; its Identifier is that of the Response (RFC 2284 §2.2.2)."""
        if given and not fault_of(given, (code,), self._largest):
            return Packet.decode(given, "EAP")
        return Packet(code, self._identifier)
