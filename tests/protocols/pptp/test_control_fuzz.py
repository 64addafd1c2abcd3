"""Hypothesis against the control connection: nothing a peer sends makes it raise, and its end comes once and last."""

import contextlib
import itertools
import math
from dataclasses import fields
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poptrio.errors import DisconnectResult, MalformedPacket
from poptrio.protocols.pptp import events
from poptrio.protocols.pptp.codes import OutgoingCallResult, StopReason
from poptrio.protocols.pptp.control import ControlConnection, ControlSettings, Role
from poptrio.protocols.pptp.layout import TextField
from poptrio.protocols.pptp.messages import MESSAGES, StartControlConnectionReply, StartControlConnectionRequest
from poptrio.protocols.pptp.states import State
from poptrio.protocols.pptp.stream import MessageStream
from poptrio.testing.messages import decode_message

LARGEST = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF}
SMALL = st.integers(0, 3)  # so that Call IDs and result codes meet


def values_of(field):
    """Any value that fits the field, often a small one."""
    if isinstance(field, TextField):
        return st.text(max_size=field.size)
    return SMALL | st.integers(0, LARGEST[field.format])


def messages_of(message_class):
    """Any message of this class."""
    hints = get_type_hints(message_class, include_extras=True)
    return st.builds(
        message_class, **{field.name: values_of(hints[field.name].__metadata__[0]) for field in fields(message_class)}
    )


ANY_MESSAGE = st.one_of([messages_of(message_class) for message_class in MESSAGES.values()])
STARTS = {
    Role.SERVER: StartControlConnectionRequest(
        framing_capabilities=1,
        bearer_capabilities=1,
        maximum_channels=0,
        firmware_revision=1,
        host_name="",
        vendor_name="",
    ),
    Role.CLIENT: StartControlConnectionReply(
        result_code=1,
        framing_capabilities=1,
        bearer_capabilities=1,
        maximum_channels=0,
        firmware_revision=1,
        host_name="",
        vendor_name="",
    ),
}


class Owner:
    """Drives a control connection as its owner would and checks every promise on the way."""

    def __init__(self, role):
        self.now = 0.0
        self.lines = []
        self.requests = []
        self.live = set()
        self.next_call_id = itertools.count(1)
        self.ends = 0
        self.connection = ControlConnection(role, ControlSettings(), self.now, itertools.count(), self.lines.append)
        self.sent = MessageStream()
        if role is Role.CLIENT:
            self.connection.start(self.now)

    def look(self):
        """Drain the events and the output."""
        for event in iter(self.connection.next_event, None):
            assert self.ends == 0, "an event after ConnectionEnded"
            match event:
                case events.CallRequested():
                    self.requests.append(event)
                case events.CallEnded() | events.CallRefused():
                    self.live.remove(event.call_id)
                case events.ConnectionEnded():
                    self.ends += 1
        self.sent.feed(self.connection.data_to_send())
        for message in iter(self.sent.next_message, None):
            assert f"sent {message}" in self.lines
        assert self.sent.pending == 0
        assert (self.ends == 1) == (self.connection.state is State.ENDED)
        assert (self.connection.next_deadline() == math.inf) or self.ends == 0
        assert not any("\n" in line for line in self.lines)

    def receive(self, data):
        self.connection.receive_data(data, self.now)

    def hang_up(self, _):
        self.connection.receive_eof(self.now)

    def stop(self, _):
        self.connection.stop(StopReason.NONE, self.now)

    def wait(self, seconds):
        self.now += seconds
        self.connection.handle_timeout(self.now)

    def answer(self, accept):
        if self.requests:
            request = self.requests.pop()
            call_id = next(self.next_call_id)
            if not accept:
                self.connection.refuse_call(request, OutgoingCallResult.BUSY)
            elif self.connection.accept_call(request, call_id, self.now):
                self.live.add(call_id)

    def request(self, _):
        if self.connection.role is Role.CLIENT and self.connection.state is State.ESTABLISHED:
            call_id = next(self.next_call_id)
            self.connection.request_call(call_id, self.now)
            self.live.add(call_id)

    def disconnect(self, call_id):
        self.connection.disconnect_call(call_id, DisconnectResult.ADMIN_SHUTDOWN, self.now, "text")
        if self.connection.role is Role.SERVER and self.connection.state is State.ESTABLISHED:
            self.live.discard(call_id)


STEPS = st.one_of(
    st.tuples(st.just(Owner.receive), ANY_MESSAGE.map(lambda message: message.encode())),
    st.tuples(st.just(Owner.receive), ANY_MESSAGE.map(lambda message: message.encode())),
    st.tuples(st.just(Owner.answer), st.booleans()),
    st.tuples(st.just(Owner.request), st.none()),
    st.tuples(st.just(Owner.disconnect), SMALL),
    st.tuples(st.just(Owner.wait), st.floats(0, 100)),
    st.tuples(st.sampled_from([Owner.stop, Owner.hang_up]), st.none()),
)


@pytest.mark.parametrize("role", list(Role))
@settings(deadline=None)
@given(steps=st.lists(STEPS, max_size=12))
def test_any_sequence_of_valid_messages_and_wishes(role, steps):
    owner = Owner(role)
    owner.receive(STARTS[role].encode())
    owner.look()
    for verb, argument in steps:
        verb(owner, argument)
        owner.look()


@pytest.mark.parametrize("role", list(Role))
@settings(deadline=None)
@given(pieces=st.lists(st.binary(max_size=40) | ANY_MESSAGE.map(lambda message: message.encode()[:30]), max_size=6))
def test_any_octets(role, pieces):
    owner = Owner(role)
    for piece in pieces:
        owner.receive(piece)
        owner.look()


@settings(deadline=None)
@given(message=ANY_MESSAGE, position=st.integers(0, 219), octet=st.integers(0, 255))
def test_one_wrong_octet(message, position, octet):
    octets = bytearray(message.encode())
    octets[position % len(octets)] = octet
    owner = Owner(Role.SERVER)
    owner.receive(STARTS[Role.SERVER].encode())
    owner.receive(bytes(octets))
    owner.look()


@settings(deadline=None)
@given(message=ANY_MESSAGE)
def test_what_was_decoded_encodes_to_what_decodes_the_same(message):
    decoded = decode_message(message.encode())
    assert decode_message(decoded.encode()) == decoded


@settings(deadline=None)
@given(octets=st.binary(max_size=240))
def test_decode_message_raises_nothing_but_malformed_packet(octets):
    for candidate in (octets, bytes.fromhex("00100001 1a2b3c4d") + octets):
        with contextlib.suppress(MalformedPacket):
            assert decode_message(candidate).encode()[:8] == candidate[:8]
