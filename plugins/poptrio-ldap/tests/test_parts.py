"""Filters, secrets, groups, the policy control and the settings, each by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import parse_filter

from poptrio.api import ConfigError, read_config
from poptrio_ldap.directory import Entry
from poptrio_ldap.filters import check_template, escape, fill
from poptrio_ldap.groups import dn_key, groups_of
from poptrio_ldap.password_policy import ACCOUNT_LOCKED, policy_error
from poptrio_ldap.secrets import secrets_of
from poptrio_ldap.settings import LdapConfig

BASE = {"servers": ["ldap://localhost"], "base": "dc=example"}


@given(st.text(max_size=40).filter(lambda text: not any(0xD800 <= ord(c) <= 0xDFFF for c in text)))
def test_no_name_is_more_than_a_value_of_a_filter(name):
    tree = parse_filter(fill("(&(objectClass=person)(uid={user}))", {"user": name}), None, False, False, None, False)
    assert len(tree.elements) == 1
    assert len(tree.elements[0].elements) == 2


def test_everything_but_letters_and_digits_is_escaped():
    assert escape("*)(uid=*") == "\\2a\\29\\28uid\\3d\\2a"
    assert escape("é") == "\\c3\\a9"


def test_octets_that_are_no_text_match_nothing():
    with pytest.raises(UnicodeEncodeError):
        escape("\udcff")


@pytest.mark.parametrize("template", ["(uid={usr})", "(uid={user}", "uid", "(&)(uid={user})"])
def test_a_template_that_is_no_filter_is_a_fault(template):
    with pytest.raises(ValueError):
        check_template(template, ("user",))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_value_of_an_entry_makes_the_secrets_raise(password, nt_hash):
    entry = Entry("cn=x", {"pw": (password,), "hash": (nt_hash,)})
    secrets = secrets_of(entry, "pw", "hash")
    assert all(len(found) == 16 for found in secrets.nt_hashes)


@pytest.mark.parametrize(
    ("value", "passwords", "hashes"),
    [
        (b"sesame", ("sesame",), ()),
        (b"{CLEAR}sesame", ("sesame",), ()),
        (b"{cleartext}sesame", ("sesame",), ()),
        (b"{SSHA}xyz", (), ()),
        (b"{NT}" + b"0" * 32, (), (bytes(16),)),
        (b"", (), ()),
    ],
)
def test_schemes_of_a_password(value, passwords, hashes):
    secrets = secrets_of(Entry("cn=x", {"pw": (value,)}), "pw", "")
    assert (secrets.passwords, secrets.nt_hashes) == (passwords, hashes)


@pytest.mark.parametrize("value", [b"0x" + b"0" * 32, b"0" * 32, bytes(16)])
def test_an_nt_hash_in_every_spelling(value):
    assert secrets_of(Entry("cn=x", {"hash": (value,)}), "", "hash").nt_hashes == (bytes(16),)


def test_no_secret_is_shown():
    secrets = secrets_of(Entry("cn=x", {"pw": (b"sesame",), "hash": (b"0x" + b"1" * 32,)}), "pw", "hash")
    assert "sesame" not in repr(secrets)
    assert "1111" not in repr(secrets)


def test_a_group_is_itself_however_its_dn_is_written():
    assert dn_key("CN=VPN Users, OU=Groups") == dn_key("cn=vpn users,ou=groups")
    assert dn_key("cn=a\\2cb,dc=x") == dn_key("cn=a\\,b,dc=x")
    groups = groups_of(["cn=vpn,dc=x"], [Entry("cn=staff,dc=x", {"cn": (b"Staff",)})], "cn")
    assert groups.have(name="VPN")
    assert groups.have_any(["staff"])
    assert groups.have(dn="CN=staff, DC=x")
    assert not groups.have_any(["cn=vpn,dc=y", "other"])


@given(st.text(max_size=60))
def test_no_dn_makes_a_key_raise(dn):
    assert isinstance(dn_key(dn), tuple)


@given(st.binary(max_size=40))
def test_no_value_of_the_policy_control_raises(value):
    policy_error(value)


def test_the_policy_control_says_locked():
    assert policy_error(bytes.fromhex("3003810101")) == ACCOUNT_LOCKED
    assert policy_error(bytes.fromhex("3008a003800114810101")) == ACCOUNT_LOCKED
    assert policy_error(bytes.fromhex("3000")) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"servers": []}, "servers"),
        ({"servers": ["http://x"]}, "ldap://HOST:PORT"),
        ({"servers": ["ldap://x:99999"]}, "servers"),
        ({"base": ""}, "base is missing"),
        ({"filter": "(uid=x)"}, "must name the user"),
        ({"bind_dn": "cn=x"}, "belong together"),
        ({"unavailable": "accept"}, "unavailable"),
        ({"groups": [{"pool": "gold"}]}, "either a dn or a name"),
        ({"usr": 1}, "usr"),
        ({"domains": {"X": {"bind_dn": "a", "bind_password": "b"}}}, "servers of its own"),
    ],
)
def test_a_fault_names_its_place(keys, words):
    with pytest.raises(ConfigError) as caught:
        read_config(LdapConfig, BASE | keys, "plugins.ldap")
    assert words in str(caught.value)
    assert "plugins.ldap" in str(caught.value)
