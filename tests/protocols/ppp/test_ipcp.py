"""Conversations about IPCP (RFC 1332, RFC 1877), both roles."""

from ipaddress import IPv4Address

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.session_events import NetworkDown, NetworkUp, Noted

OURS = "IPCP ConfReq 1 <addr 10.0.0.1>"
DNS, OTHER_DNS, WINS = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), IPv4Address("192.0.2.3")


@pytest.fixture
def server(make_server):
    """Our server, whose peer is authenticated and wants no encryption."""
    server = make_server(encryption="refuse")
    server.log_in()
    return server


@pytest.fixture
def client(make_client):
    """Our client, authenticated without encryption; IPCP has begun."""
    client = make_client(auth=["pap"], encryption="refuse")
    client.link("<auth pap>")
    assert client.hear("PAP AuthAck 1 welcome") == ["IPCP ConfReq 1 <addr 0.0.0.0> <dns1 0.0.0.0> <dns2 0.0.0.0>"]
    return client


class TestServer:
    def test_the_peer_is_told_its_address_and_its_name_servers(self, server):
        assert server.assign(dns=[DNS, OTHER_DNS], wins=[WINS]) == [OURS]
        asked = "<addr 0.0.0.0> <dns1 0.0.0.0> <wins1 0.0.0.0> <dns2 0.0.0.0>"
        told = "<addr 10.0.0.2> <dns1 192.0.2.1> <wins1 192.0.2.3> <dns2 192.0.2.2>"
        assert server.hear(f"IPCP ConfReq 1 {asked}") == [f"IPCP ConfNak 1 {told}"]
        assert server.hear(f"IPCP ConfReq 2 {told}") == [f"IPCP ConfAck 2 {told}"]
        server.ack("IPCP")
        (up,) = server.events(NetworkUp)
        assert (str(up.our_address), str(up.peer_address), up.mtu, up.dns) == ("10.0.0.1", "10.0.0.2", 1400, ())

    def test_windows_asks_for_servers_that_are_not_configured(self, server):
        server.assign(dns=[DNS])
        assert server.hear("IPCP ConfReq 1 <addr 0.0.0.0> <dns1 0.0.0.0> <wins1 0.0.0.0> <dns2 0.0.0.0>") == [
            "IPCP ConfRej 1 <wins1 0.0.0.0> <dns2 0.0.0.0>"
        ]

    def test_van_jacobson_compression_and_the_old_addresses_option_are_rejected(self, server):
        server.assign()
        assert server.hear("IPCP ConfReq 1 <addr 10.0.0.2> <2 002d0f01> <1 0a0000020a000001>") == [
            "IPCP ConfRej 1 <2 002d0f01> <1 0a0000020a000001>"
        ]

    def test_a_peer_that_insists_on_its_own_address(self, server):
        server.assign()
        for number in range(5):
            assert server.hear(f"IPCP ConfReq {number} <addr 192.0.2.9>") == [f"IPCP ConfNak {number} <addr 10.0.0.2>"]
        assert server.hear("IPCP ConfReq 5 <addr 192.0.2.9>") == ["IPCP ConfRej 5 <addr 192.0.2.9>", "LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.NETWORK_NOT_AGREED
        assert server.ended.detail == "the peer insists on 192.0.2.9 instead of 10.0.0.2"

    def test_a_yamaha_that_omits_its_address_is_told_it(self, server):
        server.assign()
        assert server.hear("IPCP ConfReq 1") == ["IPCP ConfNak 1 <addr 10.0.0.2>"]
        assert server.hear("IPCP ConfReq 2 <addr 10.0.0.2>") == ["IPCP ConfAck 2 <addr 10.0.0.2>"]

    def test_one_that_omits_it_for_ever_is_given_up(self, server):
        server.assign()
        for number in range(6):
            assert server.hear(f"IPCP ConfReq {number}")[0] == f"IPCP ConfNak {number} <addr 10.0.0.2>"
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.NETWORK_NOT_AGREED
        assert server.ended.detail == "5 Configure-Naks of IP-Address in vain"

    def test_a_peer_that_does_not_want_to_know_our_address(self, server):
        server.assign()
        assert server.hear("IPCP ConfRej 1 <addr 10.0.0.1>") == ["IPCP ConfReq 2"]
        server.agree("IPCP", "<addr 10.0.0.2>")
        assert server.events(NetworkUp)

    def test_requests_that_come_before_there_is_an_address_wait_for_it(self, server):
        assert server.hear("IPCP ConfReq 1 <addr 0.0.0.0>") == []
        assert server.assign() == [OURS, "IPCP ConfNak 1 <addr 10.0.0.2>"]

    def test_eight_of_them_wait(self, server):
        server.hear(*[f"IPCP ConfReq {number} <addr 10.0.0.2>" for number in range(20)])
        assert server.assign() == [OURS, *[f"IPCP ConfAck {number} <addr 10.0.0.2>" for number in range(8)]]

    def test_one_that_makes_no_sense_is_dropped_when_its_time_comes(self, server):
        server.hear("IPCP 1 1 03", "IPCP ConfReq 2 <addr 10.0.0.2>")
        assert server.assign() == [OURS, "IPCP ConfAck 2 <addr 10.0.0.2>"]
        assert server.session.malformed == 1
        assert server.events(Noted)[0].event == "malformed-packet"

    def test_addresses_are_assigned_once(self, server):
        server.assign()
        assert server.assign() == []

    def test_with_required_encryption_ipcp_waits_for_ccp(self, make_server):
        server = make_server()
        server.log_in()
        assert server.assign() == []
        assert server.hear("IPCP ConfReq 1 <addr 10.0.0.2>") == []
        server.hear("CCP ConfReq 1 <mppe 01000040>")
        assert server.ack("CCP") == [OURS, "IPCP ConfAck 1 <addr 10.0.0.2>"]
        server.ack("IPCP")
        assert server.events(NetworkUp)[0].mtu == 1396

    @pytest.mark.parametrize(("peers", "mtu"), [("<mru 1300>", 1300), ("<mru 1500>", 1400), ("", 1400)])
    def test_no_mru_option_and_a_larger_mru_are_capped_by_ours(self, make_server, peers, mtu):
        server = make_server(encryption="refuse")
        server.link(peers)
        server.accept(server.respond())
        server.assign()
        server.agree("IPCP", "<addr 10.0.0.2>")
        assert server.events(NetworkUp)[0].mtu == mtu

    @pytest.mark.parametrize("options", ["", "<pfc>", "<acfc>", "<pfc> <acfc>"])
    def test_the_data_path_hears_which_fields_the_peer_takes_compressed(self, make_server, options):
        server = make_server(encryption="refuse")
        server.link(options)
        server.accept(server.respond())
        server.assign()
        server.agree("IPCP", "<addr 10.0.0.2>")
        (up,) = server.events(NetworkUp)
        assert (up.pfc, up.acfc) == ("pfc" in options, "acfc" in options)

    def test_a_new_negotiation_closes_the_network_until_it_is_done(self, server):
        server.assign()
        server.agree("IPCP", "<addr 10.0.0.2>")
        assert server.hear("IPCP ConfReq 9 <addr 0.0.0.0>") == [
            "IPCP ConfReq 2 <addr 10.0.0.1>",
            "IPCP ConfNak 9 <addr 10.0.0.2>",
        ]
        assert len(server.events(NetworkDown)) == 1
        server.agree("IPCP", "<addr 10.0.0.2>")
        assert len(server.events(NetworkUp)) == 2

    def test_a_repeated_request_does_not_close_it(self, server):
        server.assign()
        server.agree("IPCP", "<addr 10.0.0.2>")
        assert server.hear("IPCP ConfReq 1 <addr 10.0.0.2>") == ["IPCP ConfAck 1 <addr 10.0.0.2>"]
        assert server.events(NetworkDown) == []

    def test_a_peer_that_ends_ipcp(self, server):
        server.assign()
        server.agree("IPCP", "<addr 10.0.0.2>")
        assert server.hear("IPCP TermReq 9") == ["IPCP TermAck 9"]
        assert server.wait() == ["LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.NETWORK_NOT_AGREED
        assert server.ended.detail == "the peer ended or refused IPCP"

    def test_a_peer_that_does_not_speak_ipcp(self, server):
        server.assign()
        assert server.hear("LCP ProtRej 9 8021") == ["LCP TermReq 2"]
        server.hear("LCP TermAck 2")
        assert server.ended.cause is CauseOfEnd.NETWORK_NOT_AGREED
        assert server.ended.detail == "the peer does not speak IPCP (Protocol-Reject)"

    def test_a_protocol_reject_before_ipcp_has_begun_counts_too(self, make_server):
        server = make_server()
        server.log_in()
        server.assign()
        assert server.hear("LCP ProtRej 9 8021")[-1] == "LCP TermReq 2"

    def test_a_peer_that_naks_for_ever_is_left_to_the_restart_timer(self, make_client):
        client = make_client(auth=["pap"], encryption="refuse", lcp_echo_interval=0.0)
        client.link("<auth pap>")
        client.hear("PAP AuthAck 1 welcome")
        naks = [f"IPCP ConfNak {number} <addr 10.0.0.{number}>" for number in range(1, 12)]
        assert [len(client.hear(nak)) for nak in naks] == [1] * 10 + [0]
        client.wait(60.0)
        assert client.ended.cause is CauseOfEnd.NETWORK_NOT_AGREED
        assert client.ended.detail == "the peer refused 10 Configure-Requests in a row"


class TestClient:
    def test_it_takes_what_the_server_says(self, client):
        told = "<addr 10.0.0.2> <dns1 192.0.2.1>"
        assert client.hear(f"IPCP ConfNak 1 {told}") == [f"IPCP ConfReq 2 {told} <dns2 0.0.0.0>"]
        assert client.hear("IPCP ConfRej 2 <dns2 0.0.0.0>") == [f"IPCP ConfReq 3 {told}"]
        client.agree("IPCP", "<addr 10.0.0.1>")
        (up,) = client.events(NetworkUp)
        assert (str(up.our_address), str(up.peer_address), up.dns) == ("10.0.0.2", "10.0.0.1", (DNS,))

    def test_a_server_need_not_tell_its_own_address(self, client):
        client.hear("IPCP ConfNak 1 <addr 10.0.0.2>")
        client.agree("IPCP")
        assert client.events(NetworkUp)[0].peer_address is None

    def test_a_server_without_addresses(self, client):
        assert client.hear("IPCP ConfRej 1 <addr 0.0.0.0>")[-1] == "LCP TermReq 2"
        client.hear("LCP TermAck 2")
        assert (client.ended.cause, client.ended.detail) == (
            CauseOfEnd.NETWORK_NOT_AGREED,
            "the server assigns no address",
        )
