"""Conversations about CCP and MPPE (RFC 1962, RFC 3078): policy, bits, modes, Reset, and the loss of encryption."""

import pytest

from poptrio.crypto.mppe_keys import MppeKeys, MppeParameters
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.session_events import EncryptionChanged, EncryptionReset, EncryptionUp, NetworkUp, Noted

STRONG = "<mppe 01000040>"
REQUEST = f"CCP ConfReq 1 {STRONG}"
SEND = MppeParameters(128, True, b"s" * 16)
RECEIVE = MppeParameters(128, True, b"r" * 16)


def changes(server):
    return [(event.send, event.receive) for event in server.events(EncryptionChanged)]


def end(server, answer="LCP TermAck 2"):
    """The end, after our Terminate-Request."""
    server.hear(answer)
    return server.ended.cause, server.ended.detail


class TestAgreement:
    def test_decryption_stands_ready_before_our_request_leaves_and_encryption_when_both_agreed(self, server):
        assert server.log_in() == ["CHAP Success 3 S=1", REQUEST]
        assert changes(server) == [(None, RECEIVE)]
        server.hear(f"CCP ConfReq 1 {STRONG}")
        assert changes(server)[-1] == (None, RECEIVE)
        server.ack("CCP")
        assert changes(server)[-1] == (SEND, RECEIVE)
        assert server.events(EncryptionUp) == [EncryptionUp(SEND, RECEIVE)]

    def test_windows_offers_everything_at_once_and_is_naked_to_one_strength(self, server):
        server.log_in()
        assert server.hear("CCP ConfReq 4 <mppe 010000f1>") == [f"CCP ConfNak 4 {STRONG}"]
        assert server.hear(f"CCP ConfReq 5 {STRONG}") == [f"CCP ConfAck 5 {STRONG}"]

    def test_other_compressions_are_rejected(self, server):
        server.log_in()
        assert server.hear(f"CCP ConfReq 4 {STRONG} <26 7800> <21 2f>") == ["CCP ConfRej 4 <26 7800> <21 2f>"]

    @pytest.mark.parametrize(
        ("bits", "key_size", "start_key"), [("80", 56, b"w" * 8), ("20", 40, b"w" * 8), ("40", 128, b"s" * 16)]
    )
    @pytest.mark.parametrize("head", ["01", "00"])
    def test_the_peers_wish_settles_how_we_encrypt(self, make_server, bits, key_size, start_key, head):
        server = make_server(bits=(128, 56, 40))
        server.log_in()
        wish = f"<mppe {head}0000{bits}>"
        server.hear(f"CCP ConfReq 1 {wish}")
        server.hear(f"CCP ConfReq 2 {wish}")
        server.ack("CCP")
        assert server.events(EncryptionUp)[0].send == MppeParameters(key_size, head == "01", start_key)

    @pytest.mark.parametrize(
        ("nak", "receive"),
        [
            ("00000040", MppeParameters(128, False, b"r" * 16)),
            ("01000020", MppeParameters(40, True, b"v" * 8)),
            ("010000a0", MppeParameters(56, True, b"v" * 8)),
        ],
    )
    def test_its_nak_settles_how_we_decrypt(self, make_server, nak, receive):
        server = make_server(bits=(128, 56, 40))
        server.log_in()
        server.hear(f"CCP ConfNak 1 <mppe {nak}>")
        server.encrypt()
        assert server.events(EncryptionUp)[0].receive == receive

    def test_a_plugin_may_choose_the_policy_of_a_user(self, server):
        assert server.log_in(encryption=EncryptionPolicy("refuse")) == ["CHAP Success 3 S=1"]
        assert server.assign() == ["IPCP ConfReq 1 <addr 10.0.0.1>"]

    def test_our_client_does_the_same_in_the_other_role(self, make_client):
        client = make_client(auth=["mschap-v1"])
        client.link("<auth mschap-v1>")
        client.hear("CHAP Challenge 9 value=0a0a0a0a0a0a0a0a name=server")
        assert client.hear("CHAP Success 9 Welcome") == [REQUEST]
        client.agree("CCP", STRONG)
        (up,) = client.events(EncryptionUp)
        assert (up.send.bits, up.receive.bits, up.send.stateless) == (128, 128, True)


