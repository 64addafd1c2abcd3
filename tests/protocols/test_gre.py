"""Enhanced GRE: headers to the octet, and every order in which packets can come."""

import random
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poptrio.datapath.base import PathCounters
from poptrio.protocols.gre import ACKNOWLEDGE_AFTER, MAX_JUMP, GreChannel, GreSettings, call_id_of

CALL_ID = 0x1234
PEER_CALL_ID = 0xABCD
LAST = 0xFFFFFFFF


def data(number: int, payload: bytes = b"", *, ack: int | None = None) -> bytes:
    flags = b"\x30\x01" if ack is None else b"\x30\x81"
    payload = payload or b"%d" % number
    head = flags + b"\x88\x0b" + len(payload).to_bytes(2, "big") + CALL_ID.to_bytes(2, "big")
    numbers = number.to_bytes(4, "big") + (b"" if ack is None else ack.to_bytes(4, "big"))
    return head + numbers + payload


def pure_ack(number: int) -> bytes:
    return bytes.fromhex("2081880b 0000 1234") + number.to_bytes(4, "big")


class Receiver:
    """A channel whose payloads are the sequence numbers themselves."""

    def __init__(self, settings: GreSettings | None = None) -> None:
        self.counters = PathCounters()
        self.channel = GreChannel(PEER_CALL_ID, self.counters, settings or GreSettings())

    def take(self, number: int, now: float = 0.0) -> list[int]:
        return [int(payload) for payload in self.channel.receive_packet(data(number), 0, now)]

    def timeout(self, now: float) -> list[int]:
        return [int(payload) for payload in self.channel.handle_timeout(now)]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


# Headers


def test_data_packet_has_key_and_sequence_number():
    channel = GreChannel(PEER_CALL_ID, PathCounters(), GreSettings())
    assert channel.data_packet(b"\xff\x03\xc0\x21") == bytes.fromhex("3001880b 0004 abcd 00000000 ff03c021")
    assert channel.data_packet(b"\x21") == bytes.fromhex("3001880b 0001 abcd 00000001 21")


def test_acknowledgement_travels_with_the_next_data_packet_only():
    channel = GreChannel(PEER_CALL_ID, PathCounters(), GreSettings())
    channel.receive_packet(data(0), 0, 0.0)
    channel.receive_packet(data(1), 0, 0.0)
    assert channel.data_packet(b"x") == bytes.fromhex("3081880b 0001 abcd 00000000 00000001 78")
    assert channel.data_packet(b"y") == bytes.fromhex("3001880b 0001 abcd 00000001 79")
    assert channel.next_deadline() == inf


def test_pure_acknowledgement_after_the_delay():
    counters = PathCounters()
    channel = GreChannel(PEER_CALL_ID, counters, GreSettings(ack_delay=0.1))
    channel.receive_packet(data(0), 0, 5.0)
    channel.receive_packet(data(1), 0, 5.05)
    assert channel.next_deadline() == 5.1
    assert channel.acknowledgement_to_send(5.09) is None
    assert channel.acknowledgement_to_send(5.1) == bytes.fromhex("2081880b 0000 abcd 00000001")
    assert channel.acknowledgement_to_send(9.0) is None
    assert counters.gre_sent == 1


def test_acknowledgement_is_due_at_once_after_many_packets(receiver):
    for number in range(ACKNOWLEDGE_AFTER - 1):
        receiver.take(number, 5.0)
    assert receiver.channel.next_deadline() > 5.0
    receiver.take(ACKNOWLEDGE_AFTER - 1, 5.0)
    assert receiver.channel.next_deadline() == 5.0
    assert receiver.channel.acknowledgement_to_send(5.0) == bytes.fromhex("2081880b 0000 abcd 0000000f")


def test_acknowledgement_names_the_highest_number_even_across_a_gap(receiver):
    receiver.take(0)
    receiver.take(7)
    receiver.take(5)
    assert receiver.channel.acknowledgement_to_send(1.0) == bytes.fromhex("2081880b 0000 abcd 00000007")


def test_header_is_read_where_the_caller_says_and_padding_is_cut(receiver):
    packet = b"outer" + data(0, b"payload", ack=0) + b"padding"
    assert receiver.channel.receive_packet(packet, 5, 0.0) == (b"payload",)
    assert call_id_of(packet, 5) == CALL_ID


@pytest.mark.parametrize("packet", [data(0, b"payload"), data(0, b"payload", ack=0), pure_ack(0)])
def test_every_truncation_is_malformed(packet):
    for size in range(len(packet)):
        receiver = Receiver()
        assert receiver.channel.receive_packet(packet[:size], 0, 0.0) == ()
        assert receiver.counters.malformed == 1


