"""A control protocol of PPP: the automaton, the Restart timer and the option exchange (RFC 1661 §4.3 to §5.6).

LCP, IPCP and CCP are this class with their own options and their own extra codes. No I/O and no clock: packets come in
by `receive`, go out by `packets_to_send`, time comes in as ``now`` and goes out as `deadline`, and what the layers
above and below must know is in `layer_events`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.automaton import TIMED_STATES, Action, Automaton, Event, State
from poptrio.protocols.ppp.frames import Code, Packet, Protocol
from poptrio.protocols.ppp.options import Ack, Nak, Option
from poptrio.protocols.wire import type_length_values

REJECTED_OCTETS = 124
"""So much of a packet is returned in a Code-Reject, which must fit into any MRU (RFC 1661 §5.6)."""

MOST_OPTIONS = 64
"""Options in one packet, twice as many as any control protocol has; more cost time and can make no sense."""


NO_CODES: frozenset[int] = frozenset()
"""One for all: an empty set takes 200 octets, and three control protocols of each call have one."""


@dataclass(frozen=True, slots=True)
class NegotiationSettings:
    """The counters and the timer of RFC 1661 §4.6: ``restart_interval`` in seconds, the others in packets."""

    restart_interval: float = 3.0
    max_configure: int = 10
    max_terminate: int = 2
    max_failure: int = 5


class LayerEvent(Enum):
    """What a control protocol tells the session: the four layer actions of RFC 1661 §4.4."""

    UP = "tlu"
    DOWN = "tld"
    STARTED = "tls"
    FINISHED = "tlf"


_LAYER_EVENTS = {
    Action.THIS_LAYER_UP: LayerEvent.UP,
    Action.THIS_LAYER_DOWN: LayerEvent.DOWN,
    Action.THIS_LAYER_STARTED: LayerEvent.STARTED,
    Action.THIS_LAYER_FINISHED: LayerEvent.FINISHED,
}


_NAMES = {int(code): code.name.title().replace("_", "-") for code in Code}


class ControlProtocol:
    """One control protocol of one session.

    ``failure`` becomes a sentence as soon as there can be no agreement; the session then ends the call.
    ``terminated_by_peer``: a Terminate-Request was the last word of the peer about this protocol.
    ``codes_rejected`` are the codes for which the peer sent a Code-Reject.

    What is mostly empty is a tuple, since each list takes 56 octets even then, and nobody negotiates for hours.
    """

    __slots__ = (
        "_acked_request", "_answer", "_automaton", "_identifier", "_naks_sent", "_now", "_output", "_refusals",
        "_request_identifier", "_requested", "_restarts_left", "_settings", "codes_rejected", "deadline", "failure",
        "layer_events", "options", "terminated_by_peer",
    )  # fmt: skip

    protocol: Protocol
    known_codes: frozenset[int] = frozenset(range(Code.CONFIGURE_REQUEST, Code.CODE_REJECT + 1))

    def __init__(self, options: Sequence[Option], settings: NegotiationSettings) -> None:
        self.options = tuple(options)
        self.layer_events: tuple[LayerEvent, ...] = ()
        self.terminated_by_peer = False
        self.deadline = math.inf
        self.failure: str | None = None
        self.codes_rejected = NO_CODES
        self._settings = settings
        self._automaton = Automaton()
        self._output: tuple[Packet, ...] = ()
        self._identifier = 0
        self._request_identifier: int | None = None  # None: no request waits for an answer
        self._restarts_left = 0
        self._naks_sent = 0
        self._refusals = 0  # Naks and Rejects of ours that came in a row
        self._requested: tuple[tuple[int, bytes], ...] = ()  # in the request that waits for an answer
        self._acked_request: tuple[int, bytes] | None = None
        self._answer: Packet | None = None  # until it is sent
        self._now = 0.0

    # What the session asks for.

    @property
    def state(self) -> State:
        """The automaton's state."""
        return self._automaton.state

    @property
    def opened(self) -> bool:
        """Both sides agreed; the layer above may work."""
        return self._automaton.state is State.OPENED

    @property
    def has_packets(self) -> bool:
        """Whether `packets_to_send` has any."""
        return bool(self._output)

    @property
    def dispute(self) -> str | None:
        """What keeps the sides from agreeing, in words for an operator; None: nothing that we know of."""
        disagreements = (option.disagreement for option in self.options)
        told = self.failure or next((text for text in disagreements if text is not None), None)
        if told is None and self._refusals_exhausted:
            return f"the peer refused {self._refusals} Configure-Requests in a row"
        return told

    def up(self, now: float) -> None:
        """The layer below is up."""
        self._handle(Event.UP, now)

    def down(self, now: float) -> None:
        """The layer below is down; nothing happens where the protocol never came up."""
        if self.state not in (State.INITIAL, State.STARTING):
            self._handle(Event.DOWN, now)

    def open(self, now: float) -> None:
        """The layer may come up."""
        self._handle(Event.OPEN, now)

    def close(self, now: float) -> None:
        """The layer must go down."""
        self._handle(Event.CLOSE, now)

    def packets_to_send(self) -> tuple[Packet, ...]:
        """The packets that have become due, in order; each is handed out once."""
        packets, self._output = self._output, ()
        return packets

    def handle_timeout(self, now: float) -> None:
        """The Restart timer expired; nothing happens before `deadline`."""
        if now < self.deadline:
            return
        self.deadline = math.inf
        self._handle(Event.TIMEOUT_RETRY if self._restarts_left > 0 else Event.TIMEOUT_EXPIRED, now)

    def repeat_request(self, now: float) -> None:
        """Send our Configure-Request again at once, without counting: the peer is known to be ready only now."""
        if self.state in (State.REQ_SENT, State.ACK_SENT):
            self._now = now
            self._compose_request(fresh=False)
            self._send_request()

    def rejected_by_peer(self, now: float) -> None:
        """The peer sent an LCP Protocol-Reject for this protocol: RXJ- (RFC 1661 §4.3)."""
        if self.state not in (State.INITIAL, State.STARTING):
            self._handle(Event.REJECT_CATASTROPHIC, now)

    def receive(self, packet: Packet, now: float) -> None:
        """Take one packet of this protocol. Raises `MalformedPacket`; the caller drops and counts it."""
        if self.state in (State.INITIAL, State.STARTING):
            return  # The lower layer is down: RFC 1661 has no such event, the packet is discarded.
        self._now = now
        match packet.code:
            case Code.CONFIGURE_REQUEST:
                self.terminated_by_peer = False
                self._receive_request(packet, now)
            case Code.CONFIGURE_ACK | Code.CONFIGURE_NAK | Code.CONFIGURE_REJECT:
                self._receive_answer(packet, now)
            case Code.TERMINATE_REQUEST:
                self.terminated_by_peer = True
                self._answer = Packet(Code.TERMINATE_ACK, packet.identifier)
                self._handle(Event.TERMINATE_REQUEST, now)
            case Code.TERMINATE_ACK:
                self._handle(Event.TERMINATE_ACK, now)
            case Code.CODE_REJECT:
                self._receive_code_reject(packet, now)
            case _ if packet.code in self.known_codes:
                self.receive_extra(packet, now)
            case _:
                self._answer = Packet(Code.CODE_REJECT, self.next_identifier(), packet.encode()[:REJECTED_OCTETS])
                self._handle(Event.UNKNOWN_CODE, now)

    # What LCP and CCP add.

    def receive_extra(self, packet: Packet, now: float) -> None:
        """A packet with one of the protocol's own codes."""

    def restart_delay(self) -> float:
        """Seconds until an unanswered packet is sent again."""
        return self._settings.restart_interval

    def request_sent(self) -> None:
        """Our Configure-Request has been put on its way."""

    def is_retransmission(self, identifier: int, data: bytes) -> bool:
        """Whether a Configure-Request in Opened is the one we acknowledged, sent again because our Ack was lost.

        RFC 1661 would bring the layer down for it and negotiate anew; on a lossy link that never ends.
        """
        return self._acked_request == (identifier, data)

    def send(self, packet: Packet) -> None:
        """Put a packet of this protocol on its way."""
        self._output += (packet,)

    def next_identifier(self) -> int:
        """A fresh Identifier."""
        self._identifier = (self._identifier + 1) & 0xFF
        return self._identifier

    # The exchange of options.

    def _receive_request(self, packet: Packet, now: float) -> None:
        if self.opened and self.is_retransmission(packet.identifier, packet.data):
            self.send(Packet(Code.CONFIGURE_ACK, packet.identifier, packet.data))
            return
        answer = self._answer = self.judge_request(packet, self._options_in(packet))
        good = answer.code == Code.CONFIGURE_ACK
        self._acked_request = (packet.identifier, packet.data) if good else None
        self._handle(Event.REQUEST_GOOD if good else Event.REQUEST_BAD, now)

    def judge_request(self, packet: Packet, requested: list[tuple[int, bytes]]) -> Packet:
        """Our answer to a Configure-Request for ``requested`` (RFC 1661 §5.2 to §5.4): rejects, then Naks, then Ack."""
        rejects: list[bytes] = []
        naks: dict[int, bytes] = {}  # one for each kind, however often it stands there: the Nak stays short
        for kind, value in requested:
            option = self._option(kind)
            verdict = option.judge(value) if option is not None else None
            if isinstance(verdict, Nak):
                naks[kind] = verdict.value
            elif not isinstance(verdict, Ack):
                rejects.append(encode_option(kind, value))
        if rejects:
            return Packet(Code.CONFIGURE_REJECT, packet.identifier, b"".join(rejects))
        values = dict(requested)
        tired = self._naks_sent >= self._settings.max_failure
        for option in self.options:
            if option.kind in values or (tired and not option.mandatory):
                continue
            wish = option.missing()
            if wish is not None:
                naks[option.kind] = wish
        if naks:
            return self._nak(packet, naks, values)
        for option in self.options:
            option.agreed(values.get(option.kind))
        self._naks_sent = 0
        return Packet(Code.CONFIGURE_ACK, packet.identifier, packet.data)

    def _nak(self, packet: Packet, naks: dict[int, bytes], requested: dict[int, bytes]) -> Packet:
        """A Configure-Nak, or a Configure-Reject once Max-Failure Naks did not bring us together (RFC 1661 §4.6)."""
        self._naks_sent += 1
        rejects = b""
        if self._naks_sent > self._settings.max_failure:
            rejects = b"".join(encode_option(kind, requested[kind]) for kind in naks if kind in requested)
            for option in (option for option in self.options if option.kind in naks and option.mandatory):
                self.failure = option.disagreement or f"{self._naks_sent - 1} Configure-Naks of {option.name} in vain"
        if rejects:
            return Packet(Code.CONFIGURE_REJECT, packet.identifier, rejects)
        return Packet(Code.CONFIGURE_NAK, packet.identifier, b"".join(encode_option(*nak) for nak in naks.items()))

    def _receive_answer(self, packet: Packet, now: float) -> None:
        if packet.identifier != self._request_identifier:
            return  # An answer to an older request, or the same one again: discarded silently (RFC 1661 §5.2).
        if packet.code == Code.CONFIGURE_ACK:
            if packet.data != b"".join(encode_option(*option) for option in self._requested):
                return  # "must exactly match" (RFC 1661 §5.2), else discarded.
            for kind, value in self._requested:
                if (own := self._option(kind)) is not None:
                    own.acked(value)
            self._request_identifier, self._requested = None, ()
            self._refusals = 0
            self._handle(Event.ACK, now)
            return
        if self._refusals_exhausted:
            return  # It would go on for ever, at the speed of the link; now the Restart timer runs out instead.
        values = self._options_in(packet)
        self._request_identifier = None
        self._refusals += 1
        for kind, value in values:
            option = self._option(kind)
            if option is None:
                continue  # A Nak may ask for options that we do not have.
            if packet.code == Code.CONFIGURE_NAK:
                option.naked(value)
            else:
                option.rejected()
            if option.mandatory and option.failure is not None:
                self.failure = option.failure
        self._handle(Event.NAK_OR_REJECT, now)

    def _options_in(self, packet: Packet) -> list[tuple[int, bytes]]:
        """The options of a Configure packet in their order. Raises `MalformedPacket`, also for too many of them."""
        what = f"{self.protocol.name} {_NAMES[packet.code]}"
        options = list(islice(type_length_values(packet.data, what), MOST_OPTIONS + 1))
        if len(options) > MOST_OPTIONS:
            raise MalformedPacket(f"{what}: more than {MOST_OPTIONS} options")
        return options

    def _receive_code_reject(self, packet: Packet, now: float) -> None:
        if not packet.data:
            raise MalformedPacket(f"{self.protocol.name} Code-Reject without the rejected packet")
        # Only the codes without which there is no negotiation are catastrophic (RFC 1661 §4.3, RXJ).
        code = packet.data[0]
        self.codes_rejected |= {code}
        if Code.CONFIGURE_REQUEST <= code <= Code.CODE_REJECT:
            self.failure = f"the peer does not know {self.protocol.name} code {code} (Code-Reject)"
            self._handle(Event.REJECT_CATASTROPHIC, now)
        else:
            self._handle(Event.REJECT_PERMITTED, now)

    def _option(self, kind: int) -> Option | None:
        return next((option for option in self.options if option.kind == kind), None)

    @property
    def _refusals_exhausted(self) -> bool:
        return self._refusals >= self._settings.max_configure

    # The automaton's actions.

    def _handle(self, event: Event, now: float) -> None:
        self._now = now
        for action in self._automaton.handle(event):
            if action in _LAYER_EVENTS:
                self.layer_events += (_LAYER_EVENTS[action],)
            else:
                self._act(action, event)
        if self.state not in TIMED_STATES:
            self.deadline = math.inf

    def _act(self, action: Action, event: Event) -> None:
        match action:
            case Action.INITIALIZE_RESTART_COUNT:
                terminating = self.state in (State.CLOSING, State.STOPPING)
                self._restarts_left = self._settings.max_terminate if terminating else self._settings.max_configure
            case Action.ZERO_RESTART_COUNT:
                # The peer is leaving; wait one interval for its last packets, then finish (RFC 1661 §4.4, zrc).
                self._restarts_left = 0
                self.deadline = self._now + self._settings.restart_interval
            case Action.SEND_CONFIGURE_REQUEST:
                if event in (Event.UP, Event.OPEN, Event.REQUEST_GOOD, Event.REQUEST_BAD):
                    for option in self.options:
                        option.restart()
                self._compose_request(fresh=event is not Event.TIMEOUT_RETRY)
                self._send_request()
                self._restarts_left -= 1
            case Action.SEND_TERMINATE_REQUEST:
                self.send(Packet(Code.TERMINATE_REQUEST, self.next_identifier()))
                self._restarts_left -= 1
                self.deadline = self._now + self._settings.restart_interval
            case Action.SEND_TERMINATE_ACK:
                if event is not Event.TERMINATE_REQUEST:
                    self._answer = Packet(Code.TERMINATE_ACK, self.next_identifier())
                self._send_answer()
            case _:  # sca, scn, scj, ser: the answer was composed when the packet was judged.
                self._send_answer()

    def _compose_request(self, fresh: bool) -> None:
        values = ((option.kind, option.request()) for option in self.options)
        requested = tuple((kind, value) for kind, value in values if value is not None)
        if fresh or requested != self._requested:
            self._request_identifier = None
        self._requested = requested

    def _send_request(self) -> None:
        if self._request_identifier is None:  # answered, and wanted again all the same: a new question
            self._request_identifier = self.next_identifier()
        data = b"".join(encode_option(*option) for option in self._requested)
        self.send(Packet(Code.CONFIGURE_REQUEST, self._request_identifier, data))
        self.deadline = self._now + self.restart_delay()
        self.request_sent()

    def _send_answer(self) -> None:
        if self._answer is not None:
            self.send(self._answer)
            self._answer = None


def encode_option(kind: int, value: bytes) -> bytes:
    """One option on the wire: type, length of everything, value (RFC 1661 §6)."""
    return bytes((kind, len(value) + 2)) + value
