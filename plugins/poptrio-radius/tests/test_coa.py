"""Disconnect- and CoA-Requests (RFC 5176): who is believed, what is done, and what each refusal says."""

import struct
from contextlib import asynccontextmanager
from hashlib import md5
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st
from peer import attributes
from radius_sessions import FakeSession, FakeSessions

from poptrio.api import CauseOfEnd, Quota, Rate, RateLimit, SessionChange
from poptrio_radius import coa
from poptrio_radius.coa import CoaListener, CoaServer, CoaSettings
from poptrio_radius.coa_requests import CHANGES, QUOTAS, RATES, SESSION_ATTRIBUTES
from poptrio_radius.packets import HEADER, Code, Request, parse, verify_reply

CLIENT = ip_address("192.0.2.200")
SECRET = b"testing123"
NOW = 1_800_000_000.0
RATE = RateLimit(from_client=Rate(bits_per_second=1000), to_client=Rate(bits_per_second=2000))


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


class Asker:
    """Sends requests to a `CoaServer` and reads its answers."""

    def __init__(self, *sessions, **settings):
        self.clock = Clock()
        self.sessions = FakeSessions(*sessions)
        self.options = {"clients": {CLIENT: SECRET}, "nas_identifier": "poptrio"} | settings
        self.server = CoaServer(CoaSettings(**self.options), self.sessions, clock=self.clock)
        self.identifier = 0

    def configure(self, **settings):
        self.options |= settings
        self.server.configure(CoaSettings(**self.options))

    def request(self, code, **values):
        self.identifier += 1
        return Request(code, attributes(**values)).encode(self.identifier % 256, SECRET)

    def send(self, datagram, source=CLIENT):
        return self.server.answer(datagram, source)

    def ask(self, code, **values):
        """The answer, verified: a Message-Authenticator must be in it."""
        request = self.request(code, **values)
        answer = verify_reply(self.send(request), request, SECRET)
        assert "Message-Authenticator" in answer.attributes
        return answer

    def disconnect(self, **values):
        return self.ask(Code.DISCONNECT_REQUEST, **values)

    def change(self, **values):
        return self.ask(Code.COA_REQUEST, **values)


def error_cause(answer):
    assert answer.code in (Code.DISCONNECT_NAK, Code.COA_NAK)
    return answer.attributes.number("Error-Cause")


@pytest.fixture
def session():
    return FakeSession()


@pytest.fixture
def asker(session):
    return Asker(session)


NAMES = {
    "User_Name": "anna",
    "Acct_Session_Id": "s1",
    "Acct_Multi_Session_Id": "c1",
    "Framed_IP_Address": IPv4Address("10.90.0.2"),
    "Calling_Station_Id": "192.0.2.1",
    "Called_Station_Id": "198.51.100.1",
    "NAS_Port": 1,
}
WRONG = {
    "User_Name": "bert",
    "Acct_Session_Id": "s2",
    "Acct_Multi_Session_Id": "c2",
    "Framed_IP_Address": IPv4Address("10.90.0.3"),
    "Calling_Station_Id": "192.0.2.2",
    "Called_Station_Id": "198.51.100.2",
    "NAS_Port": 2,
}