class TestRequire:
    def test_a_peer_that_does_not_speak_ccp(self, server):
        server.log_in()
        assert server.hear("LCP ProtRej 5 80fd0101000a") == ["LCP TermReq 2"]
        why = "the peer does not speak CCP (Protocol-Reject)"
        assert end(server) == (CauseOfEnd.ENCRYPTION_NOT_AGREED, why)

    def test_a_peer_that_rejects_mppe(self, server):
        server.log_in()
        assert server.hear(f"CCP ConfRej 1 {STRONG}")[-1] == "LCP TermReq 2"
        why = "the peer offers no MPPE; configured: 128 bits, any"
        assert end(server) == (CauseOfEnd.ENCRYPTION_NOT_AGREED, why)

    def test_a_peer_that_has_only_weaker_bits_is_named_with_them(self, server):
        server.log_in()
        assert server.hear("CCP ConfNak 1 <mppe 01000020>")[-1] == "LCP TermReq 2"
        why = "the peer offers 40 stateless; configured: 128 bits, any"
        assert end(server) == (CauseOfEnd.ENCRYPTION_NOT_AGREED, why)

    def test_a_tp_link_that_repeats_requests_without_bits_is_naked_five_times(self, server):
        server.log_in()
        for number in range(5):
            assert server.hear(f"CCP ConfReq {number}") == [f"CCP ConfNak {number} {STRONG}"]
        assert server.hear("CCP ConfReq 6")[-1] == "LCP TermReq 2"
        why = "the peer offers no MPPE; configured: 128 bits, any"
        assert end(server) == (CauseOfEnd.ENCRYPTION_NOT_AGREED, why)

    def test_a_peer_that_insists_on_other_bits_is_naked_five_times(self, server):
        server.log_in()
        for number in range(5):
            assert server.hear(f"CCP ConfReq {number} <mppe 01000020>") == [f"CCP ConfNak {number} {STRONG}"]
        assert server.hear("CCP ConfReq 6 <mppe 01000020>") == ["CCP ConfRej 6 <mppe 01000020>", "LCP TermReq 2"]
        assert end(server)[0] is CauseOfEnd.ENCRYPTION_NOT_AGREED

    def test_a_yamaha_naks_with_the_same_bits_for_ever(self, server):
        server.log_in()
        for number in (1, 2):
            assert server.hear(f"CCP ConfNak {number} {STRONG}") == [f"CCP ConfReq {number + 1} {STRONG}"]
        assert server.hear(f"CCP ConfNak 3 {STRONG}")[-1] == "LCP TermReq 2"
        assert end(server)[0] is CauseOfEnd.ENCRYPTION_NOT_AGREED

    def test_a_peer_that_is_silent_about_ccp(self, server):
        server.log_in()
        server.wait(35.0)
        assert end(server, "LCP TermAck 3") == (CauseOfEnd.ENCRYPTION_NOT_AGREED, "the peer does not answer CCP")

    def test_a_peer_that_ends_ccp_before_it_is_up(self, server):
        server.log_in()
        assert server.hear("CCP TermReq 9") == ["CCP TermAck 9", "LCP TermReq 2"]
        assert end(server) == (CauseOfEnd.ENCRYPTION_NOT_AGREED, "the peer ended CCP")

    def test_a_peer_that_hangs_up_instead(self, server):
        server.log_in()
        server.hear("CCP ConfReq 1 <mppe 01000020>", "LCP TermReq 9")
        assert server.ended.cause is CauseOfEnd.ENCRYPTION_NOT_AGREED
        assert server.ended.detail == (
            "the peer hung up meanwhile; the peer offers 40 stateless; configured: 128 bits, any"
        )

    @pytest.mark.parametrize(
        ("keys", "why"),
        [
            (None, "authentication gave no MPPE keys"),
            (MppeKeys(b"s" * 16, b"r" * 16), "authentication gave no keys for these bits"),
        ],
    )
    def test_an_authentication_without_the_keys(self, make_server, keys, why):
        server = make_server(bits=(40,))
        assert server.log_in(keys=keys) == ["CHAP Success 3 S=1", "LCP TermReq 2"]
        assert end(server) == (CauseOfEnd.ENCRYPTION_NOT_AGREED, why)

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("CCP TermReq 9", "the peer ended CCP"),
            ("CCP TermAck 9", "CCP went down"),
            ("CCP ConfReq 9 <mppe 00000040>", "CCP went down"),
            ("CCP CodeRej 9 01010004", "the peer does not know CCP code 1 (Code-Reject)"),
            ("LCP ProtRej 9 80fd", "the peer does not speak CCP (Protocol-Reject)"),
        ],
    )
    def test_whatever_takes_ccp_down_ends_the_session(self, server, line, why):
        server.up()
        assert server.hear(line)[-1] == "LCP TermReq 2"
        assert changes(server)[-1] == (None, None)
        assert end(server) == (CauseOfEnd.ENCRYPTION_LOST, why)

    def test_one_direction_in_clear_would_be_refused_even_if_the_option_had_let_it_pass(self, server):
        server.log_in()
        server.session.network.ccp.mppe.mandatory = False
        for number in range(6):
            server.hear(f"CCP ConfReq {number}")
        assert server.ack("CCP") == ["LCP TermReq 2"]
        assert end(server) == (CauseOfEnd.ENCRYPTION_NOT_AGREED, "the peer wants one direction in clear")


