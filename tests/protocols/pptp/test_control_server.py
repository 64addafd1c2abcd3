"""What our server answers to everything that is about the control connection itself, in every state."""

import pytest

from poptrio.errors import CauseOfEnd, LocalProtocolError
from poptrio.protocols.pptp import events, messages
from poptrio.protocols.pptp.codes import GeneralError, StartResult, StopReason
from poptrio.protocols.pptp.control import ControlConnection, ControlSettings, Role
from poptrio.protocols.pptp.states import State

OUTGOING_CALL_REQUEST = messages.OutgoingCallRequest(
    call_id=6,
    call_serial_number=1,
    minimum_bps=300,
    maximum_bps=1000,
    bearer_type=3,
    framing_type=3,
    packet_window_size=64,
)
INCOMING_CALL_REQUEST = messages.IncomingCallRequest(
    call_id=9, call_serial_number=1, bearer_type=1, physical_channel_id=0
)
ILLEGAL_FOR_A_SERVER = [
    messages.OutgoingCallReply(call_id=1, peer_call_id=2, result_code=1),
    messages.IncomingCallReply(call_id=1, peer_call_id=2, result_code=1),
    messages.IncomingCallConnected(
        peer_call_id=1, connect_speed=1, packet_window_size=1, packet_transmit_delay=0, framing_type=1
    ),
    messages.StopControlConnectionReply(result_code=1),
]
ILLEGAL_BEFORE_THE_START = [
    *ILLEGAL_FOR_A_SERVER,
    messages.EchoReply(identifier=1, result_code=1),
    messages.CallClearRequest(call_id=0),
    messages.CallDisconnectNotify(call_id=0, result_code=4),
    messages.SetLinkInfo(peer_call_id=1, send_accm=0, receive_accm=0),
    messages.WanErrorNotify(
        peer_call_id=1,
        crc_errors=1,
        framing_errors=0,
        hardware_overruns=0,
        buffer_overruns=0,
        time_out_errors=0,
        alignment_errors=0,
    ),
]


def names(message):
    """Test ids."""
    return message.layout.name


@pytest.fixture
def waiting(make_conversation):
    """Our server, before the first message."""
    return make_conversation(Role.SERVER)


class TestStart:
    def test_accepted(self, waiting, make_start_request):
        waiting.hear(make_start_request())
        assert waiting.events() == [
            events.ConnectionStarted(
                protocol_version=0x0100,
                framing_capabilities=1,
                bearer_capabilities=1,
                maximum_channels=0,
                firmware_revision=2600,
                host_name="",
                vendor_name="Microsoft Windows NT",
            )
        ]
        assert waiting.said() == [
            messages.StartControlConnectionReply(
                result_code=StartResult.SUCCESSFUL,
                framing_capabilities=3,
                bearer_capabilities=3,
                maximum_channels=0,
                firmware_revision=7,
                host_name="vpn.example",
                vendor_name="poptrio",
            )
        ]
        assert waiting.connection.state is State.ESTABLISHED
        assert waiting.connection.role is Role.SERVER

    def test_a_later_version_gets_ours(self, waiting, make_start_request):
        waiting.hear(make_start_request(protocol_version=0x0200))
        (reply,) = waiting.said()
        assert (reply.result_code, reply.protocol_version) == (StartResult.SUCCESSFUL, 0x0100)

    def test_an_earlier_version_is_refused(self, waiting, make_start_request):
        waiting.hear(make_start_request(protocol_version=0x00FF))
        (reply,) = waiting.said()
        assert (reply.result_code, reply.protocol_version) == (StartResult.VERSION_NOT_SUPPORTED, 0x0100)
        assert waiting.end() == events.ConnectionEnded(
            CauseOfEnd.PROTOCOL_ERROR, "the client speaks version 0x00ff of PPTP"
        )

    def test_twice_is_an_error(self, server, make_start_request):
        server.hear(make_start_request())
        assert [reply.result_code for reply in server.said()] == [StartResult.COMMAND_CHANNEL_EXISTS]
        assert server.end().cause is CauseOfEnd.PROTOCOL_ERROR

    @pytest.mark.parametrize(
        ("request_", "reply"),
        [
            (messages.EchoRequest(identifier=5), messages.EchoReply(identifier=5, result_code=2, error_code=1)),
            (
                OUTGOING_CALL_REQUEST,
                messages.OutgoingCallReply(call_id=0, peer_call_id=6, result_code=2, error_code=1),
            ),
            (
                INCOMING_CALL_REQUEST,
                messages.IncomingCallReply(call_id=0, peer_call_id=9, result_code=2, error_code=1),
            ),
        ],
        ids=["Echo", "Outgoing-Call", "Incoming-Call"],
    )
    def test_requests_before_it_are_answered_not_connected(self, waiting, request_, reply):
        waiting.hear(request_)
        assert waiting.said() == [reply]
        assert reply.error_code == GeneralError.NOT_CONNECTED
        (end,) = waiting.events()
        assert end == events.ConnectionEnded(
            CauseOfEnd.PROTOCOL_ERROR, f"the client sent {request_.layout.name} in state idle"
        )

    @pytest.mark.parametrize("message", ILLEGAL_BEFORE_THE_START, ids=names)
    def test_anything_else_before_it_ends_the_connection(self, waiting, message):
        waiting.hear(message)
        assert waiting.said() == []
        assert waiting.end().text == f"the client sent {message.layout.name} in state idle"

    def test_start_replies_are_for_clients(self, waiting, server, make_start_reply):
        waiting.hear(make_start_reply())
        server.hear(make_start_reply(result_code=4))
        assert waiting.end().cause is server.end().cause is CauseOfEnd.PROTOCOL_ERROR


