"""The phases of a session (RFC 1661 §3): what is looked at in which of them, and every way to the end."""

import math

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.session import Phase
from poptrio.protocols.ppp.session_events import LinkUp, NetworkDown, NetworkUp, Noted, SessionEnding
from poptrio.testing.ppp_notation import frame_from_line

FOREIGN = [
    "802b 0101000a",  # IPXCP
    "803f 0101000a",  # NBFCP
    "8057 0101000a",  # IPv6CP
    "8281 01010004",  # MPLSCP
    "8235 01010004",  # ACSP of Apple
    "c029 01010004",  # CBCP
    "c02b 01010004",  # BACP
    "003d c0000000",  # multilink
    "0057 60000000",  # IPv6
    "4242 01",  # even, so it can be nobody's
]
NETWORK = ["CCP ConfReq 1 <mppe 01000040>", "IPCP ConfReq 1 <addr 0.0.0.0>", *FOREIGN]
AUTHENTICATION = ["PAP AuthReq 1 user=alice password=secret", "CHAP Response 3 value=" + "07" * 49 + " name=alice"]


class TestPhases:
    def test_before_the_start_nothing_is_heard(self, server):
        assert server.hear("LCP ConfReq 1") == []
        assert server.session.phase is Phase.DEAD
        assert server.session.next_deadline() == math.inf

    @pytest.mark.parametrize("line", NETWORK + AUTHENTICATION)
    def test_while_lcp_is_negotiated_nothing_else_is_looked_at(self, server, line):
        server.start()
        server.hear("LCP ConfReq 1")
        assert server.hear(line) == []
        assert server.events(object) == []

    @pytest.mark.parametrize("line", [*NETWORK, AUTHENTICATION[0]])
    def test_before_authentication_nothing_else_is_looked_at_and_nothing_answered(self, server, line):
        server.link()
        assert server.hear(line) == []
        assert server.events(object) == server.events(LinkUp)

    @pytest.mark.parametrize("line", FOREIGN)
    def test_afterwards_what_we_do_not_speak_is_rejected_and_the_call_goes_on(self, server, line):
        server.up()
        assert server.hear(line) == [f"LCP ProtRej 2 {line.replace(' ', '')}"]
        assert server.events(Noted)[0].event == "protocol-rejected"
        assert server.hear("LCP EchoReq 1 0a0b0c0d") != []
        assert server.ended is None

    def test_a_protocol_reject_fits_into_the_peers_mru(self, server):
        server.link("<mru 128>")
        server.accept(server.respond())
        (line,) = server.hear("8057 " + "00" * 1000)
        assert len(frame_from_line(line)) == 4 + 128

    def test_a_rejected_protocol_of_ours_that_matters_to_nobody_is_noted(self, server):
        server.up()
        assert server.hear("LCP ProtRej 5 c223", "LCP ProtRej 6 8057") == []
        assert [note.detail for note in server.events(Noted)] == [
            "the peer does not speak CHAP",
            "the peer does not speak IPV6CP",
        ]

    def test_before_authentication_a_protocol_reject_is_noted(self, server):
        server.link()
        assert server.hear("LCP ProtRej 5 c223") == []
        assert server.events(Noted)[0].event == "protocol-rejected-by-peer"

    def test_frames_are_compressed_as_the_peer_allows(self, server):
        server.link("<acfc>")
        server.session.receive_frame(frame_from_line(AUTHENTICATION[1]), 0.0)
        server.accept(server.question())
        server.session.request_encryption_reset(0.0)
        server.session.receive_frame(frame_from_line("CCP 42 1"), 0.0)
        server.session.receive_frame(frame_from_line("LCP 42 1"), 0.0)
        assert [frame[:2].hex() for frame in server.session.frames_to_send()] == ["80fd", "ff03"]

    def test_a_frame_that_makes_no_sense_is_counted(self, server):
        server.link()
        assert server.hear_frames(b"", b"\xff\x03", b"\xc0", b"\xc0\x21\x01") == []
        assert server.session.malformed == 4


