"""The Compression Control Protocol (RFC 1962) with one option: MPPE (RFC 3078 §2, §3).

What a side requests is what it wants to *receive*: our Configure-Request settles how we decrypt, the peer's how we
encrypt. Decryption therefore stands ready as soon as our request leaves (a fast client encrypts within microseconds of
its Ack), encryption when both sides agreed.
"""

from dataclasses import dataclass
from typing import Literal

from poptrio.crypto.mppe_keys import MppeKeys, MppeParameters
from poptrio.protocols.ppp.control_protocol import ControlProtocol, NegotiationSettings
from poptrio.protocols.ppp.frames import Code, Packet, Protocol
from poptrio.protocols.ppp.options import Ack, Insistence, Nak, Option, Reject, Verdict

STATELESS = 0x01000000
MOST_OFFERS = 8
"""Different offers of a peer that are kept for the sentence about it; the first ones tell."""
STRENGTHS = {128: 0x40, 56: 0x80, 40: 0x20}
"""Supported Bits of the MPPE option (RFC 3078 §2.1) by key length; beside them C (MPPC) and D (obsolete) exist."""


@dataclass(frozen=True, slots=True)
class EncryptionPolicy:
    """What may be negotiated: ``bits`` strongest first, ``mode`` as in the configuration."""

    policy: Literal["require", "prefer", "refuse"] = "require"
    bits: tuple[int, ...] = (128,)
    mode: Literal["stateless", "stateful", "any"] = "any"

    @property
    def required(self) -> bool:
        """Nothing may pass in clear."""
        return self.policy == "require"


class MppeOption(Option):
    """MPPE (RFC 3078 §2): one strength per direction, stateless first.

    ``receiving`` are the bits of our request, ``sending`` those of the peer's request that we acknowledged; zero means
    that this direction is not encrypted.
    """

    __slots__ = (
        "_insistence", "_policy", "_receiving", "_stateless_suggested", "_strengths", "_unwanted", "mandatory",
        "peer_offers", "sending",
    )  # fmt: skip

    kind = 18
    name = "MPPE"

    def __init__(self, policy: EncryptionPolicy) -> None:
        super().__init__()
        self.mandatory = policy.required
        self.sending = 0
        self._policy = policy
        self._strengths = tuple(bits for bits in (128, 56, 40) if bits in policy.bits)
        self._receiving = STRENGTHS[self._strengths[0]] | (STATELESS if policy.mode != "stateful" else 0)
        self._insistence = Insistence()
        self._stateless_suggested = False
        self._unwanted = False
        self.peer_offers: tuple[int, ...] = ()

    @property
    def receiving(self) -> int:
        """The bits of our request, zero when the peer rejected it."""
        return 0 if self._unwanted else self._receiving

    def request(self) -> bytes | None:
        return None if self._unwanted else self._receiving.to_bytes(4, "big")

    def naked(self, value: bytes) -> None:
        suggested = int.from_bytes(value, "big") if len(value) == 4 else 0
        self._note_offer(suggested)
        strength = self._best(suggested)
        if strength is None:
            self._give_up()
            return
        wanted = STRENGTHS[strength] | self._mode_bit(suggested)
        if wanted == self._receiving and self._insistence.exhausted():
            self._give_up()
        self._receiving = wanted

    def rejected(self) -> None:
        self._give_up()

    def judge(self, value: bytes) -> Verdict:
        if len(value) != 4 or (self._unwanted and not self.mandatory):
            return Reject()  # All or nothing: Windows 95 cannot encrypt one direction only.
        asked = int.from_bytes(value, "big")
        self._note_offer(asked)
        strength = self._best(asked)
        answer = STRENGTHS[strength or self._strengths[0]] | self._answered_mode(asked)
        if asked == answer:
            self.disagreement = None
            return Ack()
        self.disagreement = self._describe()
        return Nak(answer.to_bytes(4, "big"))

    def missing(self) -> bytes | None:
        if self._unwanted and not self.mandatory:
            return None
        self.disagreement = self._describe()
        return self._receiving.to_bytes(4, "big")

    def agreed(self, value: bytes | None) -> None:
        self.sending = 0 if value is None else int.from_bytes(value, "big")

    def _best(self, offered: int) -> int | None:
        """The strongest configured key length among the offered bits."""
        return next((bits for bits in self._strengths if offered & STRENGTHS[bits]), None)

    def _mode_bit(self, suggested: int) -> int:
        """The H bit of our own request after a Nak: the peer's wish where the configuration leaves it open."""
        if self._policy.mode == "any":
            return suggested & STATELESS
        return STATELESS if self._policy.mode == "stateless" else 0

    def _answered_mode(self, asked: int) -> int:
        """The H bit that the peer should ask for: stateless is suggested once, then its own wish is taken.

        Stateless first, because after a loss stateful peers disagree on whether the key changes (RFC 3078 §8.2 and
        Linux), and Windows 95 swaps the bit.
        """
        if self._policy.mode != "any":
            return STATELESS if self._policy.mode == "stateless" else 0
        if asked & STATELESS or self._stateless_suggested:
            return asked & STATELESS
        self._stateless_suggested = True
        return STATELESS

    def _note_offer(self, bits: int) -> None:
        if bits not in self.peer_offers and len(self.peer_offers) < MOST_OFFERS:
            self.peer_offers += (bits,)

    def _give_up(self) -> None:
        self._unwanted = True
        self.failure = self._describe()

    def _describe(self) -> str:
        offers = " / ".join(describe_bits(bits) for bits in sorted(self.peer_offers)) or "no MPPE"
        ours = ", ".join(map(str, self._strengths))
        return f"the peer offers {offers}; configured: {ours} bits, {self._policy.mode}"


