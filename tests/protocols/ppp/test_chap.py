"""Conversations about CHAP-MD5 (RFC 1994), MS-CHAPv1 (RFC 2433) and MS-CHAPv2 (RFC 2759) as authenticator."""

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import ChapMd5Request, MsChapV1Request, MsChapV2Request
from poptrio.protocols.ppp.session import Phase
from poptrio.protocols.ppp.session_events import Authenticated, AuthenticationNeeded

CHALLENGE = f"CHAP Challenge 3 value={'03' * 16} name=poptrio"
VALUE = bytes(range(49)).hex()
RESPONSE = f"CHAP Response 3 value={VALUE} name=DOM\\alice"


def questions(server):
    return [event.request for event in server.events(AuthenticationNeeded)]


class TestRequest:
    def test_ms_chap_v2(self, server):
        assert server.link() == [CHALLENGE]
        assert server.hear(RESPONSE) == []
        value = bytes.fromhex(VALUE)
        assert server.question() == MsChapV2Request(
            name="DOM\\alice",
            username="DOM\\alice",
            identifier=3,
            challenge=b"\x03" * 16,
            peer_challenge=value[:16],
            nt_response=value[24:48],
            flags=48,
        )

    @pytest.mark.parametrize(("flag", "use_nt"), [("01", True), ("00", False), ("02", False)])
    def test_ms_chap_v1(self, make_server, flag, use_nt):
        server = make_server(auth=["mschap-v1"])
        assert server.link() == [f"CHAP Challenge 3 value={'03' * 8} name=poptrio"]
        server.hear(f"CHAP Response 3 value={VALUE[:-2]}{flag} name=alice")
        value = bytes.fromhex(VALUE)
        assert server.question() == MsChapV1Request(
            name="alice",
            username="alice",
            identifier=3,
            challenge=b"\x03" * 8,
            lm_response=value[:24],
            nt_response=value[24:48],
            use_nt=use_nt,
        )

    def test_chap_md5(self, make_server):
        server = make_server(auth=["chap-md5"], name="vpn")
        assert server.link() == [f"CHAP Challenge 3 value={'03' * 16} name=vpn"]
        server.hear(f"CHAP Response 3 value={'07' * 16} name=alice")
        assert server.question() == ChapMd5Request(
            name="alice", username="alice", identifier=3, challenge=b"\x03" * 16, response=b"\x07" * 16
        )

    @pytest.mark.parametrize("auth", ["mschap-v1", "mschap-v2"])
    @pytest.mark.parametrize("size", [0, 16, 48, 50])
    def test_an_ms_chap_value_of_another_size_is_malformed(self, make_server, auth, size):
        server = make_server(auth=[auth])
        server.link()
        server.hear(f"CHAP Response 3 value={'07' * size} name=alice")
        assert (server.session.malformed, questions(server)) == (1, [])

    @pytest.mark.parametrize("data", ["", "31", "31aabb"])
    def test_every_truncation_is_malformed(self, server, data):
        server.link()
        server.hear_frames(bytes.fromhex(f"c223 0203 {4 + len(data) // 2:04x} {data}"))
        assert (server.session.malformed, questions(server)) == (1, [])