@pytest.mark.parametrize(
    ("what", "header"),
    [
        ("checksum present", "b001880b"),
        ("routing present", "7001880b"),
        ("no key", "1001880b"),
        ("strict source route", "3801880b"),
        ("recursion", "3101880b"),
        ("flags", "3009880b"),
        ("version 0", "3000880b"),
        ("version 2", "3002880b"),
        ("IPv4 in GRE", "30010800"),
        ("neither data nor acknowledgement", "2001880b"),
    ],
)
def test_what_must_be_zero_is_checked(receiver, what, header):
    packet = bytes.fromhex(header) + data(0)[4:]
    assert receiver.channel.receive_packet(packet, 0, 0.0) == ()
    assert receiver.counters.malformed == 1, what
    assert receiver.take(0) == [0]


def test_call_id_of_something_too_short():
    assert call_id_of(data(0)[:7], 0) == -1
    assert call_id_of(b"", 20) == -1


# The order of arrival


@pytest.mark.parametrize("first", [0, 1])
def test_first_number_may_be_0_or_1(receiver, first):
    assert receiver.take(first) == [first]
    assert receiver.take(first + 1) == [first + 1]
    assert receiver.counters.lost == 0


def test_0_that_comes_after_1_is_late(receiver):
    receiver.take(1)
    assert receiver.take(0) == []
    assert (receiver.counters.late, receiver.counters.duplicate) == (1, 0)


@pytest.mark.parametrize("number", [0, 1])
def test_an_established_call_is_never_reset(receiver, number):
    for established in range(100):
        receiver.take(established)
    assert receiver.take(number) == []
    assert receiver.take(number + 1) == []
    assert receiver.take(100) == [100]


def test_first_packets_lost_cost_one_deadline(receiver):
    assert receiver.take(3, 5.0) == []
    assert receiver.timeout(5.03) == [3]
    assert receiver.take(4, 5.03) == [4]
    assert receiver.counters.lost == 2


def test_overtaken_packet_is_put_back_in_order(receiver):
    receiver.take(0)
    assert receiver.take(2) == []
    assert receiver.take(3) == []
    assert receiver.take(1) == [1, 2, 3]
    assert receiver.counters.reordered == 1
    assert receiver.counters.lost == 0


def test_two_gaps_close_one_after_the_other(receiver):
    receiver.take(0)
    for number in (2, 4, 5):
        assert receiver.take(number) == []
    assert receiver.take(1) == [1, 2]
    assert receiver.take(3) == [3, 4, 5]
    assert receiver.counters.reordered == 2


def test_lost_packet_is_given_up_at_the_deadline(receiver):
    receiver.take(0, 5.0)
    receiver.take(2, 5.0)
    assert receiver.channel.next_deadline() == 5.0 + 0.03
    assert receiver.timeout(5.02) == []
    assert receiver.timeout(5.03) == [2]
    assert receiver.counters.lost == 1
    assert receiver.take(3, 5.04) == [3]


def test_each_packet_waits_no_longer_than_its_own_deadline(receiver):
    receiver.take(0, 5.0)
    receiver.take(2, 5.0)
    receiver.take(6, 5.0)
    receiver.take(4, 5.02)
    receiver.take(8, 5.02)
    assert receiver.timeout(5.03) == [2, 4, 6]
    assert receiver.channel.next_deadline() == 5.02 + 0.03
    assert receiver.timeout(5.05) == [8]
    assert receiver.counters.lost == 4


def test_late_packet_is_dropped_and_told_from_a_duplicate(receiver):
    receiver.take(0, 5.0)
    receiver.take(2, 5.0)
    receiver.timeout(6.0)
    assert receiver.take(1, 6.0) == []
    assert receiver.take(2, 6.0) == []
    assert (receiver.counters.late, receiver.counters.duplicate) == (1, 1)


def test_duplicate_of_a_waiting_packet(receiver):
    receiver.take(0)
    receiver.take(2)
    assert receiver.take(2) == []
    assert receiver.counters.duplicate == 1
    assert receiver.take(1) == [1, 2]


def test_a_full_window_gives_up_the_oldest_gap():
    receiver = Receiver(GreSettings(reorder_packets=4))
    receiver.take(0)
    for number in (2, 3, 4, 5):
        assert receiver.take(number) == []
    assert receiver.take(6) == [2, 3, 4, 5, 6]
    assert receiver.counters.lost == 1


def test_without_a_window_every_gap_is_given_up_at_once():
    receiver = Receiver(GreSettings(reorder_packets=0))
    receiver.take(0)
    assert receiver.take(5) == [5]
    assert receiver.take(3) == []
    assert (receiver.counters.lost, receiver.counters.late) == (4, 1)


