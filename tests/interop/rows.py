"""The table of cases: how the client of each dials, what both sides should agree on, and what then happens."""

import kernel_scenarios
import scenarios
from ldap_rows import LDAP_ROWS
from radius_rows import RADIUS_ROWS
from row import CLEAR, MPPE_128, Row
from stage import Dial

MPPE_128_STATEFUL = ("require-mppe-128", "mppe-stateful")
LOG_ECHOES = "debug"  # a second time: pppd logs echoes on a link that is up from level 2 on
ALL_OPTIONS = ("+ipv6", "deflate 15,15", "bsdcomp 15,15", "vj-max-slots 16", "multilink", "nomppe")


PLAIN = Dial({}, MPPE_128, "MS-CHAPv2", "MPPE-128 stateless")

ROWS = (
    Row("pap", Dial({"authentication": ["pap"], **CLEAR}, (), "PAP", "none")),
    Row("chap-md5", Dial({"authentication": ["chap-md5"], **CLEAR}, (), "CHAP-MD5", "none")),
    Row("mschap-v1", Dial({"authentication": ["mschap-v1"], **CLEAR}, (), "MS-CHAPv1", "none")),
    # pppd has no MPPE-40 with MS-CHAPv1: it has no LM hash, from which RFC 3079 §2 derives those keys.
    Row("mschap-v1-mppe-128", Dial({"authentication": ["mschap-v1"]}, MPPE_128, "MS-CHAPv1", "MPPE-128 stateless")),
    Row("mschap-v2", Dial(CLEAR, (), "MS-CHAPv2", "none")),
    Row("eap-md5", Dial({"authentication": ["eap"], "eap_methods": ["md5"], **CLEAR}, (), "EAP-MD5", "none")),
    Row("eap-mschapv2", Dial({"authentication": ["eap"]}, MPPE_128, "EAP-MSCHAPv2", "MPPE-128 stateless")),
    Row(
        "eap-wrong-password",
        Dial({"authentication": ["eap"]}, MPPE_128, password="wrong"),
        scenarios.is_refused_by_eap,
    ),
    Row("mppe-40", Dial({"encryption_bits": [40]}, ("require-mppe-40",), "MS-CHAPv2", "MPPE-40 stateless")),
    Row("mppe-128", PLAIN, scenarios.carries_traffic_seen_inside),
    Row("mppe-bits-chosen", Dial({"encryption_bits": [128, 40]}, ("require-mppe",), "MS-CHAPv2", "MPPE-128 stateless")),
    Row("stateful-any", Dial({"encryption_mode": "any"}, MPPE_128_STATEFUL, "MS-CHAPv2", "MPPE-128 stateless")),
    Row(
        "stateful-stateless",
        Dial({"encryption_mode": "stateless"}, MPPE_128_STATEFUL, "MS-CHAPv2", "MPPE-128 stateless"),
    ),
    Row(
        "stateful-stateful",
        Dial({"encryption_mode": "stateful"}, MPPE_128_STATEFUL, "MS-CHAPv2", "MPPE-128 stateful"),
    ),
    Row(
        "fall-back-by-nak",
        Dial(
            {"authentication": ["mschap-v2", "chap-md5"], **CLEAR},
            ("refuse-mschap-v2",),
            "CHAP-MD5",
            "none",
        ),
    ),
    Row("all-options", Dial({"encryption": "prefer"}, ALL_OPTIONS, "MS-CHAPv2", "none")),
    Row("domain-user", Dial({}, MPPE_128, "MS-CHAPv2", "MPPE-128 stateless", user="CORP\\alice")),
    Row("wrong-password", Dial({}, MPPE_128, password="wrong"), scenarios.is_refused_a_login),
    Row("unknown-user", Dial({}, MPPE_128, user="mallory", password="wrong"), scenarios.looks_like_a_wrong_password),
    Row("no-encryption", Dial({}, ("nomppe",)), scenarios.is_refused_without_encryption),
    Row(
        "small-mtu",
        Dial({}, (*MPPE_128, "mtu 600", "mru 600"), "MS-CHAPv2", "MPPE-128 stateless"),
        scenarios.small_mtu,
    ),
    Row(
        "client-echo",
        Dial(
            {}, (*MPPE_128, "lcp-echo-interval 1", "lcp-echo-failure 3", LOG_ECHOES), "MS-CHAPv2", "MPPE-128 stateless"
        ),
        scenarios.client_sends_echoes,
    ),
    Row(
        "server-echo",
        Dial({"lcp_echo_interval": 1.0}, (*MPPE_128, LOG_ECHOES), "MS-CHAPv2", "MPPE-128 stateless"),
        scenarios.server_sends_echoes,
    ),
    Row("set-up-time", PLAIN, scenarios.sets_up_without_a_pause),
    Row("idle", PLAIN, scenarios.idle),
    Row("client-hangs-up", PLAIN, scenarios.client_hangs_up),
    Row("client-vanishes", PLAIN, scenarios.client_vanishes),
    Row("server-hangs-up", PLAIN, scenarios.server_hangs_up),
    Row("upgrade", PLAIN, scenarios.survives_an_upgrade),
    Row("three-calls-shared", PLAIN, scenarios.three_calls_on_one_connection),
    Row("three-calls-separate", PLAIN, scenarios.three_calls_on_three_connections),
    *RADIUS_ROWS,
    *LDAP_ROWS,
)

# What looks inside the server's TUN has nothing to look at, and who knows the users makes no difference to packets.
_NOT_IN_KERNEL = {row.name for row in (*RADIUS_ROWS, *LDAP_ROWS)} | {"mppe-128", "upgrade"}

KERNEL_ROWS = (
    Row("mppe-128", PLAIN),
    *(row for row in ROWS if row.name not in _NOT_IN_KERNEL),
    Row("clear-text-injected", PLAIN, kernel_scenarios.clear_text_is_dropped),
    Row("clear-text-allowed", Dial(CLEAR, (), "MS-CHAPv2", "none"), kernel_scenarios.clear_text_arrives),
    Row("contract", PLAIN, kernel_scenarios.keeps_the_contract),
    Row("server-killed", PLAIN, kernel_scenarios.killed),
    Row("hang-ups-under-load", PLAIN, kernel_scenarios.hang_ups_under_load),
)