class TestDisconnect:
    @pytest.mark.parametrize("name", NAMES)
    def test_each_name_alone_is_enough(self, asker, session, name):
        answer = asker.disconnect(**{name: NAMES[name]})
        assert answer.code == Code.DISCONNECT_ACK
        assert answer.attributes.number("Acct-Terminate-Cause") == 6
        assert session.ended == [(CauseOfEnd.ADMIN_RESET, f"disconnected by {CLIENT}")]

    def test_all_together_must_match(self, asker, session):
        assert asker.disconnect(**NAMES).code == Code.DISCONNECT_ACK
        assert session.ended

    @pytest.mark.parametrize("name", NAMES)
    def test_one_that_does_not_match_is_enough_to_refuse(self, asker, session, name):
        assert error_cause(asker.disconnect(**NAMES | {name: WRONG[name]})) == 503
        assert not session.ended

    def test_every_session_of_a_user_ends(self):
        sessions = [FakeSession(session_id=name, user="Anna") for name in ("s1", "s2")]
        other = FakeSession(session_id="s3", user="bert")
        assert Asker(*sessions, other).disconnect(User_Name="anna").code == Code.DISCONNECT_ACK
        assert all(session.ended for session in sessions)
        assert not other.ended

    def test_an_alias_names_the_user(self):
        session = FakeSession(aliases=("EXAMPLE\\anna",))
        Asker(session).disconnect(User_Name="example\\anna")
        assert session.ended

    def test_without_a_name_it_is_refused(self, asker):
        assert error_cause(asker.disconnect(NAS_Identifier="poptrio")) == 402

    def test_what_a_server_may_add_is_no_obstacle(self, asker):
        answer = asker.disconnect(
            User_Name="anna",
            NAS_Port_Type="Virtual",
            Service_Type="Framed",
            Reply_Message=["one", "two"],
            Class=b"x",
            Acct_Terminate_Cause=6,
        )
        assert answer.code == Code.DISCONNECT_ACK

    @pytest.mark.parametrize(("name", "value"), [("Session_Timeout", 3), ("Filter_Id", "x"), ("EAP_Message", b"x")])
    def test_what_it_cannot_mean_is_refused(self, asker, session, name, value):
        assert error_cause(asker.disconnect(User_Name="anna", **{name: value})) == 401
        assert not session.ended

    def test_authorize_only_is_refused(self, asker):
        assert error_cause(asker.disconnect(User_Name="anna", Service_Type="Authorize-Only")) == 405

    def test_a_name_that_is_there_twice_is_refused(self, asker):
        assert error_cause(asker.disconnect(User_Name=["anna", "anna"])) == 404

    def test_a_value_of_the_wrong_length_is_refused(self, asker):
        assert error_cause(asker.disconnect(NAS_Port=b"\0\0\1")) == 404

    def test_proxy_state_and_state_come_back_in_order(self, asker):
        request = asker.request(Code.COA_REQUEST, User_Name="x", Proxy_State=[b"one", b"two"], State=b"state")
        answer = parse(asker.send(request)).attributes
        assert answer.octets("State") == [b"state"]
        assert answer.octets("Proxy-State") == [b"one", b"two"]


class TestNas:
    @pytest.mark.parametrize("values", [{"NAS_Identifier": "poptrio"}, {"NAS_IP_Address": IPv4Address("198.51.100.1")}])
    def test_our_name_is_no_obstacle(self, asker, values):
        assert asker.disconnect(User_Name="anna", **values).code == Code.DISCONNECT_ACK

    @pytest.mark.parametrize(
        "values",
        [
            {"NAS_Identifier": "another"},
            {"NAS_IP_Address": IPv4Address("203.0.113.9")},
            {"NAS_IPv6_Address": IPv6Address("2001:db8::1")},
        ],
    )
    def test_another_name_is_refused(self, asker, session, values):
        assert error_cause(asker.disconnect(User_Name="anna", **values)) == 403
        assert not session.ended

    def test_a_configured_address_counts_instead_of_the_one_called(self, session):
        asker = Asker(session, nas_address=IPv4Address("203.0.113.9"))
        assert error_cause(asker.disconnect(User_Name="anna", NAS_IP_Address=session.call.server)) == 403
        answer = asker.disconnect(User_Name="anna", NAS_IP_Address=IPv4Address("203.0.113.9"))
        assert answer.code == Code.DISCONNECT_ACK