class TestNewNegotiation:
    def test_before_authentication_lcp_may_begin_anew(self, server):
        server.link()
        server.hear("LCP ConfReq 2 <mru 1300>")
        assert server.session.phase is Phase.ESTABLISH
        assert server.ack("LCP") == [f"CHAP Challenge 5 value={'05' * 16} name=poptrio"]
        assert [up.peer_mru for up in server.events(LinkUp)] == [1400, 1300]

    def test_it_is_about_all_authentication_protocols_again(self, make_server):
        server = make_server(auth=("mschap-v2", "pap"))
        server.start()
        server.hear("LCP ConfNak 1 <auth pap>")
        server.agree("LCP")
        assert "<auth mschap-v2>" in server.hear("LCP ConfReq 2 <mru 1300>")[0]

    def test_afterwards_it_ends_the_session_because_another_user_might_answer(self, server):
        server.up()
        assert server.hear("LCP ConfReq 2 <mru 1300>")[-1] == "LCP TermReq 3"
        assert server.events(NetworkDown)
        server.hear("LCP TermAck 3")
        assert server.ended.cause is CauseOfEnd.PROTOCOL_ERROR
        assert server.ended.detail == "it negotiated LCP again after it was authenticated"

    def test_a_client_does_the_same_with_its_server(self, make_client):
        client = make_client(auth=["pap"], encryption="refuse")
        client.link("<auth pap>")
        client.hear("LCP ConfReq 2 <auth pap> <mru 1300>")
        assert client.ack("LCP") == ["PAP AuthReq 1 user=alice password=secret"]


class TestServerWithoutAuthentication:
    def test_our_client_goes_on_where_nothing_depends_on_it(self, make_client):
        client = make_client(encryption="prefer")
        assert client.link("<mru 1400>")[0].startswith("IPCP ConfReq")

    def test_it_does_not_where_encryption_is_required(self, client):
        assert client.link("<mru 1400>") == ["LCP TermReq 2"]
        client.hear("LCP TermAck 2")
        assert client.ended.cause is CauseOfEnd.ENCRYPTION_NOT_AGREED


