"""Conversations about LCP (RFC 1661 §5, RFC 1570): every code, in the states where it matters."""

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.session import Phase
from poptrio.protocols.ppp.session_events import LinkUp, Noted

OURS = "LCP ConfReq 1 <mru 1400> <auth mschap-v2> <magic 01010101> <pfc> <acfc>"


class TestConfigure:
    def test_our_request_comes_first_and_again_as_soon_as_the_peer_is_heard(self, server):
        assert server.start() == [OURS]
        assert server.hear("LCP ConfReq 7 <magic 0a0b0c0d>") == [OURS, "LCP ConfAck 7 <magic 0a0b0c0d>"]

    def test_it_is_repeated_for_the_first_request_only(self, server):
        server.start()
        server.hear("LCP ConfReq 7 <mru 100>")
        assert server.hear("LCP ConfReq 8 <mru 1500>") == ["LCP ConfAck 8 <mru 1500>"]

    def test_lcp_is_up_when_both_sides_agree(self, server):
        server.link("<mru 1300> <magic 0a0b0c0d>")
        (up,) = server.events(LinkUp)
        assert (up.authentication.label, up.peer_mru) == ("mschap-v2", 1300)
        assert server.session.phase is Phase.AUTHENTICATE

    def test_the_peers_ack_may_come_before_its_request(self, server):
        server.start()
        assert server.ack("LCP") == []
        assert server.hear("LCP ConfReq 1") == [
            "LCP ConfAck 1",
            "CHAP Challenge 3 value=" + "03" * 16 + " name=poptrio",
        ]

    def test_many_send_an_empty_request_which_is_acknowledged(self, server):
        server.start()
        assert server.hear("LCP ConfReq 1")[-1] == "LCP ConfAck 1"
        server.ack("LCP")
        assert server.events(LinkUp)[0].peer_mru == 1500

    def test_windows_asks_for_callback_multilink_and_more_and_is_rejected_once_for_all(self, server):
        server.start()
        windows = "<mru 1400> <magic 0a0b0c0d> <pfc> <acfc> <13 06> <17 064e> <19 010102> <23 0001> <255 0102>"
        rejected = "LCP ConfRej 0 <13 06> <17 064e> <19 010102> <23 0001> <255 0102>"
        assert server.hear(f"LCP ConfReq 0 {windows}")[-1] == rejected
        second = "<mru 1400> <magic 0a0b0c0d> <pfc> <acfc>"
        assert server.hear(f"LCP ConfReq 1 {second}") == [f"LCP ConfAck 1 {second}"]

    def test_rejects_come_before_naks(self, server):
        server.start()
        assert server.hear("LCP ConfReq 1 <mru 100> <13 06>")[-1] == "LCP ConfRej 1 <13 06>"
        assert server.hear("LCP ConfReq 2 <mru 100>") == ["LCP ConfNak 2 <mru 1400>"]

    def test_a_nak_is_followed_under_a_new_identifier(self, server):
        server.start()
        assert server.hear("LCP ConfNak 1 <mru 1300>") == [OURS.replace("Req 1", "Req 2").replace("1400", "1300")]

    def test_a_nak_for_options_that_we_do_not_have_changes_nothing(self, server):
        server.start()
        assert server.hear("LCP ConfNak 1 <17 064e>") == [OURS.replace("Req 1", "Req 2")]

    def test_what_is_rejected_is_left_out(self, server):
        server.start()
        assert server.hear("LCP ConfRej 1 <mru 1400> <pfc> <acfc>") == [
            "LCP ConfReq 2 <auth mschap-v2> <magic 01010101>"
        ]

    def test_an_ack_that_is_not_what_we_asked_for_is_discarded(self, server):
        server.start()
        server.hear("LCP ConfReq 1")
        assert server.hear(OURS.replace("ConfReq", "ConfAck").replace("1400", "1500")) == []
        assert server.session.phase is Phase.ESTABLISH

    @pytest.mark.parametrize("answer", ["ConfAck", "ConfNak", "ConfRej"])
    def test_an_answer_to_another_request_is_discarded(self, server, answer):
        server.start()
        assert server.hear(f"LCP {answer} 9 <mru 1400>") == []

    def test_authentication_falls_back_along_the_list(self, make_server):
        server = make_server(auth=("mschap-v2", "mschap-v1", "pap"))
        server.start()
        assert server.hear("LCP ConfNak 1 <auth c227>")[0].startswith("LCP ConfReq 2 <mru 1400> <auth mschap-v1>")
        assert server.hear("LCP ConfNak 2 <auth pap>")[0].startswith("LCP ConfReq 3 <mru 1400> <auth pap>")

    def test_a_malformed_list_of_options_is_dropped(self, server):
        server.start()
        server.hear("LCP ConfReq 1")
        assert server.hear_frames(bytes.fromhex("ff03c021 0102 0007 0104 05")) == []
        assert server.session.malformed == 1
        assert server.events(Noted)[0].detail == "LCP Configure-Request: option 1 at offset 0 claims 4 octets"


