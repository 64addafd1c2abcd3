"""What our client asks and how it takes every answer."""

import pytest

from poptrio.errors import CauseOfEnd, DisconnectResult, LocalProtocolError
from poptrio.protocols.pptp import events, messages
from poptrio.protocols.pptp.codes import ControlType, GeneralError, OutgoingCallResult, StartResult, StopReason
from poptrio.protocols.pptp.control import Role
from poptrio.protocols.pptp.states import State

CALL_CLEAR_REQUEST = messages.CallClearRequest(call_id=1)


def reply(call_id, peer_call_id, result=OutgoingCallResult.CONNECTED, error=GeneralError.NONE):
    return messages.OutgoingCallReply(
        call_id=call_id,
        peer_call_id=peer_call_id,
        result_code=result,
        error_code=error,
        connect_speed=64000,
        packet_window_size=3,
    )


def notify(call_id, result=DisconnectResult.REQUEST):
    return messages.CallDisconnectNotify(call_id=call_id, result_code=result, call_statistics="bye")


@pytest.fixture
def starting(make_conversation):
    """Our client, its Start-Control-Connection-Request sent."""
    conversation = make_conversation(Role.CLIENT)
    conversation.connection.start(conversation.now)
    return conversation


class TestStart:
    def test_request(self, starting):
        assert starting.said() == [
            messages.StartControlConnectionRequest(
                framing_capabilities=3,
                bearer_capabilities=3,
                maximum_channels=0,
                firmware_revision=7,
                host_name="vpn.example",
                vendor_name="poptrio",
            )
        ]
        assert starting.connection.state is State.WAIT_CTL_REPLY

    def test_accepted(self, starting, make_start_reply):
        starting.hear(make_start_reply())
        (started,) = starting.events()
        assert (started.host_name, started.vendor_name, started.firmware_revision) == ("local", "linux", 1)

    def test_refused(self, starting, make_start_reply):
        starting.forget()
        starting.hear(make_start_reply(result_code=StartResult.NOT_AUTHORIZED))
        assert starting.events() == [
            events.StartRefused(StartResult.NOT_AUTHORIZED, GeneralError.NONE),
            events.ConnectionEnded(
                CauseOfEnd.CONTROL_CONNECTION_LOST,
                "the server refused the control connection: not-authorized (4)",
            ),
        ]
        assert starting.said() == []

    def test_another_version(self, starting, make_start_reply):
        starting.forget()
        starting.hear(make_start_reply(protocol_version=0x0001))
        assert starting.said() == [messages.StopControlConnectionRequest(reason=StopReason.STOP_PROTOCOL)]
        assert starting.connection.state is State.WAIT_STOP_REPLY
        starting.hear(messages.StopControlConnectionReply(result_code=1))
        assert starting.end() == events.ConnectionEnded(
            CauseOfEnd.PROTOCOL_ERROR, "the server speaks version 0x0001 of PPTP"
        )

    def test_a_later_revision_will_do(self, starting, make_start_reply):
        starting.hear(make_start_reply(protocol_version=0x0105))
        assert starting.connection.state is State.ESTABLISHED

    @pytest.mark.parametrize(
        "message", [messages.EchoRequest(identifier=1), reply(1, 2), notify(1), CALL_CLEAR_REQUEST], ids=str
    )
    def test_anything_else_instead_of_the_reply(self, starting, message):
        starting.forget()
        starting.hear(message)
        assert starting.said() == []
        assert starting.end().text == f"the server sent {message.layout.name} in state wait_ctl_reply"

    def test_a_bad_message_instead_of_the_reply(self, starting):
        starting.forget()
        starting.connection.receive_data(bytes.fromhex("00100001 1a2b3c4d 00630000"), starting.now)
        assert starting.said() == []
        assert starting.end().text == "the server broke the protocol: Control Message Type 99 is not defined"

    def test_tcp_closed_instead_of_the_reply(self, starting):
        starting.connection.receive_eof(starting.now)
        assert starting.end().text == "the server closed TCP before the control connection was established"

    def test_a_message_before_our_request(self, make_conversation, make_start_reply):
        early = make_conversation(Role.CLIENT)
        early.hear(make_start_reply())
        assert early.end().text == "the server sent Start-Control-Connection-Reply in state idle"

    def test_start_twice_is_our_bug(self, starting):
        with pytest.raises(LocalProtocolError, match="local start as client in state wait_ctl_reply"):
            starting.connection.start(starting.now)

    def test_stopped_before_the_reply(self, starting):
        starting.forget()
        starting.connection.stop(StopReason.NONE, starting.now)
        assert starting.said() == []
        assert starting.end().cause is CauseOfEnd.CLIENT_HUNG_UP


