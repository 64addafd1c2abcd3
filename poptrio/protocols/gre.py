"""Enhanced GRE (RFC 2637 §4): header, sequence and acknowledgement numbers of one call, reordering. Hot path.

A data packet has a sequence number, which grows by one per packet and wraps at 2³². A packet that comes before its
predecessors waits for them, because PPP must not see packets out of order (§4.3) and MPPE loses its keys over it. It
waits for ``reorder_timeout`` and at most ``reorder_packets`` wait; then what is missing is given up as lost, and if it
does come later, it is dropped. So is what comes twice.

The first number is 0 by the RFC and 1 with Linux and pptp-linux. What arrives first need not be either, because packets
get lost before it; but once a call has begun, 0 or 1 is a number like any other, or anybody could reset the call.

A number more than `MAX_JUMP` ahead is believed only when the next packet goes on from there: one stray packet cannot
put all that follow into the past. Against somebody who knows the Call ID and forges the peer's address twice in a row
it does not help; nothing in GRE does.

The window of the sender (§4.2) is not obeyed: no implementation in use retransmits or paces by it, some acknowledge
only half a second late, and a call that stalls for an acknowledgement lost on the way stalls for nothing. We do
acknowledge, for peers that obey theirs: with the next data packet, alone after ``ack_delay``, or at once when
`ACKNOWLEDGE_AFTER` packets are waiting for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from struct import Struct
from typing import Protocol

MAX_JUMP = 4096
"""How far ahead of its predecessor a sequence number is believed without a second packet."""

ACKNOWLEDGE_AFTER = 16
"""After how many packets an acknowledgement waits no longer: well below the window of 64 that most peers assume."""

SEQUENCE_MASK = 0xFFFFFFFF
"""Sequence numbers wrap at 2³²."""

# The three headers there are: K always, S with a payload, A with an acknowledgement, version 1, protocol 0x880b (§4.1).
# Anything else in these four octets (C, R, s, Recur, Flags, other versions) "must be zero" or is not PPTP.
DATA = b"\x30\x01\x88\x0b"
DATA_AND_ACK = b"\x30\x81\x88\x0b"
_ACK = b"\x20\x81\x88\x0b"

# Those four octets, payload length, Call ID, and the first of the numbers that follow.
_HEADER = Struct(">4sHHI")
_HEADER_AND_ACK = Struct(">4sHHII")
_NUMBER = Struct(">I")

_HALF = 0x80000000

# How many gaps that were given up are remembered, to tell a late packet from a repeated one.
_GAPS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class GreSettings:
    """How patient a channel is; times in seconds.

    30 ms is longer than a full packet takes on an uplink of 512 kbit/s, where small packets overtake it, and short
    against the 200 ms after which TCP at the earliest sends again.
    """

    reorder_packets: int = 64
    reorder_timeout: float = 0.03
    ack_delay: float = 0.1


class GreCounters(Protocol):
    """What a channel counts, in an object of its owner.

    ``lost`` are numbers that were given up, ``late`` those of them that came after all; ``acknowledged`` are our data
    packets that the peer says have arrived or been passed by later ones.
    """

    gre_received: int
    gre_sent: int
    acknowledged: int
    lost: int
    late: int
    duplicate: int
    reordered: int
    malformed: int


class GreChannel:
    """One call's enhanced GRE, both directions. ``now`` is in seconds, on any clock that does not go back.

    ``ack_deadline`` is when an acknowledgement must have been sent; infinity when none is owed.
    """

    __slots__ = (
        "_ack_delay",
        "_acknowledged",
        "_call_id",
        "_counters",
        "_expected",
        "_gaps",
        "_highest",
        "_next",
        "_reorder_packets",
        "_reorder_timeout",
        "_suspect",
        "_unacknowledged",
        "_waiting",
        "ack_deadline",
    )

    def __init__(self, peer_call_id: int, counters: GreCounters, settings: GreSettings) -> None:
        self._call_id = peer_call_id
        self._counters = counters
        self._reorder_packets = settings.reorder_packets
        self._reorder_timeout = settings.reorder_timeout
        self._ack_delay = settings.ack_delay
        self._next = 0
        self._acknowledged = (
            SEQUENCE_MASK  # the highest of our numbers that the peer has acknowledged; here, the one before 0
        )
        self._expected = 0
        self._highest = -1  # the highest number that has arrived; -1: none yet
        self._waiting: dict[int, tuple[bytes, float]] = {}  # payload and arrival by number, in order of arrival
        self._gaps: tuple[tuple[int, int], ...] = ()  # first number and length; the oldest first
        self._suspect = (-1, -1)  # the number that would confirm a jump, and what was expected before it
        self._unacknowledged = 0
        self.ack_deadline = inf

    def receive_packet(self, packet: bytes, start: int, now: float) -> Sequence[bytes]:
        """The payloads that are due now that ``packet`` has come, in order; its GRE header begins at ``start``.

        Never raises: what is no packet of enhanced GRE is counted as malformed. The caller has looked up the call by
        `call_id_of`.
        """
        counters = self._counters
        counters.gre_received += 1
        size = len(packet)
        if size < start + 12:
            counters.malformed += 1
            return ()
        kind, length, _, number = _HEADER.unpack_from(packet, start)
        if kind == DATA_AND_ACK and size >= start + 16:
            begin = start + 16
            self._acknowledgement_arrived(_NUMBER.unpack_from(packet, start + 12)[0])
        elif kind == DATA:
            begin = start + 12
        elif kind == _ACK:
            self._acknowledgement_arrived(number)
            return ()
        else:
            counters.malformed += 1
            return ()
        end = begin + length
        if end > size:
            counters.malformed += 1
            return ()
        payload = packet[begin:end]
        if number != self._expected or self._waiting:
            return self._out_of_order(number, payload, now)
        self._expected = (number + 1) & SEQUENCE_MASK
        self._highest = number
        self._owe_acknowledgement(now)
        return (payload,)

    def data_packet(self, payload: bytes, prefix: bytes = b"") -> bytes:
        """The next packet, with ``prefix`` and ``payload`` for the peer; acknowledges what has come if that is due."""
        self._counters.gre_sent += 1
        number = self._next
        self._next = (number + 1) & SEQUENCE_MASK
        length = len(prefix) + len(payload)
        if self._unacknowledged:
            self._unacknowledged = 0
            self.ack_deadline = inf
            header = _HEADER_AND_ACK.pack(DATA_AND_ACK, length, self._call_id, number, self._highest)
        else:
            header = _HEADER.pack(DATA, length, self._call_id, number)
        return header + prefix + payload

    def next_deadline(self) -> float:
        """When `handle_timeout` is due; infinity when nothing is waiting."""
        if self._waiting:
            return min(self.ack_deadline, self._oldest_arrival() + self._reorder_timeout)
        return self.ack_deadline

    def handle_timeout(self, now: float) -> Sequence[bytes]:
        """The payloads that have waited long enough for what is missing before them."""
        timeout = self._reorder_timeout
        waiting = self._waiting
        if not waiting or self._oldest_arrival() + timeout > now:
            return ()
        expected = self._expected
        furthest = max(
            (n - expected) & SEQUENCE_MASK for n, (_, arrival) in waiting.items() if arrival + timeout <= now
        )
        return self._advance(furthest)

    def acknowledgement_to_send(self, now: float) -> bytes | None:
        """The packet that only acknowledges, if one is due by ``now``."""
        if self.ack_deadline > now:
            return None
        self._counters.gre_sent += 1
        self._unacknowledged = 0
        self.ack_deadline = inf
        return _HEADER.pack(_ACK, 0, self._call_id, self._highest)

    def _owe_acknowledgement(self, now: float) -> None:
        owed = self._unacknowledged + 1
        self._unacknowledged = owed
        if owed == 1:
            self.ack_deadline = now + self._ack_delay
        elif owed == ACKNOWLEDGE_AFTER:
            self.ack_deadline = now

    def _acknowledgement_arrived(self, number: int) -> None:
        """The peer has ``number``; one that is older than the last, or was never sent, changes nothing."""
        news = (number - self._acknowledged) & SEQUENCE_MASK
        if news <= (self._next - 1 - self._acknowledged) & SEQUENCE_MASK:
            self._acknowledged = number
            self._counters.acknowledged += news

    def _out_of_order(self, number: int, payload: bytes, now: float) -> Sequence[bytes]:
        """Everything but the next number with nobody waiting."""
        counters = self._counters
        if self._highest < 0 < number <= MAX_JUMP:
            # The peer counts from 1, or at least nobody waits for a 0 that may not exist.
            self._expected = 1
            self._remember_gap(0, 1)
        distance = (number - self._expected) & SEQUENCE_MASK
        if distance >= _HALF:
            if any((number - first) & SEQUENCE_MASK < length for first, length in self._gaps):
                counters.late += 1
            else:
                counters.duplicate += 1
            return ()
        if number in self._waiting:
            counters.duplicate += 1
            return ()
        if distance > MAX_JUMP:
            return self._jump(number, payload, distance, now)
        self._owe_acknowledgement(now)
        self._waiting[number] = (payload, now)
        if self._highest >= 0 and (number - self._highest) & SEQUENCE_MASK >= _HALF:
            counters.reordered += 1
        else:
            self._highest = number
        return self._advance(max(0, distance - self._reorder_packets))

    def _jump(self, number: int, payload: bytes, distance: int, now: float) -> Sequence[bytes]:
        """A number too far ahead: dropped, and believed if the next packet is its successor."""
        if self._suspect != (number, self._expected):
            self._suspect = ((number + 1) & SEQUENCE_MASK, self._expected)
            self._counters.malformed += 1
            return ()
        self._owe_acknowledgement(now)
        self._waiting[number] = (payload, now)
        self._highest = number
        return self._advance(distance)

    def _advance(self, limit: int) -> Sequence[bytes]:
        """Give up the missing ones of the next ``limit`` numbers; return what is due then, in order.

        Somebody waits behind them, so that the gaps end where one who waits begins.
        """
        waiting = self._waiting
        base = self._expected
        reached = 0  # as a distance from base, like all numbers here
        due = []
        for distance in sorted((number - base) & SEQUENCE_MASK for number in waiting):
            if distance > reached and limit > reached:
                gap_end = min(distance, limit)
                self._give_up(base + reached, gap_end - reached)
                reached = gap_end
            if distance > reached:
                break
            due.append(waiting.pop((base + distance) & SEQUENCE_MASK)[0])
            reached += 1
        self._expected = (base + reached) & SEQUENCE_MASK
        return due

    def _give_up(self, first: int, count: int) -> None:
        self._counters.lost += count
        self._remember_gap(first & SEQUENCE_MASK, count)

    def _remember_gap(self, first: int, count: int) -> None:
        self._gaps = (*self._gaps, (first, count))[-_GAPS:]

    def _oldest_arrival(self) -> float:
        return next(iter(self._waiting.values()))[1]


def call_id_of(packet: bytes, start: int) -> int:
    """The Call ID of a GRE packet whose header begins at ``start``; -1, which nobody has, if there is none."""
    if len(packet) < start + 8:
        return -1
    return packet[start + 6] << 8 | packet[start + 7]
