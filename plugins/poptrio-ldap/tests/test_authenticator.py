"""Decisions of the plugin, with a directory in a dictionary."""

import pytest
from fake_directory import FakeDirectory, entry

from poptrio.api import Accept, LocalEap, MsChapV2ChangePasswordRequest, Reject, Unavailable
from poptrio.crypto.mschap import nt_password_hash
from poptrio.testing.requests import chap_md5_request, eap_identity, mschap_v2_request, pap_request
from poptrio_ldap.directory import BindResult
from poptrio_ldap.plugin import Ldap
from poptrio_ldap.settings import LdapConfig

DN = "uid=alice,ou=people,dc=example,dc=org"
PASSWORD = "correct horse"
HASH = nt_password_hash(PASSWORD).hex()


def config(**keys) -> LdapConfig:
    base = {"servers": ["ldap://localhost"], "base": "ou=people,dc=example,dc=org"}
    return LdapConfig.model_validate(base | keys)


def plugin(directory, of_domains=None, **keys) -> Ldap:
    ldap = Ldap()
    ldap.use(config(**keys), directory, of_domains or {}, patience=5.0)
    return ldap


def directory_of_alice(**attributes) -> FakeDirectory:
    alice = entry(DN, uid="alice", **attributes)
    return FakeDirectory({"(uid=alice)": [alice]}, {DN: PASSWORD.encode()})


async def test_pap_is_a_bind_as_the_user():
    directory = directory_of_alice()
    assert await plugin(directory).poptrio_authenticate(pap_request("alice", PASSWORD)) == Accept(
        user="alice", aliases=(DN,)
    )
    assert directory.binds == [(DN, PASSWORD.encode())]


async def test_a_wrong_password_is_refused():
    assert isinstance(await plugin(directory_of_alice()).poptrio_authenticate(pap_request("alice", "x")), Reject)


@pytest.mark.parametrize("password", ["", "\0", "\0correct horse"])
async def test_what_could_bind_as_nobody_is_never_tried(password):
    directory = directory_of_alice()
    assert isinstance(await plugin(directory).poptrio_authenticate(pap_request("alice", password)), Reject)
    assert directory.binds == []


async def test_who_is_not_there_is_another_plugins():
    assert await plugin(directory_of_alice()).poptrio_authenticate(pap_request("bob", PASSWORD)) is None


async def test_two_entries_are_refused_whatever_the_password():
    directory = FakeDirectory({"(uid=alice)": [entry(DN), entry("uid=alice,ou=other")]}, {DN: PASSWORD.encode()})
    decision = await plugin(directory).poptrio_authenticate(pap_request("alice", PASSWORD))
    assert isinstance(decision, Reject)
    assert "more than one entry" in decision.reason


async def test_mschap_by_the_nt_hash():
    directory = directory_of_alice(sambaNTPassword=HASH)
    ldap = plugin(directory, nt_hash_attribute="sambaNTPassword")
    decision = await ldap.poptrio_authenticate(mschap_v2_request("alice", PASSWORD))
    assert isinstance(decision, Accept)
    assert decision.mppe_keys is not None
    assert isinstance(await ldap.poptrio_authenticate(mschap_v2_request("alice", "wrong")), Reject)


async def test_the_refusal_says_what_the_directory_cannot_do():
    nothing = plugin(directory_of_alice())
    only_hash = plugin(directory_of_alice(sambaNTPassword=HASH), nt_hash_attribute="sambaNTPassword")
    hashed = plugin(directory_of_alice(userPassword="{SSHA}abc"), password_attribute="userPassword")
    for ldap, request, words in (
        (nothing, mschap_v2_request("alice", PASSWORD), "neither password_attribute nor nt_hash_attribute"),
        (only_hash, chap_md5_request("alice", PASSWORD), "only its NT hash is there"),
        (hashed, mschap_v2_request("alice", PASSWORD), "userPassword is hashed as {SSHA}"),
    ):
        decision = await ldap.poptrio_authenticate(request)
        assert isinstance(decision, Reject)
        assert words in decision.reason


