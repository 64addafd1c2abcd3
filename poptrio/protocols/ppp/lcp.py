"""The Link Control Protocol (RFC 1661 §5 and §6, RFC 1570): its options, and its Echo, Reject and Identification.

The options that poptrio does not have (Callback, MRRU, Short-Sequence, Endpoint-Discriminator and unknown ones) are
rejected together in one Configure-Reject by the generic exchange; Windows and RouterOS then leave them out.
"""

from collections.abc import Callable, Sequence
from enum import Enum

from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.control_protocol import ControlProtocol, NegotiationSettings, encode_option
from poptrio.protocols.ppp.farewell import read_farewell
from poptrio.protocols.ppp.frames import Code, Packet, Protocol
from poptrio.protocols.ppp.options import Ack, Insistence, Nak, Option, Reject, Verdict
from poptrio.protocols.wire import Reader

DEFAULT_MRU = 1500
SMALLEST_MRU = 128
LOOPBACK_LIMIT = 3
"""So many Configure-Requests in a row with our own Magic-Number mean a loop (RFC 1661 §6.4)."""

RandomBytes = Callable[[int], bytes]


class AuthProtocol(Enum):
    """Authentication protocols: name in the configuration, and value of the Auth-Protocol option (RFC 1661 §6.2)."""

    MSCHAP_V2 = ("mschap-v2", b"\xc2\x23\x81")
    MSCHAP_V1 = ("mschap-v1", b"\xc2\x23\x80")
    CHAP_MD5 = ("chap-md5", b"\xc2\x23\x05")
    PAP = ("pap", b"\xc0\x23")
    EAP = ("eap", b"\xc2\x27")

    def __init__(self, label: str, option_value: bytes) -> None:
        self.label = label
        self.option_value = option_value

    @classmethod
    def from_label(cls, label: str) -> "AuthProtocol":
        """The protocol by its name in the configuration."""
        return next(protocol for protocol in cls if protocol.label == label)

    @classmethod
    def from_option(cls, value: bytes) -> "AuthProtocol | None":
        """The protocol of an option value, or None for one that poptrio does not speak."""
        return next((protocol for protocol in cls if protocol.option_value == value), None)


class MruOption(Option):
    """Maximum-Receive-Unit (RFC 1661 §6.1): ``ours`` in octets; ``peers`` is what the peer can take."""

    __slots__ = ("_insistence", "_requested", "ours", "peers")

    kind = 1
    name = "Maximum-Receive-Unit"

    def __init__(self, ours: int) -> None:
        super().__init__()
        self.ours = ours
        self.peers = DEFAULT_MRU
        self._requested: int | None = ours
        self._insistence = Insistence()

    def request(self) -> bytes | None:
        return None if self._requested is None else self._requested.to_bytes(2, "big")

    def naked(self, value: bytes) -> None:
        # A smaller wish costs nothing; a larger one, or the same again (Windows 2000), must not be followed for ever.
        if len(value) == 2 and SMALLEST_MRU <= int.from_bytes(value, "big") < (self._requested or 0):
            self._requested = int.from_bytes(value, "big")
        elif self._insistence.exhausted():
            self._requested = None

    def rejected(self) -> None:
        self._requested = None

    def judge(self, value: bytes) -> Verdict:
        if len(value) != 2 or int.from_bytes(value, "big") < SMALLEST_MRU:
            return Nak(self.ours.to_bytes(2, "big"))
        return Ack()

    def agreed(self, value: bytes | None) -> None:
        self.peers = DEFAULT_MRU if value is None else int.from_bytes(value, "big")


class AccmOption(Option):
    """Async-Control-Character-Map (RFC 1662 §7.1): any is fine, because nothing is escaped in GRE; never requested."""

    __slots__ = ()

    kind = 2
    name = "Async-Control-Character-Map"

    def judge(self, value: bytes) -> Verdict:
        return Ack() if len(value) == 4 else Nak(bytes(4))


ACCM = AccmOption()
"""The option of all calls: it remembers nothing."""


class AuthenticateOption(Option):
    """Authentication-Protocol (RFC 1661 §6.2) as authenticator: demanded, in the order of the configured list.

    ``protocol`` is what stands in our Configure-Request. A Nak moves on to the peer's suggestion if the list has it,
    else to the next of the list; when the list is used up, or the peer rejects the option, there is no link.
    """

    __slots__ = ("_left", "_offered", "protocol", "suggested")

    kind = 3
    name = "Authentication-Protocol"
    mandatory = True

    def __init__(self, offered: Sequence[AuthProtocol]) -> None:
        super().__init__()
        self._offered = tuple(offered)
        self.restart()

    def restart(self) -> None:
        self.protocol, *left = self._offered
        self._left = tuple(left)
        self.suggested: tuple[str, ...] = ()

    def request(self) -> bytes | None:
        return self.protocol.option_value

    def naked(self, value: bytes) -> None:
        wish = AuthProtocol.from_option(value)
        self.suggested += (_label(value),)
        if wish not in self._left and self._left:
            wish = self._left[0]
        if wish in self._left:
            self._left = tuple(protocol for protocol in self._left if protocol is not wish)
            self.protocol = wish
        else:
            self.failure = f"the peer wants {', '.join(self.suggested)}; configured: {self._names()}"

    def rejected(self) -> None:
        self.failure = f"the peer refuses to authenticate itself; configured: {self._names()}"

    def _names(self) -> str:
        return ", ".join(protocol.label for protocol in self._offered)


