"""Every deadline of a control connection, in virtual time: the start, the echo, the calls, the stop."""

import math
from dataclasses import replace

import pytest

from poptrio.errors import CauseOfEnd, DisconnectResult
from poptrio.protocols.pptp import events, messages
from poptrio.protocols.pptp.codes import OutgoingCallResult, StopReason
from poptrio.protocols.pptp.control import ControlSettings, Role
from poptrio.protocols.pptp.states import State


@pytest.fixture
def busy_server(server):
    """Our server with one call."""
    server.connected(1, 6)
    return server


class TestStart:
    def test_the_client_says_nothing(self, make_conversation):
        server = make_conversation(Role.SERVER)
        assert server.connection.next_deadline() == 110.0
        server.wait()
        assert server.said() == []
        assert server.events() == [
            events.ConnectionEnded(
                CauseOfEnd.CONTROL_CONNECTION_LOST, "the client did not start the control connection in time"
            )
        ]
        assert server.connection.next_deadline() == math.inf
        server.wait(10_000.0)
        assert server.events() == []

    def test_half_a_message_does_not_help(self, make_conversation, make_start_request):
        server = make_conversation(Role.SERVER)
        server.connection.receive_data(make_start_request().encode()[:-1], 109.0)
        server.wait(109.9)
        assert server.events() == []
        server.wait(110.0)
        assert server.end().cause is CauseOfEnd.CONTROL_CONNECTION_LOST

    def test_the_server_says_nothing(self, make_conversation):
        client = make_conversation(Role.CLIENT)
        assert client.connection.next_deadline() == math.inf  # nothing is asked yet
        client.wait(500.0)
        client.connection.start(500.0)
        assert client.connection.next_deadline() == 510.0
        client.wait()
        assert client.end().text == "the server did not start the control connection in time"


class TestEcho:
    def test_silence_is_answered_with_a_request(self, busy_server):
        assert busy_server.connection.next_deadline() == 160.0
        busy_server.wait(159.0)
        assert busy_server.said() == []
        busy_server.wait(160.0)
        assert busy_server.said() == [messages.EchoRequest(identifier=0x1000)]
        assert busy_server.connection.next_deadline() == 220.0

    def test_answered(self, busy_server):
        busy_server.wait()
        busy_server.forget()
        busy_server.now = 160.25
        busy_server.hear(messages.EchoReply(identifier=0x1000, result_code=1))
        assert busy_server.events() == [events.RoundTrip(0.25)]
        assert busy_server.connection.next_deadline() == 220.25
        busy_server.wait()
        assert busy_server.said() == [messages.EchoRequest(identifier=0x1001)]

    def test_any_message_postpones_it(self, busy_server):
        busy_server.now = 130.0
        busy_server.hear(messages.EchoRequest(identifier=1))
        assert busy_server.connection.next_deadline() == 190.0

    @pytest.mark.parametrize("other", [messages.EchoReply(identifier=5, result_code=1), None], ids=["stranger", "none"])
    def test_unanswered(self, busy_server, other):
        busy_server.wait()
        busy_server.forget()
        if other is not None:
            busy_server.hear(other)
        busy_server.wait()
        assert busy_server.said() == []
        assert busy_server.events() == [
            events.ConnectionEnded(
                CauseOfEnd.CONTROL_ECHO_TIMEOUT, "the client left an Echo-Request unanswered for 60 s"
            )
        ]

    def test_both_roles_ask(self, client):
        client.wait()
        assert client.said() == [messages.EchoRequest(identifier=0x1000)]