class TestEnds:
    @pytest.mark.parametrize("cause", [CauseOfEnd.SERVER_SHUTDOWN, CauseOfEnd.ADMIN_RESET])
    @pytest.mark.parametrize("stage", ["link", "log_in", "up"])
    def test_in_every_phase_we_say_goodbye(self, server, stage, cause):
        getattr(server, stage)()
        assert server.do(server.session.terminate, cause, "bye") == ["LCP TermReq 2"]
        assert server.do(server.session.terminate, CauseOfEnd.IDLE_TIMEOUT, "later") == []
        server.hear("LCP TermAck 2")
        assert (server.ended.cause, server.ended.detail) == (cause, "bye")
        assert server.session.next_deadline() == math.inf
        assert server.hear("LCP ConfReq 1") == []
        assert server.do(server.session.terminate, cause, "") == []

    def test_the_end_is_announced_with_its_cause_before_the_peer_answers(self, server):
        server.link()
        server.do(server.session.terminate, CauseOfEnd.ADMIN_RESET, "bye")
        assert server.events(SessionEnding) == [SessionEnding(CauseOfEnd.ADMIN_RESET, "bye")]

    def test_a_peer_that_was_never_heard_is_not_waited_for(self, server):
        server.start()
        assert server.do(server.session.terminate, CauseOfEnd.SERVER_SHUTDOWN, "") == []
        assert server.ended.cause is CauseOfEnd.SERVER_SHUTDOWN

    def test_the_network_is_closed_first(self, server):
        server.up()
        server.do(server.session.terminate, CauseOfEnd.IDLE_TIMEOUT, "")
        assert isinstance(server.events(NetworkUp, NetworkDown)[-1], NetworkDown)

    @pytest.mark.parametrize(
        ("stage", "cause", "detail"),
        [
            ("start", CauseOfEnd.CLIENT_HUNG_UP, "before LCP was up"),
            ("link", CauseOfEnd.CLIENT_HUNG_UP, "before it was authenticated"),
            ("log_in", CauseOfEnd.ENCRYPTION_NOT_AGREED, "the peer hung up meanwhile; the peer does not answer CCP"),
            ("up", CauseOfEnd.CLIENT_HUNG_UP, ""),
        ],
    )
    def test_the_peer_hangs_up(self, server, stage, cause, detail):
        getattr(server, stage)()
        assert server.hear("LCP TermReq 9")[-1] == "LCP TermAck 9"
        assert (server.ended.cause, server.ended.detail) == (cause, detail)

    def test_the_peer_hangs_up_between_encryption_and_address(self, server):
        server.log_in()
        server.encrypt()
        server.hear("LCP TermReq 9")
        assert (server.ended.cause, server.ended.detail) == (CauseOfEnd.CLIENT_HUNG_UP, "before it had an address")

    def test_the_peer_hangs_up_while_addresses_are_negotiated(self, server):
        server.log_in()
        server.encrypt()
        server.assign()
        server.hear("LCP TermReq 9")
        assert server.ended.cause is CauseOfEnd.NETWORK_NOT_AGREED
        assert server.ended.detail == "the peer hung up meanwhile"

    def test_no_authentication_protocol_in_common(self, server):
        server.start()
        server.hear("LCP ConfReq 1")
        assert server.hear("LCP ConfNak 1 <auth pap>")[-1] == "LCP TermReq 3"
        server.hear("LCP TermAck 3")
        assert server.ended.cause is CauseOfEnd.AUTHENTICATION_NOT_AGREED
        assert server.ended.detail == "the peer wants pap; configured: mschap-v2"

    def test_no_authentication_protocol_in_common_as_client(self, client):
        client.start()
        for number in range(5):
            assert client.hear(f"LCP ConfReq {number} <auth pap>")[-1] == f"LCP ConfNak {number} <auth mschap-v2>"
        assert client.hear("LCP ConfReq 5 <auth pap>") == ["LCP ConfRej 5 <auth pap>", "LCP TermReq 2"]
        client.hear("LCP TermAck 2")
        assert client.ended.cause is CauseOfEnd.AUTHENTICATION_NOT_AGREED
        assert client.ended.detail == "the server wants pap; allowed: mschap-v2"

    def test_a_server_that_leaves_because_of_that(self, client):
        client.start()
        client.hear("LCP ConfReq 1 <auth pap>", "LCP TermReq 2")
        assert client.ended.cause is CauseOfEnd.AUTHENTICATION_NOT_AGREED

    def test_a_peer_that_refuses_every_request(self, server):
        server.start()
        for number in range(1, 12):
            server.hear(f"LCP ConfNak {number} <magic 0000000{number % 10}>")
        server.wait(50.0)
        assert server.ended.cause is CauseOfEnd.LCP_NOT_AGREED
        assert server.ended.detail == "the peer refused 10 Configure-Requests in a row"