class TestStop:
    def test_the_client_hangs_up(self, server):
        server.connected(0x8001, 0)
        server.hear(messages.StopControlConnectionRequest(reason=StopReason.STOP_LOCAL_SHUTDOWN))
        assert server.said() == [messages.StopControlConnectionReply(result_code=1)]
        assert server.events() == [
            events.ConnectionEnded(
                CauseOfEnd.CLIENT_HUNG_UP, "the client stopped the control connection: stop-local-shutdown (3)"
            )
        ]

    def test_before_the_start(self, waiting):
        waiting.hear(messages.StopControlConnectionRequest(reason=99))
        assert waiting.said() == [messages.StopControlConnectionReply(result_code=1)]
        assert waiting.end().text == "the client stopped the control connection: 99"

    def test_ours_is_confirmed(self, server):
        server.connection.stop(StopReason.STOP_LOCAL_SHUTDOWN, server.now)
        server.connection.stop(StopReason.NONE, server.now)
        assert server.said() == [messages.StopControlConnectionRequest(reason=StopReason.STOP_LOCAL_SHUTDOWN)]
        assert server.events() == []
        server.hear(messages.StopControlConnectionReply(result_code=1))
        assert server.events() == [
            events.ConnectionEnded(CauseOfEnd.SERVER_SHUTDOWN, "we stopped the control connection: stop-local-shutdown")
        ]
        assert server.said() == []

    def test_ours_crosses_the_clients(self, server):
        server.connection.stop(StopReason.NONE, server.now, CauseOfEnd.ADMIN_RESET, "kicked")
        server.forget()
        server.hear(messages.StopControlConnectionRequest(reason=1))
        assert server.said() == [messages.StopControlConnectionReply(result_code=1)]
        assert server.events() == [events.ConnectionEnded(CauseOfEnd.ADMIN_RESET, "kicked")]

    def test_while_waiting_for_the_reply_only_echoes_are_answered(self, server, make_start_request):
        server.connection.stop(StopReason.NONE, server.now)
        server.forget()
        server.hear(
            OUTGOING_CALL_REQUEST, make_start_request(), INCOMING_CALL_REQUEST, messages.EchoRequest(identifier=3)
        )
        assert server.said() == [messages.EchoReply(identifier=3, result_code=1)]
        assert server.events() == []

    @pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n", bytes.fromhex("00110001 1a2b3c4d 00040000 00")])
    def test_nonsense_instead_of_the_reply(self, server, octets):
        server.connection.stop(StopReason.NONE, server.now)
        server.connection.receive_data(octets, server.now)
        assert server.end().cause is CauseOfEnd.SERVER_SHUTDOWN

    def test_before_the_start_there_is_nothing_to_say(self, waiting):
        waiting.connection.stop(StopReason.NONE, waiting.now)
        assert waiting.said() == []
        assert waiting.end().cause is CauseOfEnd.SERVER_SHUTDOWN