class TestServerCalls:
    def test_no_call_is_requested(self, server):
        assert server.connection.next_deadline() == 130.0
        server.wait()
        assert server.said() == [messages.StopControlConnectionRequest(reason=StopReason.NONE)]
        assert server.connection.state is State.WAIT_STOP_REPLY
        server.wait()
        assert server.now == 135.0
        assert server.events() == [
            events.ConnectionEnded(CauseOfEnd.CONTROL_CONNECTION_LOST, "the client requested no call within 30 s")
        ]

    def test_echoes_do_not_help(self, server):
        server.now = 129.0
        server.hear(messages.EchoRequest(identifier=1))
        assert server.connection.next_deadline() == 130.0

    def test_a_refused_call_does_not_help(self, server):
        server.now = 129.0
        request = server.requested(6)
        assert server.connection.next_deadline() == 189.0  # the answer is ours to give
        server.connection.refuse_call(request, OutgoingCallResult.BUSY)
        assert server.connection.next_deadline() == 130.0

    def test_a_call_that_is_given_up_waits_for_our_answer(self, server):
        request = server.requested(6)
        server.hear(messages.CallClearRequest(call_id=6))
        assert server.connection.next_deadline() == 160.0
        server.connection.accept_call(request, 1, 150.0)
        assert server.connection.next_deadline() == 160.0
        assert server.settings.echo_interval == 60.0

    def test_after_the_last_call(self, server):
        server.connected(1, 6)
        server.now = 150.0
        server.hear(messages.CallClearRequest(call_id=6))
        assert server.connection.next_deadline() == 180.0
        server.wait()
        server.wait()
        assert server.end().text == "the client requested no other call within 30 s after its last one ended"

    def test_after_we_ended_the_last_call(self, server):
        server.connected(1, 6)
        server.connection.disconnect_call(1, DisconnectResult.ADMIN_SHUTDOWN, 120.0)
        assert server.connection.next_deadline() == 150.0

    def test_another_call_in_time(self, server):
        server.connected(1, 6)
        server.connection.disconnect_call(1, DisconnectResult.ADMIN_SHUTDOWN, 120.0)
        server.now = 149.0
        server.connected(2, 6)
        assert server.connection.next_deadline() == 209.0

    def test_patience_is_a_setting(self, make_conversation, make_start_request):
        settings = replace(ControlSettings(), call_timeout=math.inf, echo_interval=math.inf)
        server = make_conversation(Role.SERVER, settings)
        server.hear(make_start_request())
        assert server.connection.next_deadline() == math.inf


class TestClientCalls:
    def test_no_reply_to_the_request(self, client):
        client.connection.request_call(5, 100.0)
        client.connection.request_call(6, 110.0)
        assert client.connection.next_deadline() == 130.0
        client.wait()
        assert client.said()[-1] == messages.StopControlConnectionRequest(reason=StopReason.NONE)
        client.wait()
        assert client.end() == events.ConnectionEnded(
            CauseOfEnd.CONTROL_CONNECTION_LOST,
            "the server did not answer within 30 s: call 5 is still in wait_reply",
        )

    def test_no_notify_after_the_clear(self, client):
        client.connection.request_call(5, 100.0)
        client.hear(messages.OutgoingCallReply(call_id=1, peer_call_id=5, result_code=1))
        assert client.connection.next_deadline() == 160.0  # only the echo
        client.connection.disconnect_call(5, DisconnectResult.REQUEST, 120.0)
        assert client.connection.next_deadline() == 150.0
        client.wait()
        client.wait()
        assert client.end().text == "the server did not answer within 30 s: call 5 is still in wait_disconnect"

    def test_without_calls_a_client_may_take_its_time(self, client):
        assert client.connection.next_deadline() == 160.0


class TestStop:
    def test_the_reply_does_not_come(self, busy_server):
        busy_server.connection.stop(StopReason.STOP_LOCAL_SHUTDOWN, 150.0)
        assert busy_server.connection.next_deadline() == 155.0
        busy_server.wait(154.0)
        assert busy_server.events() == []
        busy_server.wait(155.0)
        assert busy_server.end().cause is CauseOfEnd.SERVER_SHUTDOWN

    def test_an_echo_request_that_waits_is_forgotten(self, busy_server):
        busy_server.wait()
        busy_server.connection.stop(StopReason.NONE, 165.0)
        assert busy_server.connection.next_deadline() == 170.0