class TestStop:
    def test_the_server_stops(self, client):
        client.hear(messages.StopControlConnectionRequest(reason=StopReason.STOP_LOCAL_SHUTDOWN))
        assert client.said() == [messages.StopControlConnectionReply(result_code=1)]
        assert client.end() == events.ConnectionEnded(
            CauseOfEnd.SERVER_SHUTDOWN, "the server stopped the control connection: stop-local-shutdown (3)"
        )

    def test_we_stop(self, client):
        client.connection.stop(StopReason.NONE, client.now)
        client.hear(messages.StopControlConnectionReply(result_code=1))
        assert client.said() == [messages.StopControlConnectionRequest(reason=StopReason.NONE)]
        assert client.end().cause is CauseOfEnd.CLIENT_HUNG_UP


class TestCalls:
    def test_request(self, client):
        client.connection.request_call(5, client.now, serial_number=3, phone_number="5551")
        assert client.said() == [
            messages.OutgoingCallRequest(
                call_id=5,
                call_serial_number=3,
                minimum_bps=300,
                maximum_bps=100_000_000,
                bearer_type=3,
                framing_type=3,
                packet_window_size=64,
                phone_number_length=4,
                phone_number="5551",
            )
        ]

    def test_connected(self, client):
        client.connection.request_call(5, client.now)
        client.hear(reply(0x8001, 5), reply(0x8009, 5))  # the second answers nothing
        assert client.events() == [
            events.CallConnected(call_id=5, peer_call_id=0x8001, connect_speed=64000, window_size=3)
        ]

    @pytest.mark.parametrize(
        ("result", "error"),
        [(OutgoingCallResult.BUSY, GeneralError.NONE), (OutgoingCallResult.GENERAL_ERROR, 4), (77, 88)],
    )
    def test_refused(self, client, result, error):
        client.connection.request_call(5, client.now)
        client.hear(reply(0, 5, result, error))
        assert client.events() == [events.CallRefused(5, result, error)]
        client.connection.request_call(5, client.now)  # free again

    def test_an_answer_to_nothing_is_discarded(self, client):
        client.hear(reply(1, 2))
        assert client.events() == []

    def test_the_same_call_id_for_two_calls_breaks_the_protocol(self, client):
        client.connection.request_call(5, client.now)
        client.connection.request_call(6, client.now)
        client.hear(reply(0x8001, 5))
        client.forget()
        client.hear(reply(0x8001, 6))
        assert client.said() == [messages.StopControlConnectionRequest(reason=StopReason.NONE)]
        assert client.end() == events.ConnectionEnded(
            CauseOfEnd.PROTOCOL_ERROR, "the server broke the protocol: the server gave Call ID 32769 to two calls"
        )

    def test_the_server_disconnects(self, client):
        client.connection.request_call(5, client.now)
        client.hear(reply(0x8001, 5))
        client.forget()
        client.hear(notify(0x8001, DisconnectResult.ADMIN_SHUTDOWN))
        assert client.events() == [
            events.CallEnded(
                call_id=5,
                message=ControlType.CALL_DISCONNECT_NOTIFY,
                result=DisconnectResult.ADMIN_SHUTDOWN,
                error=GeneralError.NONE,
                text="bye",
            )
        ]

    def test_a_server_that_sends_call_clear_request_is_understood(self, client):
        client.connection.request_call(5, client.now)
        client.hear(reply(0x8001, 5))
        client.forget()
        client.hear(messages.CallClearRequest(call_id=0x8001))
        assert client.said() == [messages.CallDisconnectNotify(call_id=5, result_code=DisconnectResult.REQUEST)]
        assert [event.call_id for event in client.events()] == [5]

    def test_we_clear_with_our_call_id_and_wait_for_the_notify(self, client):
        client.connection.request_call(5, client.now)
        client.hear(reply(0x8001, 5))
        client.forget()
        client.connection.disconnect_call(5, DisconnectResult.REQUEST, client.now)
        client.connection.disconnect_call(5, DisconnectResult.REQUEST, client.now)
        assert client.said() == [messages.CallClearRequest(call_id=5)]
        assert client.events() == []
        client.hear(notify(0x8001))
        assert [event.call_id for event in client.events()] == [5]
        client.connection.disconnect_call(5, DisconnectResult.REQUEST, client.now)
        assert client.said() == []

    def test_cleared_before_the_reply_which_says_connected(self, client):
        client.connection.request_call(5, client.now)
        client.connection.disconnect_call(5, DisconnectResult.REQUEST, client.now)
        client.hear(reply(0x8001, 5))
        assert client.events() == []
        client.hear(notify(0x8001))
        assert [event.message for event in client.events()] == [ControlType.CALL_DISCONNECT_NOTIFY]

    def test_cleared_before_the_reply_which_refuses(self, client):
        client.connection.request_call(5, client.now)
        client.connection.disconnect_call(5, DisconnectResult.REQUEST, client.now)
        client.hear(reply(0, 5, OutgoingCallResult.BUSY))
        assert client.events() == [
            events.CallEnded(call_id=5, message=ControlType.OUTGOING_CALL_REPLY, result=4, error=0)
        ]

    def test_cleared_before_the_reply_which_never_comes(self, client):
        """The notify carries a Call ID that we never saw (RFC 2637 §2.13)."""
        client.connection.request_call(4, client.now)
        client.connection.request_call(5, client.now)
        client.connection.disconnect_call(5, DisconnectResult.REQUEST, client.now)
        client.hear(notify(0x8001), notify(0x8002))
        assert [event.call_id for event in client.events()] == [5]

    def test_a_request_is_refused(self, client):
        request = messages.OutgoingCallRequest(
            call_id=9,
            call_serial_number=1,
            minimum_bps=1,
            maximum_bps=1,
            bearer_type=1,
            framing_type=1,
            packet_window_size=1,
        )
        client.hear(request)
        assert client.said() == [messages.OutgoingCallReply(call_id=0, peer_call_id=9, result_code=7)]
        assert client.events() == [events.CallNotAccepted(ControlType.OUTGOING_CALL_REQUEST, 9)]

    def test_requests_at_the_wrong_time(self, make_conversation, client):
        with pytest.raises(LocalProtocolError, match="request_call as client in state idle"):
            make_conversation(Role.CLIENT).connection.request_call(1, 0.0)
        client.connection.request_call(1, client.now)
        with pytest.raises(LocalProtocolError, match="Call ID 1 is in use"):
            client.connection.request_call(1, client.now)

    def test_a_request_after_the_end_does_nothing(self, client):
        client.connection.receive_eof(client.now)
        client.forget()
        client.connection.request_call(1, client.now)
        client.connection.disconnect_call(1, DisconnectResult.REQUEST, client.now)
        assert (client.said(), client.events()) == ([], [])


def test_our_two_roles_understand_each_other(make_conversation):
    client, server = make_conversation(Role.CLIENT), make_conversation(Role.SERVER)

    def exchange():
        server.connection.receive_data(client.connection.data_to_send(), 100.0)
        client.connection.receive_data(server.connection.data_to_send(), 100.0)
        return [type(event).__name__ for event in client.events()], server.events()

    client.connection.start(100.0)
    assert exchange()[0] == ["ConnectionStarted"]
    client.connection.request_call(5, 100.0)
    _, (request,) = exchange()
    assert server.connection.accept_call(request, 0x8001, 100.0)
    assert exchange() == (["CallConnected"], [])
    client.connection.disconnect_call(5, DisconnectResult.REQUEST, 100.0)
    heard, (ended,) = exchange()
    assert (heard, ended.call_id) == (["CallEnded"], 0x8001)
    server.connection.stop(StopReason.STOP_LOCAL_SHUTDOWN, 100.0)
    client.connection.receive_data(server.connection.data_to_send(), 100.0)
    heard, (ended,) = exchange()
    assert (heard, ended.cause) == (["ConnectionEnded"], CauseOfEnd.SERVER_SHUTDOWN)