async def test_eap_is_spoken_by_the_server_where_a_secret_is_known():
    ldap = plugin(directory_of_alice(sambaNTPassword=HASH), nt_hash_attribute="sambaNTPassword")
    assert await ldap.poptrio_authenticate(eap_identity("alice")) == LocalEap(("mschap-v2",))


async def test_passwords_are_not_changed():
    request = MsChapV2ChangePasswordRequest(
        name="alice",
        username="alice",
        identifier=1,
        challenge=bytes(16),
        peer_challenge=bytes(16),
        nt_response=bytes(24),
        encrypted_password=bytes(516),
        encrypted_hash=bytes(16),
    )
    decision = await plugin(directory_of_alice()).poptrio_authenticate(request)
    assert isinstance(decision, Reject)
    assert decision.code == 709


@pytest.mark.parametrize(("unavailable", "ask_next"), [("reject", False), ("next", True)])
async def test_a_silent_directory_is_unavailable(unavailable, ask_next):
    ldap = plugin(FakeDirectory(silent=True), unavailable=unavailable)
    decision = await ldap.poptrio_authenticate(pap_request("alice", PASSWORD))
    assert isinstance(decision, Unavailable)
    assert decision.ask_next is ask_next
    assert "nobody is there" in decision.reason


async def test_an_answer_about_the_server_is_not_one_about_the_user():
    directory = directory_of_alice()
    directory.bind_answer = BindResult(52, "unavailable")
    decision = await plugin(directory).poptrio_authenticate(pap_request("alice", PASSWORD))
    assert isinstance(decision, Unavailable)


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"sambaAcctFlags": "[UD]"}, 647),
        ({"sambaAcctFlags": "[UL]"}, 647),
        ({"userAccountControl": "514"}, 647),
        ({"userAccountControl": str(512 + 0x800000)}, 648),
        ({"pwdAccountLockedTime": "000001010000Z"}, 647),
        ({"msNPAllowDialin": "FALSE"}, 649),
        ({"shadowExpire": "1"}, 647),
        ({"sambaKickoffTime": "1"}, 647),
    ],
)
async def test_what_the_entry_says_of_the_account_comes_after_the_password(attributes, code):
    ldap = plugin(directory_of_alice(**attributes))
    right = await ldap.poptrio_authenticate(pap_request("alice", PASSWORD))
    wrong = await ldap.poptrio_authenticate(pap_request("alice", "x"))
    assert (right.code, wrong.code) == (code, 691)


@pytest.mark.parametrize(
    "attributes",
    [
        {"sambaAcctFlags": "[U          ]"},
        {"userAccountControl": "512"},
        {"msNPAllowDialin": "TRUE"},
        {"shadowExpire": "-1"},
        {"shadowExpire": "99999"},
        {"sambaKickoffTime": "2147483647"},
        {"userAccountControl": "no number"},
    ],
)
async def test_a_good_account_may_call(attributes):
    decision = await plugin(directory_of_alice(**attributes)).poptrio_authenticate(pap_request("alice", PASSWORD))
    assert isinstance(decision, Accept)


@pytest.mark.parametrize(
    ("diagnostic", "code"),
    [
        ("80090308: LdapErr: DSID-0C09, comment: AcceptSecurityContext error, data 52e, v2580", 691),
        ("80090308: LdapErr: DSID-0C09, comment: AcceptSecurityContext error, data 530, v2580", 646),
        ("80090308: LdapErr: DSID-0C09, comment: AcceptSecurityContext error, data 533, v2580", 647),
        ("80090308: LdapErr: DSID-0C09, comment: AcceptSecurityContext error, data 773, v2580", 648),
        ("invalidCredentials", 691),
    ],
)
async def test_active_directory_says_why(diagnostic, code):
    directory = directory_of_alice()
    directory.bind_answer = BindResult(49, diagnostic)
    decision = await plugin(directory).poptrio_authenticate(pap_request("alice", PASSWORD))
    assert isinstance(decision, Reject)
    assert decision.code == code


