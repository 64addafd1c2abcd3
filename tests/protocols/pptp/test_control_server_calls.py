"""How our server takes calls: accepted, refused, ended by either side, several on one control connection."""

import pytest

from poptrio.errors import DisconnectResult, LocalProtocolError
from poptrio.protocols.pptp import events, messages
from poptrio.protocols.pptp.codes import ControlType, GeneralError, OutgoingCallResult
from poptrio.protocols.pptp.states import State

WAN_COUNTERS = (
    "crc_errors",
    "framing_errors",
    "hardware_overruns",
    "buffer_overruns",
    "time_out_errors",
    "alignment_errors",
)


def test_accepted(server):
    request = server.requested(0, phone_number="5551", subaddress="x", maximum_bps=64000)
    assert request == events.CallRequested(
        peer_call_id=0,
        serial_number=1,
        minimum_bps=300,
        maximum_bps=64000,
        window_size=64,
        phone_number="5551",
        subaddress="x",
    )
    assert server.said() == []
    assert server.connection.accept_call(request, 0x8001, server.now) is True
    assert server.said() == [
        messages.OutgoingCallReply(
            call_id=0x8001,
            peer_call_id=0,
            result_code=OutgoingCallResult.CONNECTED,
            connect_speed=64000,
            packet_window_size=64,
        )
    ]


@pytest.mark.parametrize("maximum_bps", [0, 100_000_000, 0xFFFFFFFF])
def test_no_speed_is_out_of_range(server, maximum_bps):
    server.connection.accept_call(server.requested(maximum_bps=maximum_bps), 1, server.now)
    assert [reply.connect_speed for reply in server.said()] == [100_000_000]


def test_refused(server):
    request = server.requested(6)
    server.connection.refuse_call(request, OutgoingCallResult.GENERAL_ERROR, GeneralError.NO_RESOURCE)
    assert server.said() == [messages.OutgoingCallReply(call_id=0, peer_call_id=6, result_code=2, error_code=4)]
    server.requested(6)  # the peer Call ID is free again


def test_answered_twice_is_our_bug(server):
    request, other = server.requested(6), server.requested(7)
    server.connection.accept_call(request, 0x8001, server.now)
    with pytest.raises(LocalProtocolError, match="peer Call ID 6 is answered already"):
        server.connection.refuse_call(request, OutgoingCallResult.BUSY)
    with pytest.raises(LocalProtocolError, match="Call ID 32769 is in use"):
        server.connection.accept_call(other, 0x8001, server.now)
    with pytest.raises(LocalProtocolError, match="Call ID 0 is in use or not"):
        server.connection.accept_call(other, 0, server.now)


def test_several_calls_in_one_segment(server, make_call_request):
    server.hear(make_call_request(0), make_call_request(1), make_call_request(2))
    first, second, third = server.events()
    assert server.connection.accept_call(third, 0x8003, server.now)
    assert server.connection.accept_call(first, 0x8001, server.now)
    server.connection.refuse_call(second, OutgoingCallResult.DO_NOT_ACCEPT)
    assert [(reply.call_id, reply.peer_call_id, reply.result_code) for reply in server.said()] == [
        (0x8003, 2, 1),
        (0x8001, 0, 1),
        (0, 1, 7),
    ]


def test_the_same_peer_call_id_twice_is_refused(server, make_call_request):
    request = server.requested(5)
    refusal = messages.OutgoingCallReply(call_id=0, peer_call_id=5, result_code=2, error_code=5)
    server.hear(make_call_request(5))  # waiting for its answer
    server.hear(messages.CallClearRequest(call_id=5), make_call_request(5))  # given up, waiting for its answer
    assert server.said() == [refusal, refusal]
    assert server.connection.accept_call(request, 1, server.now) is False
    server.connected(2, 5)
    server.hear(make_call_request(5))  # established
    assert server.said() == [refusal]
    assert refusal.error_code == GeneralError.BAD_CALL_ID
    assert server.events() == []


def test_call_clear_request_carries_the_clients_call_id(server):
    server.connected(0x8001, 6)
    server.connected(0x8002, 0x8001)
    server.hear(messages.CallClearRequest(call_id=6))
    assert server.said() == [messages.CallDisconnectNotify(call_id=0x8001, result_code=DisconnectResult.REQUEST)]
    assert server.events() == [
        events.CallEnded(
            call_id=0x8001,
            message=ControlType.CALL_CLEAR_REQUEST,
            result=DisconnectResult.REQUEST,
            error=GeneralError.NONE,
        )
    ]
    server.hear(messages.CallClearRequest(call_id=0x8001))
    assert [event.call_id for event in server.events()] == [0x8002]