class TestTcp:
    def test_closed_without_goodbye(self, server):
        server.connection.receive_eof(server.now)
        server.connection.receive_eof(server.now)
        assert server.events() == [
            events.ConnectionEnded(CauseOfEnd.CONTROL_CONNECTION_LOST, "the client closed TCP without a goodbye")
        ]

    def test_closed_in_the_middle_of_the_first_message(self, waiting, make_start_request):
        waiting.connection.receive_data(make_start_request().encode()[:100], waiting.now)
        waiting.connection.receive_eof(waiting.now)
        assert waiting.end().text == (
            "the client closed TCP before the control connection was established, 100 octets into a message"
        )

    def test_closed_after_our_goodbye(self, server):
        server.connection.stop(StopReason.NONE, server.now)
        server.connection.receive_eof(server.now)
        assert server.end().cause is CauseOfEnd.SERVER_SHUTDOWN

    def test_what_comes_after_the_end_is_discarded(self, server):
        server.connection.receive_eof(server.now)
        server.forget()
        server.hear(messages.EchoRequest(identifier=1))
        server.connection.stop(StopReason.NONE, server.now)
        assert (server.said(), server.events()) == ([], [])


class TestFaults:
    @pytest.mark.parametrize("message", ILLEGAL_FOR_A_SERVER, ids=names)
    def test_an_illegal_message_is_answered_with_stop(self, server, message):
        server.hear(message)
        assert server.said() == [messages.StopControlConnectionRequest(reason=StopReason.NONE)]
        assert server.end() == events.ConnectionEnded(
            CauseOfEnd.PROTOCOL_ERROR, f"the client sent {message.layout.name} in state established"
        )

    def test_a_bad_first_message_is_refused_with_its_general_error(self, waiting, make_start_request):
        waiting.connection.receive_data(b"\x00\x9d" + make_start_request().encode()[2:], waiting.now)
        (reply,) = waiting.said()
        assert (reply.result_code, reply.error_code) == (StartResult.GENERAL_ERROR, GeneralError.BAD_FORMAT)
        assert waiting.end().text == (
            "the client broke the protocol: Start-Control-Connection-Request claims 157 octets, not 156"
        )

    def test_a_bad_message_later_is_answered_with_stop(self, server):
        server.connection.receive_data(bytes.fromhex("00100001 1a2b3c4d 00630000"), server.now)
        assert server.said() == [messages.StopControlConnectionRequest(reason=StopReason.NONE)]
        assert server.end().cause is CauseOfEnd.PROTOCOL_ERROR

    def test_lost_synchronization_is_never_answered(self, waiting, server):
        for conversation in (waiting, server):
            conversation.connection.receive_data(b"\x16\x03\x01\x02\x00\x01\x00\x01", conversation.now)
            assert conversation.said() == []
            assert "this is not PPTP" in conversation.end().text

    def test_what_came_before_the_fault_counts(self, waiting, make_start_request):
        waiting.connection.receive_data(make_start_request().encode() + bytes(20), waiting.now)
        started, ended = waiting.events()
        assert isinstance(started, events.ConnectionStarted)
        assert isinstance(ended, events.ConnectionEnded)

    def test_client_verbs_are_our_bugs(self, server):
        with pytest.raises(LocalProtocolError, match="local start as server"):
            server.connection.start(server.now)
        with pytest.raises(LocalProtocolError, match="request_call as server"):
            server.connection.request_call(1, server.now)


class TestEcho:
    def test_request_is_answered_with_its_identifier(self, server):
        server.hear(messages.EchoRequest(identifier=0xDEADBEEF))
        assert server.said() == [messages.EchoReply(identifier=0xDEADBEEF, result_code=1)]
        assert server.events() == []

    def test_a_reply_that_nobody_asked_for_is_discarded(self, server):
        server.hear(messages.EchoReply(identifier=1, result_code=1))
        assert (server.said(), server.events()) == ([], [])


def test_conversation_byte_by_byte_is_the_same(make_conversation, make_start_request):
    octets = b"".join(
        message.encode()
        for message in (make_start_request(), OUTGOING_CALL_REQUEST, messages.EchoRequest(identifier=1))
    )
    at_once, in_bytes = make_conversation(Role.SERVER), make_conversation(Role.SERVER)
    at_once.connection.receive_data(octets, 100.0)
    for octet in octets:
        in_bytes.connection.receive_data(bytes([octet]), 100.0)
    assert at_once.events() == in_bytes.events() != []
    assert at_once.said() == in_bytes.said() != []


def test_trace_shows_both_directions(server):
    server.lines.clear()
    server.hear(messages.EchoRequest(identifier=7))
    assert server.lines == [
        "received [Echo-Request identifier=7]",
        "sent [Echo-Reply identifier=7 result_code=ok error_code=none]",
    ]


def test_without_trace_nothing_is_formatted(make_start_request):
    connection = ControlConnection(Role.SERVER, ControlSettings(), 0.0, iter(()))
    connection.receive_data(make_start_request().encode(), 0.0)
    assert len(connection.data_to_send()) == 156