class ProveOption(Option):
    """Authentication-Protocol (RFC 1661 §6.2) as peer: accept one of ours, Nak others with our favourite."""

    __slots__ = ("_accepted", "mandatory", "protocol")

    kind = 3
    name = "Authentication-Protocol"

    def __init__(self, accepted: Sequence[AuthProtocol]) -> None:
        super().__init__()
        self._accepted = tuple(accepted)
        self.protocol: AuthProtocol | None = None
        self.mandatory = True

    def judge(self, value: bytes) -> Verdict:
        wish = AuthProtocol.from_option(value)
        if wish in self._accepted:
            return Ack()
        self.disagreement = f"the server wants {_label(value)}; allowed: {', '.join(p.label for p in self._accepted)}"
        return Nak(self._accepted[0].option_value)

    def agreed(self, value: bytes | None) -> None:
        self.protocol = None if value is None else AuthProtocol.from_option(value)


def _label(value: bytes) -> str:
    """An Authentication-Protocol for people; of one that has no name here, the octets that could be its number."""
    protocol = AuthProtocol.from_option(value)
    return protocol.label if protocol else f"0x{value[:4].hex()}"


class MagicNumberOption(Option):
    """Magic-Number (RFC 1661 §6.4): ours, and the detection of a looped-back link."""

    __slots__ = ("_random", "_requesting", "collisions", "ours", "peers")

    kind = 5
    name = "Magic-Number"

    def __init__(self, random: RandomBytes) -> None:
        super().__init__()
        self._random = random
        self._requesting = True
        self.ours = self._fresh()
        self.peers = bytes(4)
        self.collisions = 0

    def request(self) -> bytes | None:
        return self.ours if self._requesting else None

    def naked(self, value: bytes) -> None:
        self.ours = self._fresh()

    def rejected(self) -> None:
        self._requesting = False
        self.ours = bytes(4)

    def judge(self, value: bytes) -> Verdict:
        if len(value) != 4 or not any(value):
            return Nak(self._fresh())
        self.collisions = 0
        return Ack()

    def collide(self) -> bytes:
        """The peer requests our own number: one that our Nak should ask for instead."""
        self.collisions += 1
        return self._fresh()

    def agreed(self, value: bytes | None) -> None:
        self.peers = bytes(4) if value is None else value

    def _fresh(self) -> bytes:
        number = self._random(4)
        return number if any(number) else b"\x00\x00\x00\x01"


class FlagOption(Option):
    """A boolean option without a value: PFC (RFC 1661 §6.5) and ACFC (§6.6)."""

    __slots__ = ("_requesting", "kind", "name", "peer_accepts")

    def __init__(self, kind: int, name: str) -> None:
        super().__init__()
        self.kind = kind
        self.name = name
        self.peer_accepts = False
        self._requesting = True

    def request(self) -> bytes | None:
        return b"" if self._requesting else None

    def naked(self, value: bytes) -> None:
        self._requesting = False  # A Nak of a boolean makes no sense; RouterTester sends it all the same.

    def rejected(self) -> None:
        self._requesting = False

    def judge(self, value: bytes) -> Verdict:
        return Ack() if not value else Reject()

    def agreed(self, value: bytes | None) -> None:
        self.peer_accepts = value is not None


class LcpNote(Enum):
    """What LCP tells the session besides the layer events."""

    PROTOCOL_REJECTED = "protocol-rejected"
    IDENTIFICATION = "identification"
    TIME_REMAINING = "time-remaining"
    LOOPBACK = "loopback"