class TestChange:
    def test_all_that_can_be_changed_is_changed_at_once(self, asker, session):
        answer = asker.change(
            Acct_Session_Id="s1",
            Session_Timeout=3600,
            Idle_Timeout=0,
            Acct_Interim_Interval=600,
            Filter_Id=["one", "two"],
            Class=[b"a", b"b"],
            Mikrotik_Rate_Limit="1k/2k",
            Mikrotik_Total_Limit=5,
            Mikrotik_Total_Limit_Gigawords=1,
        )
        assert answer.code == Code.COA_ACK
        assert session.changes == [
            SessionChange(
                session_timeout=3600,
                idle_timeout=0,
                interim_interval=600,
                filter_ids=("one", "two"),
                classes=(b"a", b"b"),
                rate=RATE,
                quota=Quota(total=2**32 + 5),
            )
        ]

    @pytest.mark.parametrize(("asked", "given"), [(1, 60), (60, 60), (61, 61), (0, 0)])
    def test_the_interim_interval_has_a_floor(self, asker, session, asked, given):
        asker.change(User_Name="anna", Acct_Interim_Interval=asked)
        assert session.changes[0].interim_interval == given

    def test_one_attribute_that_is_not_understood_refuses_all(self, asker, session):
        values = {"Session_Timeout": 60, "Framed_IP_Netmask": IPv4Address("255.255.255.255")}
        assert error_cause(asker.change(User_Name="anna", **values)) == 401
        assert not session.changes

    def test_a_rate_that_is_nonsense_refuses_all(self, asker, session):
        assert error_cause(asker.change(User_Name="anna", Session_Timeout=60, Mikrotik_Rate_Limit="nonsense")) == 407
        assert not session.changes

    @pytest.mark.parametrize(
        ("name", "value"),
        [("Cisco_AVPair", "subscriber:command=logoff"), ("WISPr_Bandwidth_Min_Up", 5), ("Mikrotik_Total_Limit", 0)],
    )
    def test_a_limit_that_is_none_refuses_all(self, asker, session, name, value):
        assert error_cause(asker.change(User_Name="anna", Session_Timeout=60, **{name: value})) == 407
        assert not session.changes

    def test_a_value_of_the_wrong_length_refuses_all(self, asker, session):
        assert error_cause(asker.change(User_Name="anna", Session_Timeout=60, Idle_Timeout=b"\0")) == 404
        assert not session.changes

    def test_a_change_that_the_session_refuses_is_refused(self):
        assert error_cause(Asker(FakeSession(stubborn=True)).change(User_Name="anna", Session_Timeout=60)) == 407

    def test_without_a_change_it_is_refused(self, asker):
        assert error_cause(asker.change(User_Name="anna")) == 402

    def test_without_a_name_it_is_refused(self, asker):
        assert error_cause(asker.change(Session_Timeout=60)) == 402

    def test_nobody_is_found(self, asker):
        assert error_cause(asker.change(User_Name="bert", Session_Timeout=60)) == 503

    def test_more_than_one_session_is_refused(self):
        sessions = [FakeSession(session_id=name) for name in ("s1", "s2")]
        asker = Asker(*sessions)
        assert error_cause(asker.change(User_Name="anna", Session_Timeout=60)) == 508
        assert not any(session.changes for session in sessions)
        assert asker.change(User_Name="anna", Acct_Session_Id="s2", Session_Timeout=60).code == Code.COA_ACK

    def test_authorize_only_is_refused(self, asker):
        assert error_cause(asker.change(User_Name="anna", Service_Type="Authorize-Only", State=b"x")) == 405