def test_a_burst_of_losses_is_passed_over(receiver):
    receiver.take(0, 5.0)
    assert receiver.take(1000, 5.0) == []
    assert receiver.counters.lost == 1000 - 1 - 64
    assert receiver.take(999, 5.0) == []
    assert receiver.timeout(5.03) == [999, 1000]
    assert receiver.counters.lost == 998


def test_numbers_wrap(receiver):
    channel = receiver.channel
    approach(receiver, LAST - 1)
    assert receiver.take(LAST) == [LAST]
    assert receiver.take(1) == []
    assert receiver.take(0) == [0, 1]
    assert receiver.take(LAST) == []
    assert (receiver.counters.duplicate, receiver.counters.reordered) == (1, 1)
    assert channel.acknowledgement_to_send(1.0) == bytes.fromhex("2081880b 0000 abcd 00000001")


def test_a_gap_across_the_wrap_is_given_up(receiver):
    approach(receiver, LAST - 1)
    lost = receiver.counters.lost
    assert receiver.take(2, 5.0) == []
    assert receiver.timeout(5.03) == [2]
    assert receiver.counters.lost - lost == 3
    assert receiver.take(LAST) == []
    assert receiver.take(1) == []
    assert receiver.counters.late == 2


def approach(receiver: Receiver, number: int) -> None:
    """Bring the channel to ``number`` in believed jumps, each below half of the number space."""
    receiver.take(0)
    for goal in (0x60000000, 0xC0000000, number - 1):
        receiver.take(goal)
        assert receiver.take(goal + 1) == [goal + 1]


def test_a_stray_number_far_ahead_is_not_believed(receiver):
    receiver.take(0)
    far = MAX_JUMP + 2
    assert receiver.take(far) == []
    assert receiver.take(1) == [1]
    assert receiver.take(far + 1) == []
    assert receiver.take(2) == [2]
    assert receiver.counters.lost == 0


def test_a_jump_is_believed_when_the_next_packet_goes_on(receiver):
    receiver.take(0)
    receiver.take(2)
    assert receiver.take(100_000) == []
    assert receiver.take(100_001) == [2, 100_001]
    assert receiver.take(100_002) == [100_002]
    assert receiver.counters.lost == 1 + 100_001 - 3


def test_a_stray_first_packet_does_not_make_0_late(receiver):
    assert receiver.take(1_000_000) == []
    assert receiver.take(0) == [0]
    assert receiver.take(1) == [1]


@pytest.mark.parametrize("seed", range(10))
def test_what_waits_is_bounded(seed):
    receiver = Receiver(GreSettings(reorder_packets=16))
    receiver.take(0)
    for number in random.Random(seed).sample(range(2, 3000), 1000):
        receiver.take(number)
    assert len(receiver.timeout(inf)) <= 16


# Acknowledgements of the peer


def test_peer_acknowledges_what_was_sent(receiver):
    for _ in range(5):
        receiver.channel.data_packet(b"x")
    for number, total in [(1, 2), (1, 2), (0, 2), (4, 5), (5, 5), (LAST, 5)]:
        assert receiver.channel.receive_packet(pure_ack(number), 0, 0.0) == ()
        assert receiver.counters.acknowledged == total
    assert receiver.channel.next_deadline() == inf


def test_piggybacked_acknowledgement_counts_too(receiver):
    receiver.channel.data_packet(b"x")
    receiver.channel.receive_packet(data(0, ack=0), 0, 0.0)
    assert receiver.counters.acknowledged == 1


# Whatever comes


@given(st.binary(max_size=40), st.integers(0, 45))
def test_no_octets_make_it_raise(octets, start):
    receiver = Receiver()
    receiver.channel.receive_packet(octets, start, 0.0)
    call_id_of(octets, start)


@given(
    st.integers(0, 1),
    st.lists(st.tuples(st.integers(-80, 80), st.integers(0, 40)), max_size=200),
    st.sampled_from([0, 1, 8, 64]),
)
def test_whatever_the_order_payloads_come_out_rising_and_once(first, steps, window):
    receiver = Receiver(GreSettings(reorder_packets=window))
    out = receiver.take(first)
    sent = {first}
    now, front = 0.0, first
    for step, milliseconds in steps:
        now += milliseconds / 1000
        number = max(first, front + step)
        front = max(front, number)
        sent.add(number)
        out += receiver.take(number, now)
        out += receiver.timeout(now)
    out += receiver.timeout(now + 1)
    assert out == sorted(set(out))
    counters = receiver.counters
    assert len(out) + counters.lost == front + 1 - first
    assert len(out) + counters.late + counters.duplicate == counters.gre_received
    assert set(out) <= sent
    assert len(sent) - len(out) <= counters.late
