"""A control connection that is written down and read again, in the middle of messages."""

import itertools

import pytest

from poptrio.errors import DisconnectResult, LocalProtocolError
from poptrio.protocols.pptp import control_state, events, messages
from poptrio.protocols.pptp.control import ControlConnection, ControlSettings, Role

SETTINGS = ControlSettings(echo_interval=60.0, echo_timeout=60.0, call_timeout=30.0)


def connection(now: float) -> ControlConnection:
    return ControlConnection(Role.SERVER, SETTINGS, now, itertools.count(7))


def events_of(control):
    return list(iter(control.next_event, None))


def established(make_start_request, make_call_request):
    control = connection(0.0)
    control.receive_data(make_start_request().encode(), 1.0)
    control.receive_data(make_call_request(call_id=5).encode(), 2.0)
    _, request = events_of(control)
    control.accept_call(request, 1000, 2.0)
    control.data_to_send()
    return control


@pytest.fixture
def control(make_start_request, make_call_request):
    return established(make_start_request, make_call_request)


def moved(control, now, later):
    """``control`` as it goes on in a process whose clock says ``later`` when it is ``now`` here."""
    other = connection(later)
    control_state.restore(other, control_state.state_of(control, now), later)
    return other


@pytest.mark.parametrize("cut", range(16))
def test_half_a_message_is_completed(control, cut):
    octets = messages.EchoRequest(identifier=77).encode()
    control.receive_data(octets[:cut], 3.0)
    other = moved(control, 3.0, 500.0)
    other.receive_data(octets[cut:], 500.0)
    assert other.data_to_send() == messages.EchoReply(identifier=77, result_code=1).encode()


def test_what_tcp_did_not_take_is_sent(control):
    control.receive_data(messages.EchoRequest(identifier=77).encode(), 3.0)
    whole = control.peek_data_to_send()
    control.data_sent(5)
    assert moved(control, 3.0, 500.0).data_to_send() == whole[5:]


def test_deadlines_are_as_far_away_as_before(control):
    assert moved(control, 30.0, 500.0).next_deadline() - 500.0 == control.next_deadline() - 30.0 == 32.0
    control.handle_timeout(62.0)
    control.data_to_send()
    other = moved(control, 70.0, 500.0)
    assert other.next_deadline() - 500.0 == 52.0
    other.receive_data(messages.EchoReply(identifier=7, result_code=1).encode(), 501.0)
    assert [type(event) for event in events_of(other)] == [events.RoundTrip]


def test_calls_are_known_by_both_their_ids(control):
    other = moved(control, 3.0, 500.0)
    other.disconnect_call(1000, DisconnectResult.ADMIN_SHUTDOWN, 501.0)
    assert other.data_to_send() == messages.CallDisconnectNotify(call_id=1000, result_code=3).encode()
    other = moved(control, 3.0, 500.0)
    other.receive_data(messages.CallClearRequest(call_id=5).encode(), 501.0)
    (ended,) = events_of(other)
    assert (type(ended), ended.call_id) == (events.CallEnded, 1000)
    assert other.next_deadline() == 501.0 + 30.0


def test_only_a_quiet_one_can_be_written_down(make_start_request, make_call_request):
    control = connection(0.0)
    with pytest.raises(LocalProtocolError):
        control_state.state_of(control, 0.0)
    control.receive_data(make_start_request().encode() + make_call_request().encode(), 1.0)
    assert len(events_of(control)) == 2
    assert not control_state.is_quiet(control)