class TestWhoIsBelieved:
    def ignored(self, asker, datagram, why, source=CLIENT):
        with structlog.testing.capture_logs() as logs:
            assert asker.send(datagram, source) is None
        assert [(entry["event"], entry["why"]) for entry in logs] == [("dynamic authorization dropped", why)]
        assert not asker.sessions.sessions[0].ended

    def test_an_address_that_is_not_listed_is_not(self, asker):
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna")
        self.ignored(asker, request, "its sender is not listed", ip_address("192.0.2.201"))

    def test_an_ipv6_address_can_be_listed(self, session):
        client = ip_address("2001:db8::7")
        asker = Asker(session, clients={client: SECRET})
        assert asker.send(asker.request(Code.DISCONNECT_REQUEST, User_Name="anna"), client)
        assert session.ended

    def test_a_wrong_secret_is_not(self, asker):
        request = Request(Code.DISCONNECT_REQUEST, attributes(User_Name="anna")).encode(1, b"guess")
        self.ignored(asker, request, "authenticator")

    def test_a_wrong_message_authenticator_is_not(self, asker):
        request = bytearray(asker.request(Code.DISCONNECT_REQUEST, User_Name="anna"))
        request[22] ^= 1
        request[4:20] = md5(request[:4] + bytes(16) + request[20:] + SECRET).digest()
        self.ignored(asker, bytes(request), "message authenticator")

    def without_message_authenticator(self):
        body = attributes(User_Name="anna").pack()
        header = struct.pack("!BBH", Code.DISCONNECT_REQUEST, 1, 20 + len(body))
        return header + md5(header + bytes(16) + body + SECRET).digest() + body

    def test_a_message_authenticator_need_not_be_there(self, asker, session):
        assert parse(asker.send(self.without_message_authenticator())).code == Code.DISCONNECT_ACK

    def test_unless_it_is_required(self, session):
        asker = Asker(session, require_message_authenticator=True)
        self.ignored(asker, self.without_message_authenticator(), "message authenticator missing")

    @pytest.mark.parametrize("code", [c for c in Code if c not in (Code.DISCONNECT_REQUEST, Code.COA_REQUEST)])
    def test_other_packets_are_no_requests(self, asker, code):
        body = attributes(User_Name="anna").pack()
        header = struct.pack("!BBH", code, 1, 20 + len(body))
        packet = header + md5(header + bytes(16) + body + SECRET).digest() + body
        self.ignored(asker, packet, "it is no request")

    @pytest.mark.parametrize("offset", [-301, 301])
    def test_another_time_is_not(self, asker, offset):
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna", Event_Timestamp=int(NOW) + offset)
        self.ignored(asker, request, "its Event-Timestamp is not of this time")

    @pytest.mark.parametrize("offset", [-300, 0, 300])
    def test_this_time_is(self, asker, offset):
        assert asker.disconnect(User_Name="anna", Event_Timestamp=int(NOW) + offset).code == Code.DISCONNECT_ACK

    def test_a_time_can_be_required(self, session):
        asker = Asker(session, require_event_timestamp=True)
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna")
        self.ignored(asker, request, "it has no Event-Timestamp")

    def test_a_malformed_time_is_not(self, asker):
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna", Event_Timestamp=b"\0")
        self.ignored(asker, request, "Event-Timestamp has 1 octets where 4 are needed")

    def test_more_proxy_state_than_an_answer_has_room_for_is_not(self, asker):
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna", Proxy_State=[b"x" * 253] * 15 + [b"x" * 210])
        self.ignored(asker, request, "its Proxy-State does not fit into an answer")

    def test_the_log_counts_what_it_leaves_out(self, asker):
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna")
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                asker.send(request, ip_address("192.0.2.9"))
            asker.clock.now += 60
            asker.send(request, ip_address("192.0.2.9"))
        assert [entry["count"] for entry in logs] == [1, 5]


class TestReplay:
    def test_what_comes_again_gets_the_same_answer_and_does_nothing(self, asker, session):
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna", Event_Timestamp=int(NOW))
        first = asker.send(request)
        asker.sessions.sessions.clear()
        assert asker.send(request) == first
        assert len(session.ended) == 1

    def test_a_refusal_is_repeated_as_well(self, asker, session):
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="bert")
        first = asker.send(request)
        session.accept = FakeSession(user="bert").accept
        assert asker.send(request) == first
        assert not session.ended

    def test_what_is_replayed_when_its_time_is_over_is_dropped(self, asker, session):
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna", Event_Timestamp=int(NOW) + 300)
        asker.send(request)
        for later in range(0, 1000, 50):
            asker.clock.now = NOW + later
            asker.send(request)
        assert len(session.ended) == 1

    @pytest.mark.parametrize("ahead", [-10, 0, 10])
    @pytest.mark.parametrize("between", [10.0, 5.0])
    @pytest.mark.parametrize("changed_after", [0, 15, 25, 100])
    def test_a_larger_window_lets_nothing_in_again(self, session, ahead, between, changed_after):
        asker = Asker(session, window=10.0)
        stamp = int(NOW) + ahead
        request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna", Event_Timestamp=stamp)
        assert asker.send(request) is not None
        asker.configure(window=between)
        for later in range(0, changed_after + 1, 5):
            asker.clock.now = NOW + later
            asker.send(request)
        asker.configure(window=300.0)
        for later in range(changed_after, 1000, 23):
            asker.clock.now = NOW + later
            asker.send(request)
        assert len(session.ended) == 1

    def test_a_larger_window_takes_what_is_new(self, session):
        asker = Asker(session, window=10.0)
        old = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna", Event_Timestamp=int(NOW) - 20)
        asker.configure(window=300.0)
        assert asker.send(old) is None  # it may have been obeyed, and forgotten
        asker.clock.now += 100
        new = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna", Event_Timestamp=int(NOW) + 1)
        assert asker.send(new) is not None

    def test_the_same_identifier_with_another_content_is_another_request(self, asker, session):
        asker.change(User_Name="anna", Session_Timeout=60)
        asker.identifier -= 1
        asker.change(User_Name="anna", Session_Timeout=61)
        assert len(session.changes) == 2

    def test_answers_are_forgotten_in_time(self, asker, monkeypatch):
        monkeypatch.setattr(coa, "MOST_ANSWERS", 3)
        for _ in range(3):
            assert error_cause(asker.disconnect(User_Name="nobody")) == 503
        assert error_cause(asker.disconnect(User_Name="nobody")) == 506
        asker.clock.now += 601
        assert error_cause(asker.disconnect(User_Name="nobody")) == 503


