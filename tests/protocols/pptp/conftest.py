"""`Conversation`: one end of a control connection under test, with the test as the other end."""

import itertools

import pytest

from poptrio.protocols.pptp.control import ControlConnection, ControlSettings, Role
from poptrio.protocols.pptp.events import CallRequested, ConnectionEnded
from poptrio.protocols.pptp.messages import (
    OutgoingCallRequest,
    StartControlConnectionReply,
    StartControlConnectionRequest,
)
from poptrio.protocols.pptp.stream import MessageStream

SETTINGS = ControlSettings(host_name="vpn.example", vendor="poptrio", firmware=7)


class Conversation:
    """Feeds the connection and collects what it says; ``now`` is a clock that the test sets."""

    def __init__(self, role, settings=SETTINGS):
        self.now = 100.0
        self.lines = []
        self.settings = settings
        self.connection = ControlConnection(role, settings, self.now, itertools.count(0x1000), self.lines.append)
        self._heard = MessageStream()

    def hear(self, *messages):
        """The peer sends these messages in one segment."""
        self.connection.receive_data(b"".join(message.encode() for message in messages), self.now)

    def said(self):
        """The messages sent since the last look."""
        self._heard.feed(self.connection.data_to_send())
        return list(iter(self._heard.next_message, None))

    def events(self):
        """The events since the last look."""
        return list(iter(self.connection.next_event, None))

    def end(self):
        """The final event; everything before it is passed over."""
        *_, last = self.events()
        assert isinstance(last, ConnectionEnded)
        return last

    def wait(self, until=None):
        """Time goes on to the next deadline (or to ``until``), and the connection is told."""
        self.now = self.connection.next_deadline() if until is None else until
        self.connection.handle_timeout(self.now)

    def requested(self, call_id=0, **fields):
        """Server: hear an Outgoing-Call-Request; the event that asks for an answer."""
        self.hear(call_request(call_id, **fields))
        (event,) = self.events()
        assert isinstance(event, CallRequested)
        return event

    def connected(self, call_id, peer_call_id=0):
        """Server: a call from Outgoing-Call-Request to Connected."""
        assert self.connection.accept_call(self.requested(peer_call_id), call_id, self.now)
        self.forget()

    def forget(self):
        """What was said and what happened so far does not interest the test."""
        self.said()
        self.events()
        return self


def start_request(**fields):
    """The Start-Control-Connection-Request of Windows XP, with its empty host name."""
    windows = {
        "framing_capabilities": 1,
        "bearer_capabilities": 1,
        "maximum_channels": 0,
        "firmware_revision": 2600,
        "host_name": "",
        "vendor_name": "Microsoft Windows NT",
    }
    return StartControlConnectionRequest(**(windows | fields))


def start_reply(**fields):
    """An accepting Start-Control-Connection-Reply."""
    linux = {
        "result_code": 1,
        "framing_capabilities": 3,
        "bearer_capabilities": 3,
        "maximum_channels": 0,
        "firmware_revision": 1,
        "host_name": "local",
        "vendor_name": "linux",
    }
    return StartControlConnectionReply(**(linux | fields))


def call_request(call_id=0, **fields):
    """The Outgoing-Call-Request of Windows, with its Call ID 0."""
    windows = {
        "call_serial_number": 1,
        "minimum_bps": 300,
        "maximum_bps": 100_000_000,
        "bearer_type": 3,
        "framing_type": 3,
        "packet_window_size": 64,
    }
    return OutgoingCallRequest(call_id=call_id, **(windows | fields))


@pytest.fixture
def make_call_request():
    """`call_request`, to be called with a Call ID and the fields that differ."""
    return call_request


@pytest.fixture
def make_start_request():
    """`start_request`, to be called with the fields that differ."""
    return start_request


@pytest.fixture
def make_start_reply():
    """`start_reply`, to be called with the fields that differ."""
    return start_reply


@pytest.fixture
def make_conversation():
    """A conversation from its very beginning: call with the role and, where needed, settings."""
    return Conversation


@pytest.fixture
def server():
    """Our server, its control connection established."""
    conversation = Conversation(Role.SERVER)
    conversation.hear(start_request())
    return conversation.forget()


@pytest.fixture
def client():
    """Our client, its control connection established."""
    conversation = Conversation(Role.CLIENT)
    conversation.connection.start(conversation.now)
    conversation.hear(start_reply())
    return conversation.forget()
