"""Every message in every state of both roles, by rules that are stated here and not taken from the tables."""

from dataclasses import fields, replace

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.pptp import messages
from poptrio.protocols.pptp.codes import ControlType, StopReason
from poptrio.protocols.pptp.control import Role
from poptrio.protocols.pptp.messages import MESSAGES
from poptrio.protocols.pptp.states import State

OVERRULED = {"protocol_version": 0x0100, "result_code": 1}
TEXTS = {
    "host_name",
    "vendor_name",
    "phone_number",
    "subaddress",
    "dialed_number",
    "dialing_number",
    "call_statistics",
}


def plain(control_type):
    """A message of 0 and empty texts, but the right version and a good result where it has them."""
    names = [field.name for field in fields(MESSAGES[control_type])]
    return MESSAGES[control_type](**{name: "" if name in TEXTS else OVERRULED.get(name, 0) for name in names})


SAMPLES = {control_type.rfc_name: plain(control_type) for control_type in ControlType}
START_REQUEST = SAMPLES["Start-Control-Connection-Request"]
START_REPLY = SAMPLES["Start-Control-Connection-Reply"]
SAMPLES |= {
    "old Start-Request": replace(START_REQUEST, protocol_version=0x0010),
    "old Start-Reply": replace(START_REPLY, protocol_version=0x0010),
    "refusing Start-Reply": replace(START_REPLY, result_code=4),
}
STOP = {"Stop-Control-Connection-Request", "Stop-Control-Connection-Reply"}
START_REQUESTS = {"Start-Control-Connection-Request", "old Start-Request"}
START_REPLIES = {"Start-Control-Connection-Reply", "old Start-Reply", "refusing Start-Reply"}
# What makes no sense on an established connection: (RFC 2637 §3) closed and restarted.
ILLEGAL = {
    Role.SERVER: START_REPLIES
    | {"Stop-Control-Connection-Reply", "Outgoing-Call-Reply", "Incoming-Call-Reply", "Incoming-Call-Connected"},
    Role.CLIENT: START_REPLIES
    | START_REQUESTS
    | {"Stop-Control-Connection-Reply", "Incoming-Call-Reply", "Incoming-Call-Connected"},
}
# What an established connection answers at once, without its owner and without a call: the answer.
ANSWERED = {
    "Echo-Request": messages.EchoReply(identifier=0, result_code=1),
    "Incoming-Call-Request": messages.IncomingCallReply(call_id=0, peer_call_id=0, result_code=3),
}

both_roles = pytest.mark.parametrize("role", list(Role))


def but(*names):
    """All samples but these."""
    return pytest.mark.parametrize("name", [name for name in SAMPLES if name not in names])


@pytest.fixture
def established(role, server, client):
    """The established connection of this role."""
    return server if role is Role.SERVER else client


@pytest.fixture
def stopping(established):
    """The same, after our Stop-Control-Connection-Request."""
    established.connection.stop(StopReason.NONE, established.now, CauseOfEnd.ADMIN_RESET, "our wish")
    assert established.connection.state is State.WAIT_STOP_REPLY
    assert established.said() == [messages.StopControlConnectionRequest(reason=1)]
    return established


@but(*START_REQUESTS, "Stop-Control-Connection-Request")
def test_a_server_needs_a_start_request_first(name, make_conversation):
    server = make_conversation(Role.SERVER)
    server.hear(SAMPLES[name])
    assert server.end().cause is CauseOfEnd.PROTOCOL_ERROR


@but()
def test_a_client_speaks_first(name, make_conversation):
    client = make_conversation(Role.CLIENT)
    client.hear(SAMPLES[name])
    assert client.said() == []
    assert client.end().text == f"the server sent {SAMPLES[name].layout.name} in state idle"


@but(*START_REPLIES, "Stop-Control-Connection-Request")
def test_a_client_needs_a_start_reply_first(name, make_conversation):
    client = make_conversation(Role.CLIENT)
    client.connection.start(client.now)
    client.forget()
    client.hear(SAMPLES[name])
    assert client.said() == []
    assert client.end().text == f"the server sent {SAMPLES[name].layout.name} in state wait_ctl_reply"