async def test_the_name_of_the_entry_is_the_users_and_the_others_are_aliases():
    directory = FakeDirectory({"(mail=a\\40example\\2eorg)": [entry(DN, uid="alice")]}, {DN: PASSWORD.encode()})
    ldap = plugin(directory, filter="(mail={user})", user_attribute="uid")
    decision = await ldap.poptrio_authenticate(pap_request("a@example.org", PASSWORD))
    assert (decision.user, decision.aliases) == ("alice", (DN, "a@example.org"))


async def test_a_domain_has_a_base_filter_and_servers_of_its_own():
    ours, theirs = FakeDirectory(), FakeDirectory({"(sam=bob)": [entry("cn=bob")]}, {"cn=bob": PASSWORD.encode()})
    domains = {
        "CORP": {"base": "dc=corp", "filter": "(sam={user})", "servers": ["ldap://corp"], "require_group": []},
    }
    ldap = plugin(ours, {"CORP": theirs}, domains=domains)
    request = pap_request("corp\\bob", PASSWORD)
    assert isinstance(await ldap.poptrio_authenticate(request), Accept)
    assert theirs.searches[0].base == "dc=corp"
    assert ours.searches == []


async def test_a_group_is_needed_and_gives():
    group = "cn=vpn,ou=groups,dc=example,dc=org"
    rules = [{"name": "vpn", "pool": "gold", "session_timeout": 60, "session_limit": 2, "rate_to_client": 1_000_000}]
    member = plugin(directory_of_alice(memberOf=group.upper()), require_group=["vpn"], groups=rules)
    decision = await member.poptrio_authenticate(pap_request("alice", PASSWORD))
    assert (decision.framed_pool, decision.session_timeout, decision.session_limit) == ("gold", 60.0, 2)
    assert decision.rate.to_client.bits_per_second == 1_000_000
    stranger = plugin(directory_of_alice(), require_group=[group])
    refused = await stranger.poptrio_authenticate(pap_request("alice", PASSWORD))
    assert (refused.code, "is not in the group" in refused.reason) == (649, True)


@pytest.mark.parametrize(
    ("attributes", "field", "value"),
    [
        ({"radiusFramedIPAddress": "10.1.2.3"}, "framed_address", "10.1.2.3"),
        ({"msRADIUSFramedIPAddress": "-1062731519"}, "framed_address", "192.168.1.1"),
        ({"msRADIUSFramedIPAddress": "167838211"}, "framed_address", "10.1.2.3"),
        ({"radiusFramedIPAddress": "255.255.255.254"}, "framed_address", "None"),
        ({"radiusFramedIPAddress": "255.255.255.255"}, "client_chooses_address", "True"),
        ({"msRADIUSFramedIPAddress": "-1"}, "client_chooses_address", "True"),
        ({"radiusSessionTimeout": "90"}, "session_timeout", "90.0"),
        ({"radiusIdleTimeout": "30"}, "idle_timeout", "30.0"),
        ({"radiusPortLimit": "3"}, "session_limit", "3"),
        ({"radiusFramedMTU": "1300"}, "framed_mtu", "1300"),
    ],
)
async def test_the_entry_decides(attributes, field, value):
    decision = await plugin(directory_of_alice(**attributes)).poptrio_authenticate(pap_request("alice", PASSWORD))
    assert str(getattr(decision, field)) == value


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("radiusFramedIPAddress", "somewhere"),
        ("msRADIUSFramedIPAddress", "4294967296"),
        ("radiusFramedRoute", "nowhere 10.0.0.1 1"),
        ("radiusSessionTimeout", "-5"),
        ("radiusFramedMTU", "12"),
    ],
)
async def test_a_value_that_makes_no_sense_refuses_and_names_the_attribute(attribute, value):
    ldap = plugin(directory_of_alice(**{attribute: value}))
    decision = await ldap.poptrio_authenticate(pap_request("alice", PASSWORD))
    assert isinstance(decision, Reject)
    assert attribute in decision.reason


async def test_routes_lose_their_gateways():
    directory = directory_of_alice(radiusFramedRoute=["10.1.0.0/16 10.0.0.1 1", "10.2.0.0/24"])
    decision = await plugin(directory).poptrio_authenticate(pap_request("alice", PASSWORD))
    assert list(map(str, decision.framed_routes)) == ["10.1.0.0/16", "10.2.0.0/24"]