class TestPrefer:
    @pytest.fixture
    def server(self, make_server):
        server = make_server(encryption="prefer")
        server.log_in()
        server.assign()
        return server

    def test_encryption_where_the_peer_agrees(self, server):
        server.encrypt()
        server.agree("IPCP", "<addr 10.0.0.2>")
        assert changes(server)[-1] == (SEND, RECEIVE)
        assert server.events(NetworkUp)[0].mtu == 1396

    @pytest.mark.parametrize("line", ["LCP ProtRej 5 80fd", "CCP TermReq 9"])
    def test_clear_text_where_it_does_not(self, server, line):
        assert "IPCP ConfReq 1 <addr 10.0.0.1>" in server.hear(line)
        server.agree("IPCP", "<addr 10.0.0.2>")
        assert changes(server)[-1] == (None, None)
        assert server.events(NetworkUp)[0].mtu == 1400

    def test_a_protocol_reject_is_told_once(self, server):
        server.hear("LCP ProtRej 5 80fd")
        before = changes(server)
        server.hear("LCP EchoReq 5 0a0b0c0d", "LCP EchoReq 6 0a0b0c0d")
        assert changes(server) == before

    def test_a_peer_that_rejects_mppe_is_not_encrypted_in_the_other_direction_either(self, server):
        assert server.hear(f"CCP ConfRej 1 {STRONG}") == ["CCP ConfReq 2"]
        assert server.hear(f"CCP ConfReq 1 {STRONG}") == [f"CCP ConfRej 1 {STRONG}"]
        server.hear("CCP ConfReq 2")
        server.ack("CCP")
        assert server.events(EncryptionUp) == [EncryptionUp(None, None)]

    def test_a_tp_link_that_repeats_requests_without_bits_runs_in_clear_after_five_naks(self, server):
        for number in range(5):
            assert server.hear(f"CCP ConfReq {number}") == [f"CCP ConfNak {number} {STRONG}"]
        assert server.hear("CCP ConfReq 6") == ["CCP ConfAck 6"]
        server.ack("CCP")
        assert server.events(EncryptionUp) == [EncryptionUp(None, RECEIVE)]

    def test_a_silent_peer_is_waited_for_a_second(self, server):
        assert server.wait(0.9) == []
        assert server.wait(0.1) == ["IPCP ConfReq 1 <addr 10.0.0.1>"]

    def test_a_peer_that_begins_with_ipcp_is_not_kept_waiting(self, server):
        assert server.hear("IPCP ConfReq 1 <addr 10.0.0.2>") == [
            "IPCP ConfReq 1 <addr 10.0.0.1>",
            "IPCP ConfAck 1 <addr 10.0.0.2>",
        ]

    def test_pppd_answers_our_ipcp_with_a_terminate_ack_so_it_is_repeated_when_ccp_is_up(self, server):
        server.wait(1.0)
        server.hear("IPCP TermAck 1")
        server.hear(f"CCP ConfReq 1 {STRONG}")
        assert server.ack("CCP") == ["IPCP ConfReq 1 <addr 10.0.0.1>"]

    def test_encryption_that_comes_later_changes_the_mtu(self, server):
        server.wait(1.0)
        server.agree("IPCP", "<addr 10.0.0.2>")
        server.encrypt()
        assert [up.mtu for up in server.events(NetworkUp)] == [1400, 1396]

    @pytest.mark.parametrize("line", ["CCP TermReq 9", "CCP TermAck 9", "CCP ConfReq 9 <mppe 00000040>"])
    def test_once_agreed_it_is_not_given_up_and_no_key_starts_again(self, server, line):
        server.encrypt()
        server.agree("IPCP", "<addr 10.0.0.2>")
        before = len(changes(server))
        assert server.hear(line)[-1] == "LCP TermReq 2"
        assert set(changes(server)[before:]) == {(None, None)}
        server.hear(f"CCP ConfReq 10 {STRONG}", "LCP TermAck 2")
        assert set(changes(server)[before:]) == {(None, None)}
        assert server.ended.cause is CauseOfEnd.ENCRYPTION_LOST

    def test_one_direction_that_was_agreed_is_not_given_up_either(self, server):
        for number in range(6):
            server.hear(f"CCP ConfReq {number}")
        server.ack("CCP")
        server.hear("CCP TermReq 9", "LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.ENCRYPTION_LOST

    def test_ccp_without_encryption_may_go_down(self, server):
        server.hear(f"CCP ConfRej 1 {STRONG}", "CCP ConfReq 2")
        server.ack("CCP")
        server.hear("CCP TermReq 9")
        assert server.ended is None
        assert changes(server)[-1] == (None, None)

    def test_no_keys_no_ccp(self, make_server):
        server = make_server(auth=["pap"], encryption="prefer")
        server.link()
        server.hear("PAP AuthReq 1 user=alice password=secret")
        server.accept(server.question(), None)
        assert server.assign() == ["IPCP ConfReq 1 <addr 10.0.0.1>"]


class TestRefuse:
    @pytest.fixture
    def server(self, make_server):
        server = make_server(encryption="refuse")
        assert server.log_in() == ["CHAP Success 3 S=1"]
        return server

    def test_ccp_is_answered_with_a_protocol_reject(self, server):
        assert server.hear(f"CCP ConfReq 1 {STRONG}") == ["LCP ProtRej 2 80fd0101000a120601000040"]
        assert server.assign() == ["IPCP ConfReq 1 <addr 10.0.0.1>"]

    def test_a_peer_that_requires_it_hangs_up(self, server):
        server.hear(f"CCP ConfReq 1 {STRONG}", "LCP TermReq 5")
        assert server.ended.cause is CauseOfEnd.ENCRYPTION_NOT_AGREED
        assert server.ended.detail == "the peer wants CCP, which is refused here, and hung up"


class TestReset:
    def test_a_reset_request_flushes_and_is_acknowledged_because_linux_waits_for_it(self, server):
        server.up()
        assert server.hear("CCP ResetReq 9") == ["CCP ResetAck 9"]
        assert len(server.events(EncryptionReset)) == 1

    def test_windows_code_rejects_the_ack_and_gets_no_more_of_it(self, server):
        server.up()
        server.hear("CCP ResetReq 9", "CCP CodeRej 3 0f090004")
        assert server.hear("CCP ResetReq 10") == []
        assert len(server.events(EncryptionReset)) == 2
        assert server.ended is None

    def test_ours_is_sent_when_decryption_is_lost(self, server):
        server.up()
        assert server.do(server.session.request_encryption_reset) == ["CCP ResetReq 2"]
        assert server.hear("CCP ResetAck 2") == []

    def test_none_is_sent_or_answered_before_ccp_is_up(self, server):
        server.link()
        assert server.do(server.session.request_encryption_reset) == []
        server.accept(server.respond())
        assert server.do(server.session.request_encryption_reset) == []
        assert server.hear("CCP ResetReq 9") == []
        assert server.events(EncryptionReset) == []


class TestKeystream:
    @pytest.mark.parametrize("identifier", [1, 2, 200])
    def test_a_repeated_request_under_any_identifier_never_starts_the_tables_again(self, server, identifier):
        server.up()
        before = changes(server)
        assert server.hear(f"CCP ConfReq {identifier} {STRONG}") == [f"CCP ConfAck {identifier} {STRONG}"]
        assert changes(server) == before
        assert server.ended is None

    def test_our_own_repetition_does_not_either(self, server):
        server.log_in()
        server.wait()
        assert set(changes(server)) == {(None, RECEIVE)}


def test_an_unknown_code_is_rejected(server):
    server.up()
    assert server.hear("CCP 42 5 0102") == ["CCP CodeRej 2 2a0500060102"]


def test_malformed_packets_are_counted_and_the_first_few_noted(server):
    server.up()
    for _ in range(9):
        server.hear("CCP 1 1 12")
    assert server.session.malformed == 9
    assert len([note for note in server.events(Noted) if note.event == "malformed-packet"]) == 5
