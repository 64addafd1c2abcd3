"""Against OpenLDAP itself: TLS, binds, hashes, groups, injection, and a directory that dies during calls."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
import trio

from poptrio.api import Accept, PapRequest, Reject, ServerInfo, Unavailable
from poptrio.testing.requests import chap_md5_request, mschap_v2_request, pap_request
from poptrio_ldap.plugin import Ldap

pytestmark = pytest.mark.slapd


def table(slapd):
    """``[plugins.ldap]`` for it."""
    return {
        "servers": [slapd.url],
        "ca_file": "ca.pem",
        "base": "ou=people,dc=example,dc=org",
        "bind_dn": "cn=poptrio,dc=example,dc=org",
        "bind_password": "service",
        "nt_hash_attribute": "sambaNTPassword",
    }


def info(slapd):
    return ServerInfo(folder=slapd.folder, name="poptrio", address=IPv4Address("10.90.0.1"), pool=())


@asynccontextmanager
async def plugin(slapd, **keys) -> AsyncIterator[Ldap]:
    """The plugin with slapd as its directory; ``keys`` are added to ``[plugins.ldap]``, or take their place."""
    ldap = Ldap()
    async with ldap.poptrio_lifespan(table(slapd) | keys, info(slapd)):
        yield ldap


async def test_pap_binds_as_the_user_under_start_tls(slapd):
    async with plugin(slapd) as ldap:
        right = await ldap.poptrio_authenticate(pap_request("alice", "correct horse"))
        wrong = await ldap.poptrio_authenticate(pap_request("alice", "battery staple"))
        again = await ldap.poptrio_authenticate(pap_request("alice", "correct horse"))
    assert isinstance(right, Accept)
    assert right.framed_address == IPv4Address("10.90.0.77")
    assert isinstance(wrong, Reject)
    assert again == right


async def test_mschap_v2_by_the_nt_hash_that_the_service_account_reads(slapd):
    async with plugin(slapd) as ldap:
        right = await ldap.poptrio_authenticate(mschap_v2_request("OFFICE\\alice", "correct horse"))
        wrong = await ldap.poptrio_authenticate(mschap_v2_request("alice", "battery staple"))
    assert isinstance(right, Accept)
    assert right.mppe_keys is not None
    assert right.authenticator_response.startswith("S=")
    assert right.user == "alice"
    assert set(right.aliases) == {"uid=alice,ou=people,dc=example,dc=org", "OFFICE\\alice"}
    assert wrong == Reject(reason="wrong password")


async def test_chap_md5_by_the_password_in_clear(slapd):
    async with plugin(slapd, password_attribute="userPassword") as ldap:
        right = await ldap.poptrio_authenticate(chap_md5_request("bob", "battery staple"))
        hashed = await ldap.poptrio_authenticate(chap_md5_request("alice", "correct horse"))
    assert isinstance(right, Accept)
    assert isinstance(hashed, Reject)
    assert hashed.reason == (
        "chap-md5 needs the password in clear, and of uid=alice,ou=people,dc=example,dc=org only its NT hash is there"
    )


async def test_who_is_not_in_the_directory_is_not_ours(slapd):
    async with plugin(slapd) as ldap:
        assert await ldap.poptrio_authenticate(pap_request("mallory", "correct horse")) is None


@pytest.mark.parametrize("name", ["*", "*)(uid=*", "alice)(objectClass=*", "a*", "\\2a", "alice\0", "\udcff", "", "("])
async def test_no_name_is_more_than_a_name(slapd, name):
    async with plugin(slapd) as ldap:
        assert await ldap.poptrio_authenticate(PapRequest(name=name, username=name, password="correct horse")) is None


@pytest.mark.parametrize("password", ["", "\0", "\0correct horse"])
async def test_an_empty_password_never_binds(slapd, password):
    async with plugin(slapd) as ldap:
        decision = await ldap.poptrio_authenticate(pap_request("alice", password))
    assert isinstance(decision, Reject)
    assert "never binds" in decision.reason


async def test_two_entries_with_the_name_are_refused(slapd):
    async with plugin(slapd, filter="(mail={name}@example.org)") as ldap:
        decision = await ldap.poptrio_authenticate(pap_request("twin", "battery staple"))
    assert isinstance(decision, Reject)
    assert "uid=twin1" in decision.reason
    assert "uid=twin2" in decision.reason


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("locked", 647, "the account is locked"), ("reset", 648, "the password must be changed")],
)
async def test_password_policy_says_why(slapd, name, code, words):
    async with plugin(slapd) as ldap:
        assert await ldap.poptrio_authenticate(pap_request(name, "battery staple")) == Reject(reason=words, code=code)


async def test_groups_found_by_a_search(slapd):
    keys = {"group_base": "dc=example,dc=org", "group_filter": "(&(objectClass=groupOfNames)(member={dn}))"}
    group = {"name": "Staff", "pool": "staff", "session_timeout": 60}
    async with plugin(slapd, require_group=["staff"], groups=[group], **keys) as ldap:
        member = await ldap.poptrio_authenticate(pap_request("alice", "correct horse"))
        other = await ldap.poptrio_authenticate(pap_request("bob", "battery staple"))
    assert isinstance(member, Accept)
    assert (member.framed_pool, member.session_timeout) == ("staff", 60.0)
    assert isinstance(other, Reject)
    assert other.code == 649


async def test_ldaps(slapd):
    async with plugin(slapd, servers=[slapd.tls_url]) as ldap:
        assert isinstance(await ldap.poptrio_authenticate(pap_request("bob", "battery staple")), Accept)


async def test_without_tls_there_is_a_warning(slapd, log_output):
    async with plugin(slapd, start_tls=False) as ldap:
        assert isinstance(await ldap.poptrio_authenticate(pap_request("bob", "battery staple")), Accept)
    assert [entry["servers"] for entry in log_output if "without TLS" in entry["event"]] == [[slapd.url]]


@pytest.mark.parametrize("scheme", ["url", "tls_url"])
async def test_a_certificate_of_another_ca_is_refused(slapd, scheme, log_output):
    async with plugin(slapd, servers=[getattr(slapd, scheme)], ca_file="other-ca.pem", unavailable="next") as ldap:
        decision = await ldap.poptrio_authenticate(pap_request("bob", "battery staple"))
    assert isinstance(decision, Unavailable)
    assert "certificate verify failed" in decision.reason
    assert decision.ask_next is True
    assert [entry["event"] for entry in log_output] == ["directory unavailable"]


async def test_a_certificate_for_another_name_is_refused(slapd):
    url = f"ldap://localhost:{slapd.port}"  # the certificate is for 127.0.0.1
    async with plugin(slapd, servers=[url]) as ldap:
        decision = await ldap.poptrio_authenticate(pap_request("bob", "battery staple"))
    assert isinstance(decision, Unavailable)
    assert "certificate verify failed" in decision.reason


async def test_certificates_are_not_checked_if_the_operator_insists(slapd, log_output):
    async with plugin(slapd, ca_file="other-ca.pem", verify=False) as ldap:
        assert isinstance(await ldap.poptrio_authenticate(pap_request("bob", "battery staple")), Accept)
    assert any("not checked" in entry["event"] for entry in log_output)


async def test_a_wrong_service_account_is_said_at_the_start(slapd, log_output):
    async with plugin(slapd, bind_password="wrong") as ldap:
        decision = await ldap.poptrio_authenticate(pap_request("bob", "battery staple"))
    assert isinstance(decision, Unavailable)
    assert decision.ask_next is False
    (said,) = log_output
    assert "refuses the service account cn=poptrio,dc=example,dc=org: invalidCredentials" in said["reason"]
    assert "wrong" not in str(log_output)


async def test_connections_survive_a_killed_directory(slapd):
    """What is pooled is dead after a restart; the next caller must not notice. Meanwhile callers get an answer."""
    ask = pap_request("alice", "correct horse")
    async with plugin(slapd) as ldap:
        before = await ldap.poptrio_authenticate(ask)
        slapd.kill()
        meanwhile = await ldap.poptrio_authenticate(ask)
        slapd.start()
        after = await ldap.poptrio_authenticate(ask)
        slapd.kill()
        slapd.start()
        at_once = await ldap.poptrio_authenticate(mschap_v2_request("alice", "correct horse"))
    assert isinstance(before, Accept)
    assert isinstance(meanwhile, Unavailable)
    assert after == before
    assert isinstance(at_once, Accept)


async def test_many_callers_while_the_directory_is_killed_and_started(slapd):
    answers = []

    async def call(ldap: Ldap) -> None:
        for _ in range(4):
            answer = await ldap.poptrio_authenticate(mschap_v2_request("alice", "correct horse"))
            answers.append(answer)

    async with plugin(slapd) as ldap:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call, ldap)
            while len(answers) < 8:
                await trio.lowlevel.checkpoint()
            slapd.kill()
            slapd.start()
        last = await ldap.poptrio_authenticate(mschap_v2_request("alice", "correct horse"))
    assert len(answers) == 40
    assert {type(answer) for answer in answers} <= {Accept, Unavailable}
    assert isinstance(last, Accept)


@pytest.mark.parametrize("start_tls", [True, False])
async def test_a_frozen_directory_is_unavailable_within_the_timeout(slapd, start_tls):
    async with plugin(slapd, timeout=0.1, start_tls=start_tls) as ldap:
        await until_accepted(ldap)
        slapd.freeze()
        try:
            decision = await ldap.poptrio_authenticate(pap_request("bob", "battery staple"))
        finally:
            slapd.thaw()
        assert isinstance(decision, Unavailable)
        await until_accepted(ldap)


async def until_accepted(ldap: Ldap) -> None:
    """With a timeout this short, a busy machine may miss it."""
    with trio.fail_after(10):
        while not isinstance(await ldap.poptrio_authenticate(pap_request("bob", "battery staple")), Accept):
            pass


async def test_the_second_server_takes_over(slapd):
    async with plugin(slapd, servers=["ldap://127.0.0.1:1", slapd.url]) as ldap:
        assert isinstance(await ldap.poptrio_authenticate(pap_request("bob", "battery staple")), Accept)


async def test_a_reload_takes_another_account_and_reads_certificates_again(slapd):
    trusted, alice = slapd.folder / "trusted.pem", pap_request("alice", "correct horse")
    shutil.copy(slapd.folder / "other-ca.pem", trusted)
    keys = {"ca_file": "trusted.pem", "bind_password": "wrong"}
    async with plugin(slapd, **keys) as ldap:

        def reload(**changed):
            ldap.poptrio_reload(table(slapd) | keys | changed, info(slapd)).commit()

        assert "certificate verify failed" in (await ldap.poptrio_authenticate(alice)).reason
        shutil.copy(slapd.folder / "ca.pem", trusted)
        reload()
        assert "refuses the service account" in (await ldap.poptrio_authenticate(alice)).reason
        reload(bind_password="service")
        assert isinstance(await ldap.poptrio_authenticate(alice), Accept)
        reload(bind_password="service", require_group=["nobody"])
        assert isinstance(await ldap.poptrio_authenticate(alice), Reject)