class TestEstablishTimeout:
    @pytest.fixture
    def make_server(self, make_server):
        return lambda **words: make_server(establish_timeout=5.0, lcp_echo_interval=0.0, **words)

    def expire(self, server):
        server.wait(6.0)
        server.wait(10.0)
        return server.ended.cause, server.ended.detail

    def test_nothing_was_heard(self, make_server):
        server = make_server()
        server.start()
        assert self.expire(server) == (CauseOfEnd.NO_GRE, "")

    def test_something_was_heard_but_no_lcp(self, make_server):
        server = make_server()
        server.start()
        server.hear("8057 01010004")
        assert self.expire(server) == (CauseOfEnd.LCP_TIMEOUT, "")

    def test_lcp_was_heard(self, make_server):
        server = make_server()
        server.start()
        server.hear("LCP ConfReq 1")
        assert self.expire(server) == (CauseOfEnd.LCP_TIMEOUT, "")

    def test_where_lcp_is_not_up_nobody_is_waited_for(self, make_server):
        server = make_server()
        server.start()
        server.hear("LCP ConfReq 1")
        assert server.wait(5.0)[-1].startswith("LCP TermReq")
        assert server.ended.cause is CauseOfEnd.LCP_TIMEOUT
        assert server.session.next_deadline() == math.inf

    def test_gre_packets_without_lcp(self, make_server):
        server = make_server()
        server.start()
        server.session.peer_heard(0.0)
        assert self.expire(server) == (CauseOfEnd.LCP_TIMEOUT, "")

    def test_no_response(self, make_server):
        server = make_server()
        server.link()
        assert self.expire(server) == (CauseOfEnd.AUTHENTICATION_TIMEOUT, "")

    def test_no_answer_from_the_plugins(self, make_server):
        server = make_server()
        server.link()
        server.respond()
        assert self.expire(server) == (CauseOfEnd.AUTHENTICATION_UNAVAILABLE, "none had answered yet")

    def test_no_encryption(self, make_server):
        server = make_server()
        server.log_in()
        assert self.expire(server) == (CauseOfEnd.ENCRYPTION_NOT_AGREED, "the peer does not answer CCP")

    def test_no_address(self, make_server):
        server = make_server()
        server.log_in()
        server.encrypt()
        assert self.expire(server) == (CauseOfEnd.ADDRESS_UNAVAILABLE, "no plugin had answered yet")

    def test_no_ipcp(self, make_server):
        server = make_server()
        server.log_in()
        server.encrypt()
        server.assign()
        assert self.expire(server) == (CauseOfEnd.NETWORK_TIMEOUT, "")

    def test_an_address_in_dispute(self, make_server):
        server = make_server()
        server.log_in()
        server.encrypt()
        server.assign()
        server.hear("IPCP ConfReq 1 <addr 192.0.2.9>")
        assert self.expire(server) == (
            CauseOfEnd.NETWORK_NOT_AGREED,
            "the peer insists on 192.0.2.9 instead of 10.0.0.2",
        )

    def test_it_does_not_count_once_the_network_is_up(self, make_server):
        server = make_server()
        server.up()
        server.wait(1000.0)
        assert server.ended is None


class TestNoAddress:
    """The peer must see that addresses failed (Windows: error 720), not encryption."""

    @pytest.fixture
    def unaddressed(self, server):
        server.log_in()
        assert server.do(server.session.no_address, "the pool is used up") == []
        return server

    def test_ipcp_is_refused_when_encryption_is_up(self, unaddressed):
        assert unaddressed.encrypt() == []
        assert unaddressed.hear("IPCP ConfReq 1 <addr 0.0.0.0>") == [
            "LCP ProtRej 2 80210101000a030600000000",
            "LCP TermReq 3",
        ]
        unaddressed.hear("LCP TermAck 3")
        assert unaddressed.ended.cause is CauseOfEnd.ADDRESS_UNAVAILABLE
        assert unaddressed.ended.detail == "the pool is used up"

    def test_ipcp_that_came_early_is_refused_then(self, unaddressed):
        assert unaddressed.hear("IPCP ConfReq 1 <addr 0.0.0.0>") == []
        assert unaddressed.encrypt()[0].startswith("LCP ProtRej")

    def test_a_peer_that_does_not_begin_is_waited_for_a_second(self, unaddressed):
        unaddressed.encrypt()
        assert unaddressed.wait(0.9) == []
        assert unaddressed.wait(0.1) == ["LCP TermReq 2"]
        unaddressed.hear("LCP TermAck 2")
        assert unaddressed.ended.cause is CauseOfEnd.ADDRESS_UNAVAILABLE

    def test_a_peer_that_hangs_up_meanwhile_had_no_address(self, unaddressed):
        unaddressed.encrypt()
        unaddressed.hear("LCP TermReq 9")
        assert (unaddressed.ended.cause, unaddressed.ended.detail) == (
            CauseOfEnd.ADDRESS_UNAVAILABLE,
            "the pool is used up",
        )

    def test_encryption_that_fails_is_the_cause(self, unaddressed):
        unaddressed.hear("LCP ProtRej 5 80fd", "LCP TermAck 2")
        assert unaddressed.ended.cause is CauseOfEnd.ENCRYPTION_NOT_AGREED

    def test_our_client_fails_at_addresses(self, make_client):
        client = make_client(encryption="refuse", auth=["pap"])
        client.link("<auth pap>")
        client.hear("PAP AuthAck 1 welcome", "LCP ProtRej 2 8021", "LCP TermReq 3")
        client.wait(20.0)
        assert client.ended.cause is CauseOfEnd.NETWORK_NOT_AGREED
