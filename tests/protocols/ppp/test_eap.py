"""Conversations about EAP (RFC 2284) as authenticator: a plugin's methods passed through, and our own."""

from hashlib import md5

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import ChapMd5Request, EapRequest, MsChapV2Request
from poptrio.protocols.ppp.authenticator import Accepted, Challenged, Refused
from poptrio.protocols.ppp.eap_packets import EapCode, fault_of
from poptrio.protocols.ppp.proof import prove
from poptrio.protocols.ppp.session import Phase
from poptrio.protocols.ppp.session_events import Authenticated, AuthenticationNeeded

IDENTITY = "EAP Request 3 identity="
ALICE = "EAP Response 3 identity=alice"
TOKEN = bytes.fromhex("01 2a 0006 06 3f")  # a Generic Token Card Request that some plugin gave us
CHALLENGE = bytes((16,)) + b"\x03" * 16 + b"poptrio"
MSCHAP_CHALLENGE = f"EAP Request 4 mschap-v2=0104{len(CHALLENGE) + 4:04x}{CHALLENGE.hex()}"


def mschap_response(name="alice", identifier=4, length=None, value=b"\x07" * 49):
    data = bytes((len(value),)) + value + name.encode()
    length = len(data) + 4 if length is None else length
    return f"mschap-v2=02{identifier:02x}{length:04x}{data.hex()}"


def questions(server):
    return [event.request for event in server.events(AuthenticationNeeded)]


@pytest.fixture
def server(make_server):
    server = make_server(auth=["eap"], encryption="prefer", lcp_echo_interval=0.0)
    assert server.link() == [IDENTITY]
    return server


@pytest.fixture
def identified(server):
    assert server.hear(ALICE) == []
    return server


@pytest.fixture
def mschap(identified):
    assert identified.do(identified.session.speak_eap, identified.question(), ("mschap-v2", "md5")) == [
        MSCHAP_CHALLENGE
    ]
    return identified


def challenge(server, packet):
    return server.do(server.session.challenged, server.question(), Challenged(eap=packet))


