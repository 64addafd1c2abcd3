"""Conversations about PAP (RFC 1334 §2), both roles."""

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import PapRequest
from poptrio.protocols.ppp.session import Phase
from poptrio.protocols.ppp.session_events import Authenticated, AuthenticationNeeded


class TestAuthenticator:
    @pytest.fixture
    def server(self, make_server):
        server = make_server(auth=["pap"], encryption="refuse")
        assert server.link() == []  # the peer begins
        return server

    def ask(self, server, identifier=1, password="secret"):
        return server.hear(f"PAP AuthReq {identifier} user=DOM\\alice password={password}")

    def test_a_request_is_judged_outside_and_acknowledged(self, server):
        assert self.ask(server) == []
        assert server.question() == PapRequest(name="DOM\\alice", username="DOM\\alice", password="secret")
        assert server.accept(server.question(), None, "welcome") == ["PAP AuthAck 1 welcome"]
        assert server.session.phase is Phase.NETWORK
        assert server.question().protocol == "pap"

    def test_a_wrong_password(self, server):
        self.ask(server, password="wrong")
        assert server.refuse(server.question()) == ["PAP AuthNak 1 Authentication failed", "LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_FAILED

    def test_a_plugin_may_say_why(self, server):
        self.ask(server)
        assert server.refuse(server.question(), message="not now")[0] == "PAP AuthNak 1 not now"

    def test_while_a_request_is_judged_it_comes_again_under_another_identifier_which_the_answer_bears(self, server):
        assert self.ask(server, 1) == []
        assert self.ask(server, 2) == []
        assert self.ask(server, 3, password="other") == []
        assert len(server.events(AuthenticationNeeded)) == 1
        assert server.accept(server.question(), None) == ["PAP AuthAck 2 S=1"]

    def test_a_lost_ack_is_sent_again_for_a_repeated_request(self, server):
        self.ask(server, 1)
        server.accept(server.question(), None)
        assert self.ask(server, 2) == ["PAP AuthAck 2 S=1"]
        assert len(server.events(AuthenticationNeeded)) == 1

    def test_another_request_after_the_first_success_is_not_looked_at(self, server):
        self.ask(server, 1)
        server.accept(server.question(), None)
        assert self.ask(server, 2, password="other") == []
        assert len(server.events(AuthenticationNeeded)) == 1

    @pytest.mark.parametrize("line", ["PAP AuthAck 1 hello", "PAP AuthNak 1 hello", "PAP 9 1 00"])
    def test_other_codes_are_discarded(self, server, line):
        assert server.hear(line) == []
        assert server.events(AuthenticationNeeded) == []

    @pytest.mark.parametrize("data", ["", "05", "05616c", "05616c696365", "05616c69636506", "05616c696365067365"])
    def test_every_truncation_is_malformed(self, server, data):
        server.hear_frames(bytes.fromhex(f"c023 0101 {4 + len(data) // 2:04x} {data}"))
        assert server.session.malformed == 1
        assert server.events(AuthenticationNeeded) == []

    def test_octets_that_are_not_utf_8_survive(self, server):
        server.hear_frames(bytes.fromhex("c023 0101 0008 01e9 01ff"))
        assert server.question().name.encode("utf-8", "surrogateescape") == b"\xe9"
        assert server.question().password.encode("utf-8", "surrogateescape") == b"\xff"

    def test_a_long_message_is_cut_to_what_pap_can_carry(self, server):
        self.ask(server)
        (line,) = server.accept(server.question(), None, "x" * 1000)
        assert line == f"PAP AuthAck 1 {'x' * 255}"

    def test_it_cannot_challenge_again(self, make_server):
        server = make_server(auth=["pap"], encryption="refuse", authentication_interval=10.0, lcp_echo_interval=0.0)
        server.link()
        self.ask(server)
        server.accept(server.question(), None)
        assert server.wait(50.0) == []

    def test_a_peer_that_says_nothing(self, make_server):
        server = make_server(auth=["pap"], establish_timeout=20.0)
        server.link()
        server.wait(20.0)
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_TIMEOUT


class TestPeer:
    @pytest.fixture
    def client(self, make_client):
        client = make_client(auth=["pap"], encryption="refuse")
        assert client.link("<auth pap>") == ["PAP AuthReq 1 user=alice password=secret"]
        return client

    def test_an_ack_is_success(self, client):
        client.hear("PAP AuthAck 1 welcome")
        assert client.events(Authenticated)

    @pytest.mark.parametrize(("text", "why"), [("go away", "go away"), ("", "the server sent an Authenticate-Nak")])
    def test_a_nak_ends_the_session(self, client, text, why):
        assert client.hear(f"PAP AuthNak 1 {text}") == ["LCP TermReq 2"]
        client.hear("LCP TermAck 2")
        assert (client.ended.cause, client.ended.detail) == (CauseOfEnd.AUTHENTICATION_FAILED, why)
        assert client.session.error_code is None

    def test_a_nak_without_even_a_length(self, client):
        client.hear_frames(bytes.fromhex("c023 0301 0004"))
        client.hear("LCP TermAck 2")
        assert client.ended.detail == "the server sent an Authenticate-Nak"

    def test_a_lost_request_is_repeated_under_another_identifier(self, client):
        assert client.wait() == ["PAP AuthReq 2 user=alice password=secret"]
        client.hear("PAP AuthAck 1 to the first one")
        assert client.events(Authenticated)

    @pytest.mark.parametrize("line", ["PAP AuthAck 0 x", "PAP AuthAck 2 x", "PAP AuthReq 1 user=a password=b"])
    def test_an_answer_to_nothing_that_we_asked_is_discarded(self, client, line):
        assert client.hear(line) == []
        assert client.events(Authenticated) == []

    def test_repeated_answers_are_harmless(self, client):
        client.hear("PAP AuthAck 1 x", "PAP AuthAck 1 x", "PAP AuthNak 1 x")
        assert client.ended is None

    def test_a_server_that_never_answers(self, client):
        assert len(client.wait(29.0)) == 9
        client.wait(1.0)
        client.hear("LCP TermAck 2")
        assert client.ended.cause is CauseOfEnd.AUTHENTICATION_TIMEOUT
        assert client.ended.detail == "no answer to 10 packets"