class TestLostPackets:
    def test_unanswered_requests_follow_quickly_at_first_then_at_the_restart_interval(self, server):
        server.start()
        times = []
        for _ in range(9):
            assert server.wait() == [OURS]
            times.append(round(server.now, 3))
        assert times == [0.3, 0.9, 2.1, 4.5, 7.5, 10.5, 13.5, 16.5, 19.5]
        assert server.wait() == []
        assert server.ended.cause is CauseOfEnd.NO_GRE
        assert server.now == pytest.approx(22.5)

    def test_a_lost_ack_of_ours_is_sent_again_without_a_new_negotiation(self, server):
        server.link()
        assert server.hear("LCP ConfReq 1 <mru 1400> <magic 0a0b0c0d>") == ["LCP ConfAck 1 <mru 1400> <magic 0a0b0c0d>"]
        assert server.session.phase is Phase.AUTHENTICATE

    def test_repeated_acks_are_harmless(self, server):
        server.link()
        assert server.ack("LCP") == []
        assert server.session.lcp.opened

    def test_a_lost_ack_of_the_peer_is_asked_for_again(self, server):
        server.start()
        server.hear("LCP ConfReq 1")
        assert server.wait() == [OURS]
        assert server.ack("LCP")[0].startswith("CHAP Challenge")

    def test_after_an_ack_that_led_nowhere_a_new_request_is_a_new_question(self, server):
        server.start()
        server.ack("LCP")
        assert server.wait() == [OURS.replace("Req 1", "Req 2")]


