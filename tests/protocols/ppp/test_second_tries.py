"""Clients that may try again in the same call: MS-CHAP retry (RFC 2759 §6), Change-Password (§7), PAP with a code."""

import pytest

from poptrio.crypto.mschap import generate_nt_response, nt_password_hash
from poptrio.crypto.password_change import (
    new_password_encrypted_with_old_nt_password_hash,
    nt_password_hash_encrypted_with_block,
)
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import MsChapV2ChangePasswordRequest, PapRequest
from poptrio.protocols.ppp.authenticator import Challenged
from poptrio.protocols.ppp.session import Phase
from poptrio.protocols.ppp.session_events import Authenticated, AuthenticationNeeded

RETRY = {"retry": True}


def questions(server):
    return [event.request for event in server.events(AuthenticationNeeded)]


class TestRetry:
    @pytest.mark.parametrize(("auth", "size", "version"), [("mschap-v1", 8, 2), ("mschap-v2", 16, 3)])
    def test_the_failure_allows_it_and_the_call_goes_on(self, make_server, auth, size, version):
        server = make_server(auth=[auth])
        server.link()
        failure = f"CHAP Failure 3 E=691 R=1 C={'04' * size} V={version}"
        assert server.refuse(server.respond(), **RETRY) == [failure]
        request = server.respond(4)
        assert (request.challenge, request.identifier) == (b"\x04" * size, 4)
        assert server.accept(request)[0].startswith("CHAP Success 4")
        assert server.events(Authenticated)

    def test_the_challenge_may_be_the_plugins(self, server):
        server.link()
        said = server.refuse(server.respond(), challenge=b"\xaa" * 16, **RETRY)
        assert said == [f"CHAP Failure 3 E=691 R=1 C={'AA' * 16} V=3"]
        assert server.respond(4).challenge == b"\xaa" * 16

    @pytest.mark.parametrize("size", [8, 15, 17])
    def test_a_challenge_of_a_wrong_size_is_not_sent(self, server, size):
        server.link()
        assert server.refuse(server.respond(), challenge=b"\xaa" * size, **RETRY)[0].endswith(f"C={'04' * 16} V=3")

    def test_three_tries_are_enough(self, server):
        server.link()
        for identifier in (3, 4):
            assert " R=1 " in server.refuse(server.respond(identifier), **RETRY)[0]
        failure, goodbye = server.refuse(server.respond(5), **RETRY)
        assert " R=0 " in failure
        assert goodbye == "LCP TermReq 2"

    def test_another_user_may_try(self, server):
        server.link()
        server.refuse(server.respond(), **RETRY)
        assert server.respond(4, name="bob").name == "bob"

    @pytest.mark.parametrize("identifier", [2, 3, 5])
    def test_its_identifier_counts_up(self, server, identifier):
        server.link()
        server.refuse(server.respond(), **RETRY)
        server.hear(f"CHAP Response {identifier} value={'08' * 49} name=alice")
        assert len(questions(server)) == 1

    def test_a_lost_failure_is_sent_again(self, server):
        server.link()
        failure = server.refuse(server.respond(), **RETRY)
        assert server.hear(f"CHAP Response 3 value={'07' * 49} name=alice") == failure
        assert len(questions(server)) == 1

    def test_a_client_that_does_not_want_to_leaves_for_the_reason_of_the_refusal(self, server):
        server.link()
        server.refuse(server.respond(), **RETRY)
        server.hear("LCP TermReq 9")
        assert (server.ended.cause, server.ended.detail) == (CauseOfEnd.AUTHENTICATION_FAILED, "why")

    def test_a_silent_one_is_waited_for_a_minute(self, make_server):
        server = make_server(lcp_echo_interval=0.0)
        server.link()
        server.wait(20.0)
        server.hear(f"CHAP Response 3 value={'07' * 49} name=alice")
        server.refuse(server.question(), **RETRY)
        assert server.wait(59.0) == []
        assert server.wait(1.0) == ["LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_FAILED

    @pytest.mark.parametrize("auth", ["chap-md5", "pap"])
    def test_other_protocols_have_none(self, make_server, auth):
        server = make_server(auth=[auth])
        server.link()
        if auth == "pap":
            server.hear("PAP AuthReq 1 user=alice password=wrong")
        request = server.question() if auth == "pap" else server.respond()
        assert server.refuse(request, **RETRY)[-1] == "LCP TermReq 2"

    def test_a_later_challenge_has_its_own_tries_and_its_own_minute(self, make_server):
        server = make_server(lcp_echo_interval=0.0)
        server.up()
        assert server.do(server.session.challenge_again)[0].startswith("CHAP Challenge 4")
        server.refuse(server.respond(4), **RETRY)
        assert server.wait(61.0) == ["LCP TermReq 2"]


class TestChangePassword:
    NEW = "Passw0rd neu"

    @pytest.fixture
    def expired(self, server):
        server.link()
        failure = f"CHAP Failure 3 E=648 R=0 C={'04' * 16} V=3"
        assert server.refuse(server.respond(name="DOM\\alice"), code=648, **RETRY) == [failure]
        return server

    def packet(self, identifier=4):
        old, new = nt_password_hash("secret"), nt_password_hash(self.NEW)
        block = new_password_encrypted_with_old_nt_password_hash(self.NEW, old, bytes(516))
        proof = nt_password_hash_encrypted_with_block(old, new)
        response = generate_nt_response(b"\x04" * 16, b"\x05" * 16, b"alice", new)
        data = block + proof + b"\x05" * 16 + bytes(8) + response + bytes(2)
        return f"CHAP ChangePw {identifier} {data.hex()}"

    def test_it_is_a_question_for_the_user_of_the_response(self, expired):
        expired.hear(self.packet())
        request = expired.question()
        assert isinstance(request, MsChapV2ChangePasswordRequest)
        assert (request.name, request.identifier, request.challenge) == ("DOM\\alice", 4, b"\x04" * 16)
        assert (request.peer_challenge, len(request.encrypted_password)) == (b"\x05" * 16, 516)
        assert expired.accept(request)[0].startswith("CHAP Success 4 S=1")

    def test_after_it_there_is_no_retry(self, expired):
        expired.hear(self.packet())
        failure, goodbye = expired.refuse(expired.question(), code=709, **RETRY)
        assert failure.startswith("CHAP Failure 4 E=709 R=0 ")
        assert goodbye == "LCP TermReq 2"

    @pytest.mark.parametrize("line", [f"CHAP Response 4 value={'07' * 49} name=alice", "CHAP ChangePw 3 00"])
    def test_anything_else_is_dropped(self, expired, line):
        assert expired.hear(line) == []
        assert len(questions(expired)) == 1

    @pytest.mark.parametrize("cut", [2, 4, 1000])
    def test_a_truncated_one_is_malformed(self, expired, cut):
        expired.hear(self.packet()[:-cut])
        assert (len(questions(expired)), expired.session.malformed) == (1, 1)

    def test_one_that_is_too_long_is_malformed(self, expired):
        expired.hear(self.packet() + "00")
        assert (len(questions(expired)), expired.session.malformed) == (1, 1)

    def test_nobody_may_send_one_unasked(self, server):
        server.link()
        assert server.hear(self.packet(3)) == []
        assert questions(server) == []

    def test_nor_after_a_failure_that_only_allows_a_retry(self, server):
        server.link()
        server.refuse(server.respond(), **RETRY)
        server.hear(self.packet())
        assert len(questions(server)) == 1

    def test_ms_chap_v1_has_none(self, make_server):
        server = make_server(auth=["mschap-v1"])
        server.link()
        assert server.refuse(server.respond(), code=648, **RETRY)[-1] == "LCP TermReq 2"


class TestSuccessMessage:
    def response(self, server, flags):
        server.link()
        server.hear(f"CHAP Response 3 value={'07' * 48}{flags} name=alice")
        return server.question()

    def test_it_follows_the_proof(self, server):
        assert server.accept(self.response(server, "00"), message="S=1")[0] == "CHAP Success 3 S=1 M=S=1"

    def test_windows_98_gets_none(self, server):
        assert server.accept(self.response(server, "04"), message="S=1")[0] == "CHAP Success 3 S=1"


class TestPapCode:
    @pytest.fixture
    def server(self, make_server):
        server = make_server(auth=["pap"], encryption="refuse", lcp_echo_interval=0.0)
        server.link()
        server.hear("PAP AuthReq 1 user=alice password=secret")
        return server

    def challenge(self, server, message="Code?"):
        return server.do(server.session.challenged, server.question(), Challenged(message))

    @pytest.mark.parametrize(("message", "text"), [("Code?", "Code?"), ("", "More is needed")])
    def test_the_nak_asks_and_the_next_request_answers(self, server, message, text):
        assert self.challenge(server, message) == [f"PAP AuthNak 1 {text}"]
        assert server.session.phase is Phase.AUTHENTICATE
        server.hear("PAP AuthReq 2 user=alice password=123456")
        assert server.question() == PapRequest(name="alice", username="alice", password="123456")
        assert server.accept(server.question(), message="ok")[0] == "PAP AuthAck 2 ok"

    def test_a_request_that_comes_again_gets_the_nak_again(self, server):
        self.challenge(server)
        assert server.hear("PAP AuthReq 2 user=alice password=secret") == ["PAP AuthNak 2 Code?"]

    def test_while_the_answer_is_judged_an_old_request_is_dropped(self, server):
        self.challenge(server)
        server.hear("PAP AuthReq 2 user=alice password=123456")
        assert server.hear("PAP AuthReq 3 user=alice password=secret") == []
        assert len(questions(server)) == 2

    def test_three_passwords_are_enough(self, server):
        for number in (2, 3):
            self.challenge(server)
            server.hear(f"PAP AuthReq {number} user=alice password={number}")
        assert self.challenge(server) == ["PAP AuthNak 3 Authentication failed", "LCP TermReq 2"]

    def test_the_answer_has_a_minute(self, server):
        self.challenge(server)
        assert server.wait(59.0) == []
        assert server.wait(1.0) == ["LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_TIMEOUT

    def test_nobody_is_asked_again_under_pap(self, server):
        server.accept(server.question())
        assert not server.session.can_challenge_again
        assert server.do(server.session.challenge_again) == []


@pytest.mark.parametrize("auth", ["mschap-v2", "mschap-v1", "chap-md5"])
def test_chap_cannot_ask_for_more(make_server, auth):
    server = make_server(auth=[auth])
    server.link()
    assert server.do(server.session.challenged, server.respond(), Challenged("Code?"))[-1] == "LCP TermReq 2"
    server.hear("LCP TermAck 2")
    assert (server.ended.cause, server.ended.detail) == (
        CauseOfEnd.AUTHENTICATION_FAILED,
        "CHAP has no way to ask the client for more",
    )


@pytest.mark.parametrize("line", ["IPCP ConfReq 1 <addr 10.0.0.9>", "IPCP ConfReq 1 <addr 0.0.0.0>", "IPCP ConfReq 1"])
def test_the_address_that_a_client_wishes_is_known_before_it_has_one(server, line):
    server.log_in()
    assert server.session.wished_address is None
    server.hear(line)
    assert str(server.session.wished_address) == ("10.0.0.9" if "10.0.0.9" in line else "None")
