"""A channel that is written down and read again goes on as if nothing had happened."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from poptrio.datapath.base import PathCounters
from poptrio.protocols import gre_state
from poptrio.protocols.gre import GreChannel, GreSettings

PEER_CALL_ID = 0xABCD

# What happens next: a data packet with a number (and an acknowledgement), one of ours, or time passes.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), st.integers(0, 300) | st.integers(0xFFFFFF00, 0xFFFFFFFF), st.integers(0, 40)),
        st.tuples(st.just("send"), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 120), st.just(0)),
    ),
    max_size=40,
)


def data(number: int, acknowledged: int) -> bytes:
    head = b"\x30\x81\x88\x0b" + (4).to_bytes(2, "big") + b"\0\1"
    return head + number.to_bytes(4, "big") + acknowledged.to_bytes(4, "big") + b"%04d" % (number % 10000)


def happens(channel: GreChannel, steps, now: float):
    """What ``channel`` says to all steps, and the time afterwards."""
    said = []
    for kind, number, acknowledged in steps:
        if kind == "receive":
            said.append(list(channel.receive_packet(data(number, acknowledged), 0, now)))
        elif kind == "send":
            said.append(channel.data_packet(b"ours"))
        else:
            now += number / 1000
            said.append(list(channel.handle_timeout(now)))
            said.append(channel.acknowledgement_to_send(now))
        said.append(round(channel.next_deadline() - now, 6))
    return said, now


@given(STEPS, STEPS, st.floats(0, 1e6))
def test_going_on_is_as_never_having_stopped(before, after, other_clock):
    counters = PathCounters()
    channel = GreChannel(PEER_CALL_ID, counters, GreSettings())
    _, now = happens(channel, before, 0.0)
    other_counters = replace(counters)
    other = GreChannel(PEER_CALL_ID, other_counters, GreSettings())
    gre_state.restore(other, gre_state.state_of(channel, now), other_clock)
    assert happens(other, after, other_clock)[0] == happens(channel, after, now)[0]
    assert other_counters == counters