def test_a_server_may_stop_instead_of_a_start_reply(make_conversation):
    client = make_conversation(Role.CLIENT)
    client.connection.start(client.now)
    client.forget()
    client.hear(SAMPLES["Stop-Control-Connection-Request"])
    assert client.said() == [messages.StopControlConnectionReply(result_code=1)]
    assert client.end().cause is CauseOfEnd.SERVER_SHUTDOWN


@both_roles
@but(*STOP, *START_REQUESTS)
def test_established(role, name, established):
    established.hear(SAMPLES[name])
    if name in ILLEGAL[role]:
        assert established.said() == [messages.StopControlConnectionRequest(reason=1)]
        assert established.end().cause is CauseOfEnd.PROTOCOL_ERROR
    else:
        assert established.connection.state is State.ESTABLISHED
        if name in ANSWERED:
            assert established.said() == [ANSWERED[name]]


@pytest.mark.parametrize("name", sorted(START_REQUESTS))
def test_a_second_start_request(name, server, client):
    server.hear(SAMPLES[name])
    client.hear(SAMPLES[name])
    assert [reply.result_code for reply in server.said()] == [3]
    assert client.said() == [messages.StopControlConnectionRequest(reason=1)]
    assert server.end().cause is client.end().cause is CauseOfEnd.PROTOCOL_ERROR


@both_roles
def test_a_stop_reply_that_nobody_asked_for(role, established):
    established.hear(SAMPLES["Stop-Control-Connection-Reply"])
    assert established.end().cause is CauseOfEnd.PROTOCOL_ERROR


@both_roles
@but(*STOP, "Echo-Request")
def test_while_stopping_nothing_matters(role, name, stopping):
    stopping.hear(SAMPLES[name])
    assert (stopping.said(), stopping.events()) == ([], [])
    assert stopping.connection.state is State.WAIT_STOP_REPLY


@both_roles
def test_while_stopping_echoes_are_answered(role, stopping):
    stopping.hear(SAMPLES["Echo-Request"])
    assert stopping.said() == [ANSWERED["Echo-Request"]]


@both_roles
@pytest.mark.parametrize("name", sorted(STOP))
def test_while_stopping_either_stop_message_is_the_end(role, name, stopping):
    stopping.hear(SAMPLES[name])
    expected = [messages.StopControlConnectionReply(result_code=1)] if name.endswith("Request") else []
    assert stopping.said() == expected
    assert (end := stopping.end()).text == "our wish"
    assert end.cause is CauseOfEnd.ADMIN_RESET


@both_roles
def test_while_stopping_a_second_stop_changes_nothing(role, stopping):
    stopping.connection.stop(StopReason.NONE, stopping.now)
    assert stopping.connection.state is State.WAIT_STOP_REPLY
    assert (stopping.said(), stopping.events()) == ([], [])


@both_roles
def test_while_stopping_tcp_may_just_close(role, stopping):
    stopping.connection.receive_eof(stopping.now)
    assert stopping.end().text == "our wish"


def test_a_client_that_never_started(make_conversation):
    closed, stopped = make_conversation(Role.CLIENT), make_conversation(Role.CLIENT)
    closed.connection.receive_eof(closed.now)
    stopped.connection.stop(StopReason.NONE, stopped.now)
    assert closed.end().cause is CauseOfEnd.CONTROL_CONNECTION_LOST
    assert stopped.end().cause is CauseOfEnd.CLIENT_HUNG_UP
    assert stopped.said() == []


def test_a_client_hears_about_its_call(client):
    client.connection.request_call(5, client.now)
    client.hear(messages.OutgoingCallReply(call_id=1, peer_call_id=5, result_code=1))
    client.forget()
    client.hear(replace(SAMPLES["WAN-Error-Notify"], peer_call_id=5), replace(SAMPLES["Set-Link-Info"], peer_call_id=5))
    assert [event.call_id for event in client.events()] == [5, 5]


def test_a_client_hears_about_its_echo(client):
    client.wait()
    client.hear(messages.EchoReply(identifier=0x1000, result_code=2, error_code=6))
    assert [event.seconds for event in client.events()] == [0.0]
    client.wait()
    client.wait()
    assert client.end().cause is CauseOfEnd.CONTROL_ECHO_TIMEOUT