class TestTerminate:
    def test_a_terminate_request_is_acknowledged_and_ends_the_session(self, server):
        server.up()
        assert server.hear("LCP TermReq 9") == ["LCP TermAck 9"]
        assert server.ended.cause is CauseOfEnd.CLIENT_HUNG_UP

    def test_ours_is_answered(self, server):
        server.up()
        assert server.do(server.session.terminate, CauseOfEnd.IDLE_TIMEOUT, "") == ["LCP TermReq 2"]
        assert server.ended is None
        assert server.hear("LCP TermAck 2") == []
        assert server.ended.cause is CauseOfEnd.IDLE_TIMEOUT

    def test_ours_is_not_answered(self, server):
        server.up()
        server.do(server.session.terminate, CauseOfEnd.IDLE_TIMEOUT, "")
        assert server.wait() == ["LCP TermReq 3"]
        assert server.wait() == []
        assert server.ended.cause is CauseOfEnd.IDLE_TIMEOUT

    def test_both_at_once(self, server):
        server.up()
        server.do(server.session.terminate, CauseOfEnd.IDLE_TIMEOUT, "")
        assert server.hear("LCP TermReq 9") == ["LCP TermAck 9"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.IDLE_TIMEOUT

    def test_while_terminating_nothing_else_is_heard(self, server):
        server.up()
        server.do(server.session.terminate, CauseOfEnd.IDLE_TIMEOUT, "")
        assert server.hear("LCP ConfReq 8", "IPCP ConfReq 8", "LCP EchoReq 8 0a0b0c0d", "8057 01010004") == []

    def test_an_unsolicited_ack_takes_the_link_down(self, server):
        server.link()
        assert server.hear("LCP TermAck 9") == [OURS.replace("Req 1", "Req 2")]
        assert server.session.phase is Phase.ESTABLISH


class TestCodeReject:
    def test_an_unknown_code_is_rejected_with_a_copy(self, server):
        server.link()
        assert server.hear("LCP 42 5 0102") == ["LCP CodeRej 2 2a0500060102"]

    def test_the_copy_is_cut_to_what_any_mru_takes(self, server):
        server.link()
        (line,) = server.hear(f"LCP 42 5 {'00' * 1000}")
        assert len(line.removeprefix("LCP CodeRej 2 ")) == 2 * 124

    def test_one_of_a_basic_code_ends_the_negotiation(self, server):
        server.start()
        server.hear("LCP CodeRej 1 01010004")
        assert server.ended.cause is CauseOfEnd.LCP_NOT_AGREED
        assert server.ended.detail == "the peer does not know LCP code 1 (Code-Reject)"

    def test_one_of_a_basic_code_ends_a_session_that_was_up(self, server):
        server.up()
        assert server.hear("LCP CodeRej 1 01010004") == ["LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.PROTOCOL_ERROR
        assert server.ended.detail == "the peer does not know LCP code 1 (Code-Reject)"

    def test_one_of_an_extension_changes_nothing(self, server):
        server.link()
        assert server.hear("LCP CodeRej 1 0c010004") == []
        assert server.session.lcp.opened

    def test_one_without_a_packet_is_malformed(self, server):
        server.link()
        assert server.hear("LCP CodeRej 1") == []
        assert server.session.malformed == 1


class TestEcho:
    def test_a_request_is_answered_with_our_magic_number_and_the_peers_data(self, server):
        server.link()
        assert server.hear("LCP EchoReq 5 0a0b0c0d0102") == ["LCP EchoRep 5 010101010102"]

    def test_a_peer_without_a_magic_number_sends_zero(self, server):
        server.link("<mru 1400>")
        assert server.hear("LCP EchoReq 5 00000000") == ["LCP EchoRep 5 01010101"]

    @pytest.mark.parametrize("code", ["EchoReq", "EchoRep"])
    def test_a_foreign_magic_number_is_not_the_peers(self, server, code):
        server.link()
        assert server.hear(f"LCP {code} 5 99999999", f"LCP {code} 5 0a0b") == []
        assert server.session.malformed == 2

    def test_outside_opened_echoes_are_discarded(self, server):
        server.start()
        assert server.hear("LCP EchoReq 5 00000000", "LCP EchoRep 5 00000000") == []

    def test_ours_go_out_at_the_interval_and_are_answered(self, make_server):
        server = make_server(lcp_echo_interval=10.0)
        server.up()
        for number in range(2, 22):
            assert server.wait(10.0) == [f"LCP EchoReq {number} 01010101"]
            server.hear(f"LCP EchoRep {number} 0a0b0c0d")
        assert server.ended is None

    def test_unanswered_ones_end_the_session(self, make_server):
        server = make_server(lcp_echo_interval=10.0, lcp_echo_failures=3)
        server.up()
        assert len(server.wait(39.0)) == 3
        assert server.ended is None
        assert server.wait(1.0) == []
        assert server.ended.cause is CauseOfEnd.LCP_ECHO_TIMEOUT
        assert server.ended.detail == "3 Echo-Requests in a row"

    def test_a_peer_that_is_heard_on_the_data_path_is_not_asked(self, make_server):
        server = make_server(lcp_echo_interval=10.0, lcp_echo_failures=1)
        server.up()
        for _ in range(20):
            server.session.peer_heard(server.now + 4.0)
            assert server.wait(9.0) == []
        assert server.wait(5.0) == ["LCP EchoReq 2 01010101"]

    def test_what_is_heard_makes_up_for_unanswered_ones(self, make_server):
        server = make_server(lcp_echo_interval=10.0, lcp_echo_failures=3)
        server.up()
        assert len(server.wait(39.0)) == 3
        server.session.peer_heard(38.0)
        assert len(server.wait(38.0)) == 3
        assert server.ended is None

    def test_what_was_heard_before_does_not(self, make_server):
        server = make_server(lcp_echo_interval=10.0, lcp_echo_failures=3)
        server.up()
        server.session.peer_heard(5.0)
        server.wait(30.0)
        server.session.peer_heard(5.0)
        server.wait(15.0)
        assert server.ended.cause is CauseOfEnd.LCP_ECHO_TIMEOUT

    def test_an_interval_of_zero_sends_none(self, make_server):
        server = make_server(lcp_echo_interval=0.0)
        server.up()
        assert server.wait(1000.0) == []
        assert server.ended is None

    def test_none_is_sent_while_lcp_is_negotiated_again(self, make_server):
        server = make_server(lcp_echo_interval=1.0)
        server.link()
        server.hear("LCP ConfReq 2 <mru 1300>")
        assert all("ConfReq" in line for line in server.wait(2.0))

    def test_some_clients_answer_with_a_copy_of_our_request(self, make_server):
        server = make_server(lcp_echo_interval=10.0, lcp_echo_failures=1)
        server.up()
        server.wait(10.0)
        server.hear("LCP EchoRep 2 01010101")
        server.wait(10.0)
        assert server.ended is None


class TestLoopback:
    def test_everything_comes_back(self, server):
        lines = server.start()
        while lines:
            lines = server.hear(*lines)
        assert server.ended.cause is CauseOfEnd.LCP_LOOPBACK

    def test_one_collision_is_chance_and_naked_for_the_magic_number_alone(self, server):
        server.start()
        assert server.hear("LCP ConfReq 1 <13 06> <magic 01010101>")[-1] == "LCP ConfNak 1 <magic 02020202>"
        assert server.hear("LCP ConfReq 2 <magic 02020202>") == ["LCP ConfAck 2 <magic 02020202>"]

    def test_our_own_echo_request_comes_back(self, server):
        server.link()
        assert server.hear("LCP EchoReq 5 01010101") == ["LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.LCP_LOOPBACK


class TestTolerated:
    def test_a_discard_request_is_discarded(self, server):
        server.link()
        assert server.hear("LCP DiscReq 5 0a0b0c0d0102") == []

    def test_windows_identifies_itself(self, server):
        server.link()
        assert server.hear("LCP Ident 5 0a0b0c0d4d53524153563532") == []
        assert server.events(Noted) == [Noted("identification", "MSRASV52")]

    def test_a_time_remaining_is_noted(self, server):
        server.link()
        assert server.hear("LCP TimeRem 5 0a0b0c0d0000003c") == []
        assert server.events(Noted) == [Noted("time-remaining", "60 seconds, says the peer")]

    def test_both_may_be_empty(self, server):
        server.link()
        assert server.hear("LCP Ident 5", "LCP TimeRem 6") == []

    def test_a_protocol_reject_outside_opened_is_discarded(self, server):
        server.start()
        assert server.hear("LCP ProtRej 5 c223") == []
        assert server.events(Noted) == []

    def test_a_protocol_reject_without_a_protocol_is_malformed(self, server):
        server.link()
        assert server.hear("LCP ProtRej 5 c2") == []
        assert server.session.malformed == 1