def test_a_clients_call_disconnect_notify_ends_the_call(server):
    server.connected(0x8001, 6)
    server.hear(messages.CallDisconnectNotify(call_id=6, result_code=1, call_statistics="rx=1"))
    assert server.said() == []
    assert server.events() == [
        events.CallEnded(
            call_id=0x8001,
            message=ControlType.CALL_DISCONNECT_NOTIFY,
            result=DisconnectResult.LOST_CARRIER,
            error=GeneralError.NONE,
            text="rx=1",
        )
    ]


@pytest.mark.parametrize(
    "message",
    [
        messages.CallClearRequest(call_id=0),
        messages.CallDisconnectNotify(call_id=0, result_code=4),
    ],
    ids=["clear", "notify"],
)
def test_the_client_gives_up_before_the_answer(server, message):
    accepted, refused = server.requested(0), server.requested(1)
    server.hear(message, message, messages.CallClearRequest(call_id=1))
    assert (server.said(), server.events()) == ([], [])
    assert server.connection.accept_call(accepted, 0x8001, server.now) is False
    server.connection.refuse_call(refused, OutgoingCallResult.BUSY)
    assert server.said() == [
        messages.CallDisconnectNotify(call_id=0x8001, result_code=DisconnectResult.REQUEST),
        messages.OutgoingCallReply(call_id=0, peer_call_id=1, result_code=OutgoingCallResult.BUSY),
    ]
    server.connected(0x8001, 0)  # both Call IDs are free again


def test_we_disconnect_with_our_call_id(server):
    server.connected(0x8001, 6)
    server.connected(0x8002, 7)
    server.connection.disconnect_call(0x8001, DisconnectResult.ADMIN_SHUTDOWN, server.now, "idle-timeout")
    server.connection.disconnect_call(0x8002, DisconnectResult.GENERAL_ERROR, server.now)
    server.connection.disconnect_call(0x8002, DisconnectResult.GENERAL_ERROR, server.now)
    assert server.said() == [
        messages.CallDisconnectNotify(call_id=0x8001, result_code=3, call_statistics="idle-timeout"),
        messages.CallDisconnectNotify(call_id=0x8002, result_code=2, error_code=GeneralError.PAC_ERROR),
    ]
    assert server.events() == []


def test_unknown_call_ids_do_no_harm(server):
    server.connected(0x8001, 6)
    server.hear(
        messages.CallClearRequest(call_id=0x8001),
        messages.CallDisconnectNotify(call_id=0x8001, result_code=4),
        messages.SetLinkInfo(peer_call_id=6, send_accm=0, receive_accm=0),
        messages.WanErrorNotify(peer_call_id=6, **dict.fromkeys(WAN_COUNTERS, 1)),
    )
    assert (server.said(), server.events()) == ([], [])
    assert server.connection.state is State.ESTABLISHED


def test_verbs_after_the_end_do_nothing(server):
    server.connected(0x8001, 6)
    request, other = server.requested(7), server.requested(8)
    server.connection.receive_eof(server.now)
    server.forget()
    assert server.connection.accept_call(request, 0x8002, server.now) is False
    server.connection.refuse_call(other, OutgoingCallResult.BUSY)
    server.connection.disconnect_call(0x8001, DisconnectResult.LOST_CARRIER, server.now)
    assert (server.said(), server.events()) == ([], [])


def test_set_link_info_is_told(server):
    server.connected(0x8001, 6)
    server.hear(messages.SetLinkInfo(peer_call_id=0x8001, send_accm=0xFFFFFFFF, receive_accm=0xA0000))
    assert server.events() == [events.LinkInfoReceived(0x8001, 0xFFFFFFFF, 0xA0000)]
    assert server.said() == []


def test_wan_errors_are_told(server):
    counters = {name: number for number, name in enumerate(WAN_COUNTERS)}
    server.connected(0x8001, 6)
    server.hear(messages.WanErrorNotify(peer_call_id=0x8001, **counters))
    assert server.events() == [events.WanErrorsReceived(call_id=0x8001, **counters)]


def test_an_incoming_call_is_refused_honestly(server):
    server.connected(0x8001, 6)
    server.hear(messages.IncomingCallRequest(call_id=9, call_serial_number=1, bearer_type=1, physical_channel_id=0))
    assert server.said() == [messages.IncomingCallReply(call_id=0, peer_call_id=9, result_code=3)]
    assert server.events() == [events.CallNotAccepted(ControlType.INCOMING_CALL_REQUEST, 9)]
    assert server.connection.state is State.ESTABLISHED