class Lcp(ControlProtocol):
    """The Link Control Protocol of one session.

    ``notes`` collects what the session must know: a note with its octets (the rejected protocol number, the text of an
    Identification, the seconds of a Time-Remaining).
    """

    __slots__ = ("_requests_sent", "acfc", "authentication", "farewell", "heard", "magic", "mru", "notes", "pfc")

    protocol = Protocol.LCP
    known_codes = frozenset(range(Code.CONFIGURE_REQUEST, Code.TIME_REMAINING + 1))

    def __init__(
        self,
        authentication: AuthenticateOption | ProveOption,
        mru: int,
        settings: NegotiationSettings,
        random: RandomBytes,
    ) -> None:
        self.mru = MruOption(mru)
        self.authentication = authentication
        self.magic = MagicNumberOption(random)
        self.pfc = FlagOption(7, "Protocol-Field-Compression")
        self.acfc = FlagOption(8, "Address-and-Control-Field-Compression")
        super().__init__([self.mru, ACCM, authentication, self.magic, self.pfc, self.acfc], settings)
        self.notes: tuple[tuple[LcpNote, bytes], ...] = ()
        self.heard = False
        self.farewell = ""
        self._requests_sent = 0

    def receive(self, packet: Packet, now: float) -> None:
        """Take one LCP packet. Raises `MalformedPacket`."""
        if not self.heard and packet.code == Code.CONFIGURE_REQUEST:
            # Our own request may have met a client that was not listening yet, or a NAT that had no entry. It goes out
            # again before our Ack, so that it cannot meet a peer that is Opened.
            self.repeat_request(now)
        self.heard = True
        if packet.code == Code.TERMINATE_REQUEST:
            self.farewell = read_farewell(packet.data)
        super().receive(packet, now)
        if self.magic.collisions >= LOOPBACK_LIMIT:
            self._note(LcpNote.LOOPBACK)

    def judge_request(self, packet: Packet, requested: list[tuple[int, bytes]]) -> Packet:
        """A request with our own Magic-Number gets a Nak for that and nothing else (RFC 1661 §6.4).

        On a looped-back link it is our own, and a Reject of its options would come back as if the peer had sent it.
        """
        if any(self.magic.ours) and dict(requested).get(self.magic.kind) == self.magic.ours:
            nak = encode_option(self.magic.kind, self.magic.collide())
            return Packet(Code.CONFIGURE_NAK, packet.identifier, nak)
        return super().judge_request(packet, requested)

    def restart_delay(self) -> float:
        """Short at first, because the first packets meet a peer or a NAT that is not ready; then Restart-Interval.

        While nothing has come from the peer it cannot be Opened, so a repeated request cannot restart anything there.
        """
        self._requests_sent += 1
        early = self._requests_sent if self.heard else 0.3 * 2 ** min(self._requests_sent - 1, 8)
        return min(super().restart_delay(), early)

    def send_echo_request(self) -> None:
        """Send an Echo-Request (RFC 1661 §5.8)."""
        self.send(Packet(Code.ECHO_REQUEST, self.next_identifier(), self.magic.ours))

    def send_protocol_reject(self, protocol: int, information: bytes) -> None:
        """Tell the peer that we do not speak a protocol (RFC 1661 §5.7); the copy is cut to the peer's MRU."""
        rejected = (protocol.to_bytes(2, "big") + information)[: self._largest_data]
        self.send(Packet(Code.PROTOCOL_REJECT, self.next_identifier(), rejected))

    @property
    def _largest_data(self) -> int:
        """Octets after the header of a packet that the peer's MRU takes."""
        return min(self.mru.peers, DEFAULT_MRU) - 4

    def receive_extra(self, packet: Packet, now: float) -> None:
        """Echo, Discard, Protocol-Reject and RFC 1570's packets."""
        match packet.code:
            case Code.PROTOCOL_REJECT:
                if self.opened:  # In any other state it must be discarded (RFC 1661 §5.7).
                    self._note(LcpNote.PROTOCOL_REJECTED, Reader(packet.data, "Protocol-Reject").take(2))
            case Code.ECHO_REQUEST if self.opened:
                if self._magic_of(packet) == self.magic.ours != bytes(4):
                    self._note(LcpNote.LOOPBACK)
                    return
                data = (self.magic.ours + packet.data[4:])[: self._largest_data]
                self.send(Packet(Code.ECHO_REPLY, packet.identifier, data))
            case Code.ECHO_REPLY if self.opened:
                self._magic_of(packet)
            case Code.IDENTIFICATION:
                self._note(LcpNote.IDENTIFICATION, packet.data[4:])
            case Code.TIME_REMAINING:
                self._note(LcpNote.TIME_REMAINING, packet.data[4:8])
            case _:  # Discard-Request, and Echo outside Opened: nothing, by RFC 1661 §5.8 and §5.9.
                pass

    def _note(self, note: LcpNote, octets: bytes = b"") -> None:
        self.notes += ((note, octets),)

    def _magic_of(self, packet: Packet) -> bytes:
        """The Magic-Number of an Echo; one that nobody here has means that the packet is not the peer's (§5.8).

        Ours is let through, because some clients answer with a plain copy of our Echo-Request.
        """
        magic = Reader(packet.data, "LCP Echo").take(4)
        if magic not in (self.magic.peers, self.magic.ours, bytes(4)):
            raise MalformedPacket("LCP Echo with a foreign Magic-Number")
        return magic
