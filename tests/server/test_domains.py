"""The domain rule: which user a plugin looks up, and that the name which goes into hashes stays as it was sent."""

import pytest

from poptrio.protocols.ppp.auth_requests import PapRequest
from poptrio.server.domains import DomainRule, seen_and_used


def request_of(name):
    return PapRequest(name=name, username=name, password="x")


@pytest.mark.parametrize(
    ("rule", "name", "username", "domain"),
    [
        (DomainRule(), "alice", "alice", ""),
        (DomainRule(), "OFFICE\\alice", "alice", "OFFICE"),
        (DomainRule(), "\\alice", "alice", ""),
        (DomainRule(), "FOREST\\OFFICE\\alice", "alice", "FOREST\\OFFICE"),
        (DomainRule(), "alice@office.example", "alice@office.example", "office.example"),
        (DomainRule(strip_realm=True), "alice@office.example", "alice", "office.example"),
        (DomainRule(strip_realm=True), "alice@a@b", "alice@a", "b"),
        (DomainRule(strip_realm=True), "@office.example", "@office.example", ""),
        (DomainRule(strip_realm=True), "alice@", "alice@", ""),
        (DomainRule(strip_realm=True, default_domain="HOME"), "alice@office", "alice", "office"),
        (DomainRule(strip_realm=True), "OFFICE\\alice@x", "alice@x", "OFFICE"),
        (DomainRule(strip_domain=False), "alice@office", "alice@office", "office"),
        (DomainRule(strip_realm=True, strip_domain=False), "alice@office", "alice", "office"),
        (DomainRule(renamed={"office": "HQ"}), "Office\\alice", "alice", "HQ"),
        (DomainRule(renamed={"office": "HQ"}), "alice@OFFICE", "alice@HQ", "HQ"),
        (DomainRule(renamed={"office": "HQ"}, strip_domain=False), "OFFICE\\alice", "HQ\\alice", "HQ"),
        (DomainRule(renamed={"home": "HQ"}, default_domain="HOME"), "alice", "alice", "HQ"),
        (DomainRule(renamed={"a": "b", "b": "c"}), "A\\alice", "alice", "b"),
        (DomainRule(default_domain="HOME"), "alice", "alice", "HOME"),
        (DomainRule(default_domain="HOME"), "\\alice", "alice", "HOME"),
        (DomainRule(default_domain="HOME"), "OFFICE\\alice", "alice", "OFFICE"),
        (DomainRule(strip_domain=False), "alice", "alice", ""),
        (DomainRule(strip_domain=False), "\\alice", "alice", ""),
        (DomainRule(strip_domain=False), "OFFICE\\alice", "OFFICE\\alice", "OFFICE"),
        (DomainRule(strip_domain=False, default_domain="HOME"), "alice", "HOME\\alice", "HOME"),
        (DomainRule(strip_domain=False, default_domain="HOME"), "OFFICE\\alice", "OFFICE\\alice", "OFFICE"),
    ],
)
def test_rule(rule, name, username, domain):
    used = rule.apply(request_of(name))
    assert (used.name, used.username, used.domain) == (name, username, domain)


@pytest.mark.parametrize("name", ["", "OFFICE\\", "\\"])
@pytest.mark.parametrize("strip_domain", [True, False])
def test_a_name_without_user_part_is_left_as_it_was_sent(name, strip_domain):
    used = DomainRule(strip_domain=strip_domain, default_domain="HOME").apply(request_of(name))
    assert (used.name, used.username, used.domain) == (name, name, "")


def test_log_shows_both_names_where_they_differ():
    assert seen_and_used(DomainRule().apply(request_of("alice"))) == "alice"
    assert seen_and_used(DomainRule().apply(request_of("OFFICE\\alice"))) == "OFFICE\\alice (looked up as alice)"


def test_log_is_safe_from_names_that_are_not_text():
    assert seen_and_used(request_of("al\nice\udcff\x1b")) == "al\\nice\\udcff\\x1b"
