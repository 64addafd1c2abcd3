"""From the attributes of an Access-Accept to the fields of `Accept`, one by one, and what makes no sense."""

import contextlib
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peer import attributes

from poptrio.api import Accept, Quota, Rate, RateLimit
from poptrio_radius.attributes import BadAttribute
from poptrio_radius.authorization import RULES, authorize
from poptrio_radius.config import RadiusConfig
from poptrio_radius.mschap_answers import parse_error
from poptrio_radius.rates import parse_mikrotik
from poptrio_radius.routes import parse_route

CONFIG = RadiusConfig.model_validate({"servers": [{"address": "127.0.0.1", "secret": "x"}]})


def allowed(**values) -> Accept:
    return authorize(Accept(user="alice"), attributes(**values), CONFIG)


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"Framed_IP_Address": IPv4Address("10.0.0.7")}, "framed_address", IPv4Address("10.0.0.7")),
        ({"Framed_IP_Address": IPv4Address("255.255.255.254")}, "framed_address", None),
        ({"Framed_IP_Address": IPv4Address("255.255.255.255")}, "client_chooses_address", True),
        ({"Framed_Pool": "gold"}, "framed_pool", "gold"),
        ({"Framed_MTU": 1300}, "framed_mtu", 1300),
        ({"Session_Timeout": 60}, "session_timeout", 60.0),
        ({"Session_Timeout": 0}, "session_timeout", 0.0),
        ({"Idle_Timeout": 30}, "idle_timeout", 30.0),
        ({"Termination_Action": 1}, "reauthenticate", True),
        ({"Termination_Action": 0}, "reauthenticate", False),
        ({"Acct_Interim_Interval": 300}, "interim_interval", 300.0),
        ({"Acct_Interim_Interval": 5}, "interim_interval", 60.0),
        ({"Class": [b"a", b"b"]}, "classes", (b"a", b"b")),
        ({"Filter_Id": ["in", "out"]}, "filter_ids", ("in", "out")),
        ({"Port_Limit": 2}, "session_limit", 2),
        ({"MS_Primary_DNS_Server": IPv4Address("10.0.0.53")}, "dns", (IPv4Address("10.0.0.53"),)),
        ({"MS_Secondary_NBNS_Server": IPv4Address("10.0.0.9")}, "wins", (IPv4Address("10.0.0.9"),)),
        ({"MS_MPPE_Encryption_Policy": 2}, "encryption", "require"),
        ({"MS_MPPE_Encryption_Policy": 1, "MS_MPPE_Encryption_Types": 6}, "encryption", "prefer"),
        ({"MS_MPPE_Encryption_Policy": 1, "MS_MPPE_Encryption_Types": 0}, "encryption", "refuse"),
        ({"MS_MPPE_Encryption_Types": 6}, "encryption_bits", (128, 40)),
        ({"Framed_Route": ["10.1.0.0/16 10.0.0.1 1"]}, "framed_routes", (IPv4Network("10.1.0.0/16"),)),
        ({"Mikrotik_Total_Limit": 5, "Mikrotik_Total_Limit_Gigawords": 1}, "quota", Quota(total=2**32 + 5)),
        ({"Mikrotik_Recv_Limit": 7, "Mikrotik_Xmit_Limit": 8}, "quota", Quota(from_client=7, to_client=8)),
        ({"Session_Octets_Limit": 9}, "quota", Quota(total=9)),
        ({"Session_Octets_Limit": 9, "Octets_Direction": 1}, "quota", Quota(from_client=9)),
        ({"Session_Octets_Limit": 9, "Octets_Direction": 2}, "quota", Quota(to_client=9)),
        ({"Session_Octets_Limit": 9, "Octets_Direction": 3}, "quota", Quota(from_client=9, to_client=9)),
    ],
)
def test_an_attribute_decides(values, field, expected):
    assert getattr(allowed(**values), field) == expected


@pytest.mark.parametrize(
    ("values", "from_client", "to_client"),
    [
        ({"Mikrotik_Rate_Limit": "64k/2M"}, 64_000, 2_000_000),
        ({"WISPr_Bandwidth_Max_Up": 1000, "WISPr_Bandwidth_Max_Down": 2000}, 1000, 2000),
        ({"Ascend_Xmit_Rate": 3000, "Ascend_Data_Rate": 1000}, 1000, 3000),
        (
            {
                "Cisco_AVPair": [
                    "lcp:interface-config#1=rate-limit input 512000 96000 192000 conform-action transmit",
                    "lcp:interface-config#1=rate-limit output 1024000 96000 192000 conform-action transmit",
                ]
            },
            512_000,
            1_024_000,
        ),
    ],
)
def test_every_vendors_rate_is_one_value(values, from_client, to_client):
    rate = allowed(**values).rate
    assert (rate.from_client.bits_per_second, rate.to_client.bits_per_second) == (from_client, to_client)


def test_mikrotiks_burst():
    assert parse_mikrotik("1M/2M 2M/4M 512k/1M 8/16 5 128k/256k") == RateLimit(
        from_client=Rate(
            bits_per_second=1_000_000,
            burst_bits_per_second=2_000_000,
            burst_threshold=512_000,
            burst_seconds=8.0,
            guaranteed=128_000,
        ),
        to_client=Rate(
            bits_per_second=2_000_000,
            burst_bits_per_second=4_000_000,
            burst_threshold=1_000_000,
            burst_seconds=16.0,
            guaranteed=256_000,
        ),
        priority=5,
    )


def test_a_netmask_leads_the_whole_network_to_the_client():
    accept = allowed(Framed_IP_Address=IPv4Address("10.1.2.3"), Framed_IP_Netmask=IPv4Address("255.255.255.0"))
    assert accept.framed_routes == (IPv4Network("10.1.2.0/24"),)
    alone = allowed(Framed_IP_Address=IPv4Address("10.1.2.3"), Framed_IP_Netmask=IPv4Address("255.255.255.255"))
    assert alone.framed_routes == ()


@pytest.mark.parametrize("values", [{"Service_Type": 1}, {"Framed_Protocol": 2}, {"Mikrotik_Rate_Limit": "fast"}])
def test_what_cannot_be_served_refuses_and_is_named(values):
    with pytest.raises(BadAttribute) as caught:
        allowed(**values)
    assert next(iter(values)).replace("_", "-") in str(caught.value)


@pytest.mark.parametrize("route", ["", "nowhere", "0.0.0.0/0", "127.0.0.0/8", "224.0.0.0/4", "10.0.0.0/33"])
def test_a_route_that_may_not_be_is_left_out_and_the_call_comes_up(route):
    assert allowed(Framed_Route=[route, "10.9.0.0/24"]).framed_routes == (IPv4Network("10.9.0.0/24"),)


def test_a_route_without_a_length_has_that_of_its_class():
    assert [parse_route(text).prefixlen for text in ("10.0.0.0", "172.16.0.0", "192.168.1.0")] == [8, 16, 24]


def test_no_attribute_has_two_rules():
    names = [name for rule in RULES for name in rule.names]
    assert len(names) == len(set(names))


@given(st.text(max_size=40))
def test_no_text_makes_a_route_to_everywhere_or_another_error(text):
    with contextlib.suppress(ValueError):
        assert parse_route(text).prefixlen > 0


@given(st.text(alphabet="0123456789kMG/ .x", max_size=40))
def test_no_text_of_a_rate_makes_another_error(text):
    with contextlib.suppress(ValueError):
        assert isinstance(parse_mikrotik(text), RateLimit)


@given(st.binary(max_size=80))
def test_no_error_of_a_server_raises(value):
    parse_error(value)