class Ccp(ControlProtocol):
    """The Compression Control Protocol of one session.

    ``reset_requested`` becomes True when the peer asks us to start MPPE's tables afresh (RFC 3078 §8); ``readied`` when
    a Configure-Request of ours has left, so that decryption must stand ready. The session clears both.
    """

    __slots__ = ("_keys", "mppe", "readied", "reset_requested")

    protocol = Protocol.CCP
    known_codes = ControlProtocol.known_codes | {Code.RESET_REQUEST, Code.RESET_ACK}

    def __init__(self, policy: EncryptionPolicy, keys: MppeKeys, settings: NegotiationSettings) -> None:
        self.mppe = MppeOption(policy)
        super().__init__([self.mppe], settings)
        self.reset_requested = False
        self.readied = False
        self._keys = keys

    @property
    def receive_parameters(self) -> MppeParameters | None:
        """How we decrypt, from what we requested."""
        return _parameters(self.mppe.receiving, self._keys.receive, self._keys.weak_receive)

    @property
    def send_parameters(self) -> MppeParameters | None:
        """How we encrypt, from what the peer requested and we acknowledged; None until CCP is Opened."""
        return _parameters(self.mppe.sending, self._keys.send, self._keys.weak_send) if self.opened else None

    def request_reset(self) -> None:
        """Our decryption lost its place: ask the peer to flush (RFC 1962 §3)."""
        if self.opened:
            self.send(Packet(Code.RESET_REQUEST, self.next_identifier()))

    def receive_extra(self, packet: Packet, now: float) -> None:
        """Reset-Request: flush, and say so.

        MPPE's flush bit is answer enough (RFC 3078 §8), but Linux decrypts nothing until a Reset-Ack comes as well.
        Windows rejects that code; it then gets no more of it.
        """
        if packet.code == Code.RESET_REQUEST and self.opened:
            self.reset_requested = True
            if Code.RESET_ACK not in self.codes_rejected:
                self.send(Packet(Code.RESET_ACK, packet.identifier))

    def request_sent(self) -> None:
        self.readied = True

    def is_retransmission(self, identifier: int, data: bytes) -> bool:
        """In Opened, a request of the same content is a repetition under any Identifier (Windows counts it up).

        To go down for it would start both RC4 tables again from the same key: a keystream used twice.
        """
        return self._acked_request is not None and self._acked_request[1] == data


def usable_bits(policy: EncryptionPolicy, keys: MppeKeys) -> tuple[int, ...]:
    """The configured key lengths for which the authentication yielded keys."""
    weak = keys.weak_send is not None and keys.weak_receive is not None
    return tuple(bits for bits in policy.bits if bits == 128 or weak)


def describe_bits(bits: int) -> str:
    """Supported Bits as an operator reads them, for instance ``128/40 stateless``."""
    if not bits:
        return "nothing"
    strengths = "/".join(str(size) for size, bit in STRENGTHS.items() if bits & bit) or f"0x{bits:08x}"
    return f"{strengths} {'stateless' if bits & STATELESS else 'stateful'}{' MPPC' if bits & 1 else ''}"


def _parameters(bits: int, strong: bytes, weak: bytes | None) -> MppeParameters | None:
    for size, bit in STRENGTHS.items():
        if bits & bit:
            key = strong if size == 128 else weak
            return None if key is None else MppeParameters(size, bool(bits & STATELESS), key)
    return None