any_attribute = st.tuples(st.integers(0, 255), st.binary(max_size=253))


@given(st.sampled_from([Code.DISCONNECT_REQUEST, Code.COA_REQUEST]), st.lists(any_attribute, max_size=12))
def test_whatever_a_client_signs_gets_an_answer_or_none(code, pieces):
    body = b"".join(bytes((number, len(value) + 2)) + value for number, value in pieces)
    header = struct.pack("!BBH", code, 1, HEADER.size + len(body))
    datagram = header + md5(header + bytes(16) + body + SECRET).digest() + body
    with structlog.testing.capture_logs():
        answer = Asker(FakeSession()).send(datagram)
    assert answer is None or parse(answer).code in (code + 1, code + 2)


KNOWN = ("User-Name", *SESSION_ATTRIBUTES, *CHANGES, *RATES, *QUOTAS, "Service-Type", "State")


@given(st.dictionaries(st.sampled_from(KNOWN), st.binary(max_size=8)))
def test_any_octets_in_any_attribute_that_we_know_get_an_answer(values):
    with structlog.testing.capture_logs():
        answer = Asker(FakeSession()).change(**{name.replace("-", "_"): value for name, value in values.items()})
    assert answer.code in (Code.COA_ACK, Code.COA_NAK)


@given(st.binary(max_size=200))
def test_noise_is_dropped(datagram):
    with structlog.testing.capture_logs():
        assert Asker(FakeSession()).send(datagram) is None


@asynccontextmanager
async def listening(address, port, server):
    listener = CoaListener(address, port, server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        yield
        listener.close()  # it runs no more


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_it_listens_on_a_socket(session, host, unused_udp_port):
    address = ip_address(host)
    asker = Asker(session, clients={address: SECRET})
    request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna")
    family = trio.socket.AF_INET if address.version == 4 else trio.socket.AF_INET6
    async with listening(address, unused_udp_port, asker.server):
        with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as socket, trio.fail_after(5):
            await socket.sendto(b"noise", (host, unused_udp_port))
            await socket.sendto(request, (host, unused_udp_port))
            answer = await socket.recv(4096)
    assert verify_reply(answer, request, SECRET).code == Code.DISCONNECT_ACK


async def test_ipv4_clients_of_an_ipv6_socket_have_their_ipv4_address(session, unused_udp_port):
    asker = Asker(session, clients={ip_address("127.0.0.1"): SECRET})
    request = asker.request(Code.DISCONNECT_REQUEST, User_Name="anna")
    async with listening(ip_address("::"), unused_udp_port, asker.server):
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket, trio.fail_after(5):
            await socket.sendto(request, ("127.0.0.1", unused_udp_port))
            assert await socket.recv(4096)


@pytest.fixture
def unused_udp_port():
    import socket

    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        return probe.getsockname()[1]
