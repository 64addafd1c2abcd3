"""The options of IPCP, one by one, in both roles."""

from ipaddress import IPv4Address

import pytest

from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.ipcp import UNSPECIFIED, AskNameServerOption, IpAddressOption, Ipcp, NameServerOption
from poptrio.protocols.ppp.options import Ack, Nak, Reject

OURS, ASSIGNED, OTHER = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), IPv4Address("192.0.2.9")


class TestAddressAsServer:
    @pytest.fixture
    def option(self):
        return IpAddressOption(OURS, ASSIGNED)

    def test_ours_is_requested(self, option):
        assert option.request() == OURS.packed

    @pytest.mark.parametrize("value", [bytes(4), OTHER.packed, b"", b"\x0a"])
    def test_windows_asks_for_its_own_address_and_gets_ours_by_nak(self, option, value):
        assert option.judge(value) == Nak(ASSIGNED.packed)

    def test_the_assigned_address_is_fine(self, option):
        assert option.judge(ASSIGNED.packed) == Ack()
        option.agreed(ASSIGNED.packed)
        assert option.peers == ASSIGNED

    def test_a_yamaha_that_omits_the_option_is_told_its_address(self, option):
        assert option.missing() == ASSIGNED.packed

    def test_disagreement_names_both_addresses_until_it_is_over(self, option):
        option.judge(OTHER.packed)
        assert option.disagreement == "the peer insists on 192.0.2.9 instead of 10.0.0.2"
        option.judge(b"\x0a")
        assert option.disagreement == "the peer insists on 0x0a instead of 10.0.0.2"
        option.judge(ASSIGNED.packed)
        assert option.disagreement is None

    def test_asking_for_any_address_is_no_disagreement(self, option):
        option.judge(bytes(4))
        assert option.disagreement is None

    def test_our_own_address_is_not_changed_by_naks_and_given_up_after_three(self, option):
        for _ in range(2):
            option.naked(OTHER.packed)
            assert option.request() == OURS.packed
        option.naked(OTHER.packed)
        assert (option.request(), option.failure) == (None, None)

    def test_our_own_address_is_not_insisted_on(self, option):
        option.rejected()
        assert (option.request(), option.failure) == (None, None)


class TestAddressAsClient:
    @pytest.fixture
    def option(self):
        return IpAddressOption(UNSPECIFIED, None)

    def test_we_ask_for_any_and_take_what_the_nak_says(self, option):
        assert option.request() == bytes(4)
        option.naked(ASSIGNED.packed)
        assert option.request() == ASSIGNED.packed

    def test_a_reject_means_that_there_is_no_address(self, option):
        option.rejected()
        assert option.failure == "the server assigns no address"

    def test_naks_without_an_address_end_the_same_way(self, option):
        option.naked(b"\x0a")  # makes no sense, changes nothing
        for _ in range(3):
            assert option.failure is None
            option.naked(bytes(4))
        assert option.failure == "the server assigns no address"

    def test_the_server_may_have_any_address_or_none(self, option):
        assert option.judge(OURS.packed) == Ack()
        assert option.missing() is None
        option.agreed(OURS.packed)
        assert option.peers == OURS
        option.agreed(None)
        assert option.peers is None

    @pytest.mark.parametrize("value", [bytes(4), b"", b"\x0a"])
    def test_a_server_that_asks_us_for_an_address_is_rejected(self, option, value):
        assert option.judge(value) == Reject()


def test_a_name_server_is_pushed_by_nak():
    option = NameServerOption(129, OTHER)
    assert option.judge(bytes(4)) == Nak(OTHER.packed)
    assert option.judge(OTHER.packed) == Ack()
    assert option.request() is None


def test_a_name_server_that_we_do_not_have_is_rejected():
    assert NameServerOption(130, None).judge(bytes(4)) == Reject()


def test_name_servers_are_asked_for_as_client():
    option = AskNameServerOption(129)
    assert option.request() == bytes(4)
    option.naked(OTHER.packed)
    assert option.request() == OTHER.packed


@pytest.mark.parametrize("value", [bytes(4), b"", b"\x0a"])
def test_a_nak_without_a_name_server_counts_as_a_reject(value):
    option = AskNameServerOption(129)
    option.naked(value)
    assert option.request() is None


def test_name_servers_are_numbered_as_in_rfc_1877():
    servers = [IPv4Address(f"192.0.2.{number}") for number in (1, 2, 3, 4)]
    ipcp = Ipcp.as_server(OURS, ASSIGNED, servers[:2], servers[2:], NegotiationSettings())
    pushed = {option.kind: option.judge(bytes(4)) for option in ipcp.name_servers}
    assert pushed == {
        129: Nak(servers[0].packed),
        131: Nak(servers[1].packed),
        130: Nak(servers[2].packed),
        132: Nak(servers[3].packed),
    }
    assert ipcp.dns == ()