class TestIdentity:
    def test_it_becomes_the_first_question(self, server):
        server.hear("EAP Response 3 identity=DOM\\alice")
        packet = b"\x02\x03\x00\x0e\x01DOM\\alice"
        assert server.question() == EapRequest(name="DOM\\alice", username="DOM\\alice", packet=packet)
        assert server.question().is_identity

    def test_without_an_answer_it_is_asked_max_configure_times(self, server):
        assert [server.wait() for _ in range(9)] == [[IDENTITY]] * 9
        assert server.wait() == ["LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_TIMEOUT

    @pytest.mark.parametrize(
        "line",
        [
            "EAP Response 2 identity=alice",  # of no Request of ours
            "EAP Response 3 nak=04",  # an identity cannot be refused
            "EAP Response 3 md5=00",
            "EAP Request 3 identity=",
            "EAP Success 3",
            "EAP Failure 3",
            f"EAP Response 3 identity={'a' * 257}",
        ],
    )
    def test_anything_else_is_dropped(self, server, line):
        assert server.hear(line) == []
        assert questions(server) == []

    @pytest.mark.parametrize("octets", ["", "02", "0203", "020300", "02030004", "02030010 01", "02030003 01"])
    def test_truncated_and_lying_packets_are_malformed(self, server, octets):
        server.hear_frames(bytes.fromhex(f"c227 {octets}"))
        assert (questions(server), server.session.malformed) == ([], 1)

    def test_what_lies_beyond_the_length_is_padding(self, server):
        server.hear_frames(bytes.fromhex("c227 0203 000a 01 616c696365 0000"))
        assert server.question().name == "alice"

    def test_a_name_that_is_no_text_keeps_its_octets(self, server):
        server.hear_frames(bytes.fromhex("c227 0203 0007 01 61ff"))
        assert server.question().name == "a\udcff"


class TestPassedThrough:
    def test_every_response_is_a_question_with_the_whole_packet(self, identified):
        assert challenge(identified, TOKEN) == ["EAP Request 42 type6=3f"]
        assert identified.hear("EAP Response 42 type6=313233") == []
        assert identified.question() == EapRequest(
            name="alice", username="alice", packet=bytes.fromhex("022a000806313233")
        )

    def test_a_request_is_repeated_for_as_long_as_a_person_needs(self, identified):
        challenge(identified, TOKEN)
        assert identified.wait(57.0) == ["EAP Request 42 type6=3f"] * 19
        assert identified.session.phase is Phase.AUTHENTICATE

    def test_a_response_that_comes_again_gets_the_last_packet_and_no_second_judgement(self, identified):
        assert identified.hear(ALICE, ALICE) == []
        challenge(identified, TOKEN)
        assert identified.hear(ALICE) == ["EAP Request 42 type6=3f"]
        assert len(questions(identified)) == 1

    def test_a_nak_is_the_plugins_business(self, identified):
        challenge(identified, TOKEN)
        identified.hear("EAP Response 42 nak=19")
        assert identified.question().packet == bytes.fromhex("022a0006 03 19")

    def test_a_wrong_identifier_is_dropped(self, identified):
        challenge(identified, TOKEN)
        identified.hear("EAP Response 43 type6=31", "EAP Response 4 type6=31")
        assert len(questions(identified)) == 1

    @pytest.mark.parametrize(
        ("packet", "fault"),
        [
            ("", "octets needed"),
            ("012a0004", "octets needed"),
            ("012a0009 06 3f", "octets needed"),
            ("012a0005 06 3f", "has 6 octets and a Length field of 5"),
            ("022a0006 06 3f", "has the code 2"),
            ("032a0004", "has the code 3"),
            ("01030006 06 3f", "the Identifier of the one before"),
            ("012a0579 06" + "00" * 1396, "has 1401 octets, and the client takes 1400"),
        ],
    )
    def test_a_plugins_broken_packet_refuses_the_client(self, identified, packet, fault):
        assert challenge(identified, bytes.fromhex(packet)) == ["EAP Failure 3", "LCP TermReq 2"]
        identified.hear("LCP TermAck 2")
        assert identified.ended.cause is CauseOfEnd.AUTHENTICATION_FAILED
        assert fault in identified.ended.detail

    def test_a_packet_of_the_mru_is_sent(self, identified):
        assert len(challenge(identified, bytes.fromhex("012a0578 06" + "00" * 1395))) == 1

    def test_a_conversation_without_end_is_ended(self, identified):
        for number in range(99):
            identifier = 50 + number % 2
            challenge(identified, bytes((1, identifier, 0, 5, 6)))
            identified.hear(f"EAP Response {identifier} type6=")
        assert challenge(identified, bytes((1, 99, 0, 5, 6)))[-1] == "LCP TermReq 2"

    @pytest.mark.parametrize(
        ("given", "sent"),
        [("", "Success 3"), ("03070004", "Success 7"), ("04070004", "Success 3"), ("0307", "Success 3")],
    )
    def test_success_is_the_plugins_packet_if_it_is_one(self, identified, given, sent):
        accepted = Accepted(eap=bytes.fromhex(given))
        identified.session.authenticated(identified.question(), accepted, None, identified.now)
        assert identified.said()[0] == f"EAP {sent}"
        assert identified.events(Authenticated)

    @pytest.mark.parametrize(("given", "sent"), [("", "Failure 3"), ("04070004", "Failure 7"), ("03", "Failure 3")])
    def test_failure_too(self, identified, given, sent):
        request, refused = identified.question(), Refused(eap=bytes.fromhex(given))
        said = identified.do(
            identified.session.refused, request, refused, CauseOfEnd.AUTHENTICATION_FAILED, "alice: no"
        )
        assert said == [f"EAP {sent}", "LCP TermReq 2"]

    def test_a_lost_success_is_sent_again(self, identified):
        identified.accept(identified.question())
        assert identified.hear(ALICE)[0] == "EAP Success 3"

    def test_authenticating_again_begins_with_the_identity(self, identified):
        identified.accept(identified.question())
        assert identified.session.can_challenge_again
        assert identified.do(identified.session.challenge_again) == ["EAP Request 4 identity="]
        assert identified.do(identified.session.challenge_again) == []
        identified.hear("EAP Response 4 identity=alice")
        assert identified.question().is_identity


class TestMd5:
    @pytest.fixture
    def asked(self, identified):
        said = identified.do(identified.session.speak_eap, identified.question(), ("md5",))
        assert said == [f"EAP Request 4 md5={CHALLENGE.hex()}"]
        return identified

    @pytest.mark.parametrize("name", ["", "mallory"])
    def test_it_asks_as_chap_md5_for_the_identity_and_nobody_else(self, asked, name):
        value = md5(b"\x04secret" + b"\x03" * 16).digest()
        asked.hear(f"EAP Response 4 md5=10{value.hex()}{name.encode().hex()}")
        assert asked.question() == ChapMd5Request(
            name="alice", username="alice", identifier=4, challenge=b"\x03" * 16, response=value
        )
        assert prove(asked.question(), "secret")
        assert asked.accept(asked.question(), keys=None)[0] == "EAP Success 4"

    def test_a_wrong_one_is_a_failure(self, asked):
        asked.hear("EAP Response 4 md5=0100")
        assert asked.refuse(asked.question()) == ["EAP Failure 4", "LCP TermReq 2"]

    def test_a_truncated_one_is_malformed(self, asked):
        asked.hear("EAP Response 4 md5=", "EAP Response 4 md5=1000")
        assert asked.session.malformed == 2


class TestMsChapV2:
    def test_it_asks_as_ms_chap_v2(self, mschap):
        mschap.hear(f"EAP Response 4 {mschap_response()}")
        assert mschap.question() == MsChapV2Request(
            name="alice",
            username="alice",
            identifier=4,
            challenge=b"\x03" * 16,
            peer_challenge=b"\x07" * 16,
            nt_response=b"\x07" * 24,
            flags=7,
        )

    def test_success_waits_for_the_clients_word(self, mschap):
        mschap.hear(f"EAP Response 4 {mschap_response(value=bytes(49))}")
        success = f"EAP Request 5 mschap-v2=0304000d{b'S=1 M=S=1'.hex()}"
        assert mschap.accept(mschap.question()) == [success]
        assert mschap.events(Authenticated) == []
        assert mschap.wait() == [success]
        assert mschap.hear("EAP Response 5 mschap-v2=03")[0] == "EAP Success 5"
        assert mschap.events(Authenticated)

    def test_addresses_that_come_meanwhile_are_kept(self, mschap):
        mschap.hear(f"EAP Response 4 {mschap_response()}")
        mschap.accept(mschap.question())
        assert mschap.assign() == []
        mschap.hear("EAP Response 5 mschap-v2=03")
        mschap.encrypt()
        assert mschap.requests["IPCP"].startswith("IPCP ConfReq 1 <addr 10.0.0.1>")

    def test_a_client_that_does_not_believe_us_is_let_go(self, mschap):
        mschap.hear(f"EAP Response 4 {mschap_response()}")
        mschap.accept(mschap.question())
        assert mschap.hear("EAP Response 5 mschap-v2=04") == ["EAP Failure 5", "LCP TermReq 2"]
        mschap.hear("LCP TermAck 2")
        assert "does not believe" in mschap.ended.detail
        assert mschap.events(Authenticated) == []

    def test_failure_waits_too_but_not_long(self, mschap):
        mschap.hear(f"EAP Response 4 {mschap_response()}")
        text = f"E=691 R=0 C={'04' * 16} V=3"
        failure = f"EAP Request 5 mschap-v2=0404{len(text) + 4:04x}{text.encode().hex()}"
        assert mschap.refuse(mschap.question()) == [failure]
        assert mschap.wait() == [failure]
        assert mschap.wait() == ["LCP TermReq 2"]
        mschap.hear("LCP TermAck 2")
        assert (mschap.ended.cause, mschap.ended.detail) == (CauseOfEnd.AUTHENTICATION_FAILED, "why")

    def test_an_answered_failure_ends_at_once(self, mschap):
        mschap.hear(f"EAP Response 4 {mschap_response()}")
        mschap.refuse(mschap.question())
        assert mschap.hear("EAP Response 5 mschap-v2=04") == ["EAP Failure 5", "LCP TermReq 2"]

    def test_a_retry_answers_the_challenge_of_the_failure(self, mschap):
        mschap.hear(f"EAP Response 4 {mschap_response()}")
        mschap.refuse(mschap.question(), retry=True, challenge=b"\x0c" * 16)
        mschap.hear(f"EAP Response 5 {mschap_response(identifier=5)}")
        assert (mschap.question().challenge, mschap.question().identifier) == (b"\x0c" * 16, 5)
        assert mschap.accept(mschap.question())[0].startswith("EAP Request 6 mschap-v2=0305")

    @pytest.mark.parametrize(
        ("identity", "sent", "judged"),
        [
            ("alice", "ALICE", "ALICE"),  # the hash is over what was sent
            ("alice", "", "alice"),
            ("CORP\\alice", "alice", "CORP\\alice"),
            ("CORP\\alice", "OTHER\\alice", "CORP\\alice"),
        ],
    )
    def test_the_one_who_was_identified_is_judged(self, server, identity, sent, judged):
        server.hear(f"EAP Response 3 identity={identity}")
        server.do(server.session.speak_eap, server.question(), ("mschap-v2",))
        server.hear(f"EAP Response 4 {mschap_response(sent)}")
        assert server.question().name == judged

    def test_another_name_than_the_identity_is_refused_unasked(self, mschap):
        assert mschap.hear(f"EAP Response 4 {mschap_response('bob')}") == ["EAP Failure 4", "LCP TermReq 2"]
        assert len(questions(mschap)) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            "mschap-v2=0204",
            mschap_response(length=53),
            mschap_response(length=99),
            mschap_response(value=bytes(48)),
            "mschap-v2=0204000531",
        ],
    )
    def test_a_broken_response_is_malformed(self, mschap, answer):
        assert mschap.hear(f"EAP Response 4 {answer}") == []
        assert mschap.session.malformed == 1

    @pytest.mark.parametrize("answer", ["mschap-v2=", "mschap-v2=03", "mschap-v2=04", "mschap-v2=07040004", "md5=00"])
    def test_what_is_out_of_place_is_dropped(self, mschap, answer):
        assert mschap.hear(f"EAP Response 4 {answer}") == []
        assert len(questions(mschap)) == 1

    def test_another_challenge_of_the_plugin_has_no_place_in_it(self, mschap):
        mschap.hear(f"EAP Response 4 {mschap_response()}")
        challenge(mschap, TOKEN)
        mschap.hear("EAP Response 5 mschap-v2=04", "LCP TermAck 2")
        assert "has no place in a method of ours" in mschap.ended.detail


