"""What an Accounting-Request says about a call."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peer import attributes
from radius_sessions import BEGUN, call_info

from poptrio.api import Accept, AccountingKind, AccountingRecord, CauseOfEnd, Traffic
from poptrio_radius.accounting_attributes import (
    decode,
    record_attributes,
    request_of,
    server_request,
    session_part,
    stop_after_crash,
)
from poptrio_radius.packets import LONGEST_PACKET, Code, verify_request
from poptrio_radius.spool_file import OpenSession, Record

START, INTERIM, STOP = AccountingKind.START, AccountingKind.INTERIM, AccountingKind.STOP
SECRET = b"testing123"
IDENTITY = attributes(NAS_Identifier="poptrio", Acct_Session_Id="s1", NAS_Port=1)
GIB = 2**30


def account(kind=STOP, **values):
    """The attributes of a record with these values."""
    accept = {name: values.pop(name) for name in ("classes", "framed_routes") if name in values}
    record = AccountingRecord(
        kind=kind,
        call=call_info(),
        accept=Accept(user="anna", **accept),
        address=IPv4Address("10.90.0.2"),
        **{"seconds": 61.9, "traffic": Traffic(), "timestamp": BEGUN + timedelta(seconds=61.9)} | values,
    )
    return record_attributes(record, session_part(record, IDENTITY, "radius"))


@pytest.mark.parametrize(("kind", "status"), [(START, 1), (STOP, 2), (INTERIM, 3)])
def test_every_record_says_which_session_it_is_about(kind, status):
    said = account(kind)
    assert said.number("Acct-Status-Type") == status
    assert said.text("User-Name") == "anna"
    assert said.text("Acct-Session-Id") == "s1"
    assert said.text("NAS-Identifier") == "poptrio"
    assert said.address("Framed-IP-Address") == IPv4Address("10.90.0.2")
    assert said.text("Acct-Tunnel-Connection") == "c1"
    assert said.number("Event-Timestamp") == int(BEGUN.timestamp()) + 61


def test_a_start_has_no_counters():
    assert not [name for name in account(START) if name.endswith(("Octets", "Gigawords", "Packets", "-Time"))]


@pytest.mark.parametrize("kind", [INTERIM, STOP])
def test_counters_pass_four_gibibytes(kind):
    said = account(kind, traffic=Traffic(5 * GIB + 1, 8 * GIB, 7, 2**32 + 9))
    assert said.number("Acct-Input-Octets") == GIB + 1
    assert said.number("Acct-Input-Gigawords") == 1
    assert said.number("Acct-Output-Octets") == 0
    assert said.number("Acct-Output-Gigawords") == 2
    assert said.number("Acct-Input-Packets") == 7
    assert said.number("Acct-Output-Packets") == 9, "there are no gigawords of packets"
    assert said.number("Acct-Session-Time") == 61


@pytest.mark.parametrize("cause", CauseOfEnd)
def test_a_stop_says_why(cause):
    assert account(cause=cause).number("Acct-Terminate-Cause") == cause.terminate_cause


def test_a_disconnection_is_an_admin_reset_and_idleness_its_own_cause():
    assert account(cause=CauseOfEnd.ADMIN_RESET).number("Acct-Terminate-Cause") == 6
    assert account(cause=CauseOfEnd.IDLE_TIMEOUT).number("Acct-Terminate-Cause") == 4


@pytest.mark.parametrize("kind", [START, INTERIM])
def test_only_a_stop_says_why(kind):
    assert "Acct-Terminate-Cause" not in account(kind)


@pytest.mark.parametrize(("plugin", "value"), [("radius", 1), ("chap-secrets", 2)])
def test_it_says_who_authenticated(plugin, value):
    assert account(authenticated_by=plugin).number("Acct-Authentic") == value


def test_every_class_comes_back():
    assert account(START, classes=(b"a", b"\0b")).octets("Class") == [b"a", b"\0b"]


def test_routes_and_encryption_are_told():
    said = account(framed_routes=(IPv4Network("10.1.0.0/16"),), encryption="MPPE-128 stateless")
    assert said.texts("Framed-Route") == ["10.1.0.0/16 0.0.0.0 1"]
    assert said.text("Connect-Info") == "MPPE-128 stateless"


def test_more_classes_and_routes_than_fit_are_left_out():
    routes = tuple(IPv4Network((number << 8, 24)) for number in range(100))
    said = account(classes=(b"x" * 253,) * 20, framed_routes=routes, encryption="x" * 200)
    record = Record(number=1, session_id="s1", kind=STOP, time=0.0, attributes=said.pack())
    packet = request_of(record, lambda: 0.0).encode(1, SECRET)
    assert LONGEST_PACKET - 253 < len(packet) <= LONGEST_PACKET
    assert len(said.octets("Class")) == 14


@given(st.lists(st.binary(min_size=1, max_size=253), max_size=30), st.text(max_size=60))
def test_whatever_came_with_the_accept_fits(classes, user):
    accept = Accept(user=user, classes=tuple(classes))
    call = call_info()
    address = IPv4Address("10.90.0.2")
    record = AccountingRecord(
        kind=STOP, call=call, accept=accept, address=address, seconds=1.0, traffic=Traffic(), timestamp=BEGUN
    )
    packed = record_attributes(record, session_part(record, IDENTITY, "radius")).pack()
    spooled = Record(number=1, session_id="s1", kind=STOP, time=0.0, attributes=packed)
    assert len(request_of(spooled).encode(1, SECRET)) <= LONGEST_PACKET


def test_a_session_that_was_cut_off_says_what_was_known_last():
    part = session_part(
        AccountingRecord(
            kind=START,
            call=call_info(),
            accept=Accept(user="anna", classes=(b"a",)),
            address=IPv4Address("10.90.0.2"),
            seconds=0.0,
            traffic=Traffic(),
            timestamp=BEGUN,
        ),
        IDENTITY,
        "radius",
    )
    session = OpenSession(
        session_id="s1", time=1234.9, seconds=99.9, traffic=Traffic(5 * GIB, 2, 3, 4), attributes=part.pack()
    )
    said = decode(stop_after_crash(session))
    assert said.number("Acct-Status-Type") == 2
    assert said.number("Acct-Terminate-Cause") == 11
    assert said.number("Event-Timestamp") == 1234
    assert said.number("Acct-Session-Time") == 99
    assert (said.number("Acct-Input-Octets"), said.number("Acct-Input-Gigawords")) == (GIB, 1)
    assert said.text("Acct-Session-Id") == "s1"
    assert said.octets("Class") == [b"a"]


class TestDelay:
    def sent(self, record, now, identifier=1):
        return verify_request(
            request_of(record, lambda: now).encode(identifier, SECRET), SECRET, require_message_authenticator=False
        )

    RECORD = Record(number=1, session_id="s1", kind=START, time=1000.0, attributes=account(START).pack())

    def test_a_record_says_how_old_it_is_when_it_is_sent(self):
        assert self.sent(self.RECORD, 1000.0).attributes.number("Acct-Delay-Time") == 0
        later = self.sent(self.RECORD, 4000.5).attributes
        assert later.number("Acct-Delay-Time") == 3000
        assert later.number("Event-Timestamp") == account(START).number("Event-Timestamp")

    def test_a_clock_that_was_set_back_makes_no_negative_delay(self):
        assert self.sent(self.RECORD, 10.0).attributes.number("Acct-Delay-Time") == 0

    def test_the_rest_is_as_it_was_put(self):
        sent = self.sent(self.RECORD, 1000.0)
        assert sent.code == Code.ACCOUNTING_REQUEST
        assert set(sent.attributes) == set(account(START)) | {"Acct-Delay-Time"}

    def test_the_record_itself_is_not_changed_by_sending(self):
        request = request_of(self.RECORD, lambda: 1000.0)
        before = request.attributes.copy()
        request.encode(1, SECRET)
        assert request.attributes == before
        assert replace(request, clock=lambda: 1001.0).encode(1, SECRET) != request.encode(1, SECRET)


def test_on_and_off_have_a_session_id():
    request = server_request("Accounting-On", attributes(NAS_Identifier="poptrio"), "run-1", 1000.0, lambda: 1002.0)
    said = verify_request(request.encode(1, SECRET), SECRET, require_message_authenticator=False).attributes
    assert said.number("Acct-Status-Type") == 7
    assert said.text("Acct-Session-Id") == "run-1"
    assert said.text("NAS-Identifier") == "poptrio"
    assert said.number("Acct-Delay-Time") == 2