class TestAnswers:
    def test_ms_chap_v2_success_is_s_and_nothing_else_because_windows_98_breaks_on_m(self, server):
        server.link()
        request = server.respond()
        said = server.accept(request, message="S=" + "AB" * 20)
        assert said[0] == "CHAP Success 3 S=" + "AB" * 20
        assert server.events(Authenticated)

    @pytest.mark.parametrize("auth", ["chap-md5", "mschap-v1"])
    @pytest.mark.parametrize(("message", "text"), [("", "Welcome"), ("hello", "hello")])
    def test_the_others_succeed_with_a_message(self, make_server, auth, message, text):
        server = make_server(auth=[auth])
        server.link()
        assert server.accept(server.respond(), message=message)[0] == f"CHAP Success 3 {text}"

    @pytest.mark.parametrize(("auth", "size", "version"), [("mschap-v1", 8, 2), ("mschap-v2", 16, 3)])
    @pytest.mark.parametrize("code", [646, 647, 648, 649, 691, 709])
    def test_ms_chap_failure_has_the_error_number_a_challenge_and_no_retry(
        self, make_server, auth, size, version, code
    ):
        server = make_server(auth=[auth])
        server.link()
        failure = f"CHAP Failure 3 E={code} R=0 C={'04' * size} V={version}"
        assert server.refuse(server.respond(), code=code) == [failure, "LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert (server.ended.cause, server.ended.detail) == (CauseOfEnd.AUTHENTICATION_FAILED, "why")

    def test_failure_has_m_only_where_a_plugin_gave_a_message(self, server):
        server.link()
        assert server.refuse(server.respond(), message="closed today")[0].endswith(" V=3 M=closed today")

    @pytest.mark.parametrize(("message", "text"), [("", "Authentication failed"), ("no", "no")])
    def test_md5_failure_is_text(self, make_server, message, text):
        server = make_server(auth=["chap-md5"])
        server.link()
        assert server.refuse(server.respond(), message=message)[0] == f"CHAP Failure 3 {text}"

    def test_a_refusal_may_have_another_cause(self, server):
        server.link()
        server.refuse(server.respond(), CauseOfEnd.AUTHENTICATION_UNAVAILABLE)
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_UNAVAILABLE

    def test_a_message_that_cannot_be_encoded_loses_what_cannot(self, make_server):
        server = make_server(auth=["chap-md5"])
        server.link()
        assert server.refuse(server.respond(), message="a\udcffb")[0] == "CHAP Failure 3 a?b"


class TestLostAndRepeated:
    def test_an_unanswered_challenge_is_repeated_then_given_up(self, make_server):
        server = make_server(lcp_echo_interval=0.0)
        server.link()
        assert [server.wait() for _ in range(9)] == [[CHALLENGE]] * 9
        assert server.wait() == ["LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_TIMEOUT

    def test_a_repeated_response_is_judged_once_and_gets_the_same_answer(self, server):
        server.link()
        assert server.hear(RESPONSE, RESPONSE) == []
        success, *_ = server.accept(server.question(), message="S=AB")
        assert server.hear(RESPONSE, RESPONSE) == [success, success]
        assert len(questions(server)) == 1

    def test_while_a_response_is_judged_no_challenge_is_repeated(self, server):
        server.link()
        server.hear(RESPONSE)
        assert server.wait(20.0) == []

    @pytest.mark.parametrize("identifier", [2, 4])
    def test_a_response_to_another_challenge_is_discarded(self, server, identifier):
        server.link()
        server.hear(RESPONSE.replace("Response 3", f"Response {identifier}"))
        assert questions(server) == []

    def test_one_challenge_one_judgement(self, server):
        server.link()
        server.accept(server.respond())
        assert server.hear(RESPONSE) == []
        assert len(questions(server)) == 1

    @pytest.mark.parametrize("line", ["CHAP Challenge 3 value=00 name=x", "CHAP Success 3 S=00", "CHAP Failure 3 x"])
    def test_other_codes_are_discarded(self, server, line):
        server.link()
        assert server.hear(line) == []

    def test_an_answer_that_comes_after_a_new_negotiation_is_ignored(self, server):
        server.link()
        request = server.respond()
        assert server.session.awaits(request)
        server.hear("LCP ConfReq 2 <mru 1300>")
        assert not server.session.awaits(request)
        assert server.accept(request) == []
        assert server.refuse(request) == []
        assert server.ack("LCP")[0].startswith("CHAP Challenge")
        assert not server.session.awaits(request)

    def test_an_answer_that_comes_after_the_end_is_ignored(self, server):
        server.link()
        request = server.respond()
        server.hear("LCP TermReq 9")
        assert server.accept(request) == []
        assert server.ended.cause is CauseOfEnd.CLIENT_HUNG_UP

    def test_an_answer_before_lcp_was_ever_up_is_ignored(self, server):
        server.link()
        request = server.respond()
        assert not type(server.session)(server.session.settings, bytes).awaits(request)


class TestChallengeAgain:
    @pytest.fixture
    def server(self, make_server):
        server = make_server(authentication_interval=10.0, lcp_echo_interval=0.0)
        server.up()
        return server

    def test_the_peer_must_prove_itself_again(self, server):
        (challenge,) = server.wait(10.0)
        assert challenge == f"CHAP Challenge 4 value={'04' * 16} name=poptrio"
        assert server.accept(server.respond(4), message="S=AB") == ["CHAP Success 4 S=AB"]
        assert server.wait(10.0)[0].startswith("CHAP Challenge 5")
        assert server.session.phase is Phase.NETWORK
        assert len(server.events(Authenticated)) == 1

    def test_the_old_response_does_not_do(self, server):
        server.wait(10.0)
        before = len(questions(server))
        server.hear(f"CHAP Response 3 value={'08' * 49} name=alice")
        assert len(questions(server)) == before

    def test_a_refusal_ends_the_session(self, server):
        server.wait(10.0)
        assert server.refuse(server.respond(4))[0].startswith("CHAP Failure 4 E=691")
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_FAILED

    def test_silence_ends_the_session_though_the_interval_comes_round_before(self, server):
        said = server.wait(40.0)
        assert [line.split()[2] for line in said if "Challenge" in line] == ["4"] * 10
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_TIMEOUT

    def test_no_new_challenge_while_an_answer_is_judged(self, server):
        server.wait(10.0)
        server.respond(4)
        assert server.wait(30.0) == []