class TestNak:
    def test_the_next_method_is_one_that_the_client_wants(self, mschap):
        assert mschap.hear("EAP Response 4 nak=0d04") == [
            f"EAP Request 5 md5={(bytes((16,)) + bytes((4,)) * 16 + b'poptrio').hex()}"
        ]

    @pytest.mark.parametrize(("wanted", "said"), [("0d", "wants 13"), ("00", "wants none"), ("", "wants none")])
    def test_none_that_we_have_is_no_agreement(self, mschap, wanted, said):
        assert mschap.hear(f"EAP Response 4 nak={wanted}") == ["EAP Failure 4", "LCP TermReq 2"]
        mschap.hear("LCP TermAck 2")
        assert mschap.ended.cause is CauseOfEnd.AUTHENTICATION_NOT_AGREED
        assert said in mschap.ended.detail

    def test_a_method_is_offered_once(self, mschap):
        mschap.hear("EAP Response 4 nak=04")
        assert mschap.hear("EAP Response 5 nak=1a04") == ["EAP Failure 5", "LCP TermReq 2"]

    def test_no_method_at_all_is_a_refusal(self, identified):
        assert identified.do(identified.session.speak_eap, identified.question(), ())[0] == "EAP Failure 3"

    def test_only_an_identity_is_answered_with_methods(self, identified):
        challenge(identified, TOKEN)
        identified.hear("EAP Response 42 type6=31")
        said = identified.do(identified.session.speak_eap, identified.question(), ("md5",))
        assert said == ["EAP Failure 42", "LCP TermReq 2"]


def test_an_answer_that_nobody_waits_for_is_ignored(identified):
    request = identified.question()
    identified.hear("LCP TermReq 9")
    assert identified.do(identified.session.speak_eap, request, ("md5",)) == []
    assert identified.do(identified.session.challenged, request, Challenged(eap=TOKEN)) == []


def test_a_packet_without_fault():
    assert fault_of(TOKEN, (EapCode.REQUEST,), 6) == ""
