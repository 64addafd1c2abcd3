"""The chap-secrets plugin: which row counts, what it decides, and how it follows its file."""

import os
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import md5
from ipaddress import IPv4Address, IPv4Network

import pytest
from structlog.testing import capture_logs

from poptrio.api import (
    Accept,
    CallInfo,
    ChapMd5Request,
    ConfigError,
    EapRequest,
    LocalEap,
    MsChapV2ChangePasswordRequest,
    MsChapV2Request,
    PapRequest,
    Reject,
    ServerInfo,
)
from poptrio.crypto.mschap import generate_nt_response, nt_password_hash
from poptrio.plugins import chap_secrets
from poptrio.server.domains import DomainRule
from poptrio.server.hooks import Hooks

CALL = CallInfo(
    session_id="s1",
    call_id=1,
    peer_call_id=2,
    peer=IPv4Address("203.0.113.9"),
    server=IPv4Address("198.51.100.1"),
    started=datetime(2025, 1, 1, tzinfo=UTC),
)


def pap(name, password, rule=None):
    return (rule or DomainRule()).apply(PapRequest(name=name, username=name, password=password))


def eap(name):
    return EapRequest(name=name, username=name, packet=b"\x02\x01\x00\x0a\x01" + name.encode())


def chap_md5(name, password):
    challenge = bytes(range(16))
    response = md5(b"\x07" + password.encode() + challenge).digest()
    return ChapMd5Request(name=name, username=name, identifier=7, challenge=challenge, response=response)


def mschap_v2(name, password):
    request = MsChapV2Request(
        name=name,
        username=name,
        identifier=7,
        challenge=bytes(range(16)),
        peer_challenge=bytes(range(16, 32)),
        nt_response=bytes(24),
    )
    nt_hash = nt_password_hash(password)
    response = generate_nt_response(request.challenge, request.peer_challenge, request.hashed_name, nt_hash)
    return DomainRule().apply(replace(request, nt_response=response))


class Secrets:
    """The plugin in its host, over a file that tests write."""

    def __init__(self, folder):
        self.file = folder / "chap-secrets"
        self.hooks = Hooks.load(["chap-secrets"])
        self.server = ServerInfo(folder=folder, name="poptrio", address=IPv4Address("10.90.0.1"), pool=())

    def write(self, text):
        self.file.write_text(text)
        self.file.chmod(0o600)

    @asynccontextmanager
    async def running(self, text=None, **config):
        if text is not None:
            self.write(text)
        async with self.hooks.lifespan({"chap-secrets": config}, self.server):
            yield self

    async def ask(self, request):
        answer = await self.hooks.authenticate(CALL, request)
        return answer.decision if answer.plugin else None

    async def line_of(self, request):
        """The row that would decide, told by the password that is accepted: every row's password is its number."""
        accepted = [n for n in range(10) if isinstance(await self.ask(replace(request, password=str(n))), Accept)]
        assert len(accepted) <= 1
        return accepted[0] if accepted else None


@pytest.fixture
def secrets(tmp_path):
    return Secrets(tmp_path)


@pytest.mark.parametrize("request_of", [pap, chap_md5, mschap_v2])
async def test_right_wrong_and_unknown(secrets, request_of):
    async with secrets.running("alice * sesame *\n"):
        accept = await secrets.ask(request_of("alice", "sesame"))
        assert (accept.user, accept.framed_address, accept.framed_networks) == ("alice", None, ())
        assert (accept.mppe_keys is not None) == (request_of is mschap_v2)
        assert isinstance(await secrets.ask(request_of("alice", "Sesame")), Reject)
        assert await secrets.ask(request_of("bob", "sesame")) is None


async def test_names_are_case_sensitive(secrets):
    async with secrets.running("alice * sesame"):
        assert await secrets.ask(pap("Alice", "sesame")) is None


@pytest.mark.parametrize(
    ("rows", "name", "line"),
    [
        ("alice * 1\nalice * 2", "alice", 1),
        ("alice * 1\nalice poptrio 2", "alice", 2),
        ("alice other 1\nalice * 2", "alice", 2),
        ("alice other 1", "alice", None),
        ("* * 1\nalice * 2", "alice", 2),
        ("* * 1\nalice * 2", "bob", 1),
        ("alice * 1\n* poptrio 2", "alice", 2),  # pppd: a row for this server beats one for this client
        ("* poptrio 1\nalice poptrio 2", "alice", 2),
        ("alice * 1\nOFFICE\\\\alice * 2", "alice", 1),
        ("alice * 1\nOFFICE\\\\alice * 2", "OFFICE\\alice", 2),
        ("alice poptrio 1\nOFFICE\\\\alice * 2", "OFFICE\\alice", 2),
        ("alice * 1\nOFFICE\\\\alice * 2", "HOME\\alice", 1),
        ("OFFICE\\\\alice * 1", "alice", None),
        ("OFFICE\\\\alice other 1\nalice * 2", "OFFICE\\alice", 2),
    ],
)
async def test_the_best_row_counts(secrets, rows, name, line):
    with capture_logs():
        async with secrets.running(rows):
            assert await secrets.line_of(pap(name, "")) == line


async def test_domain_rows_without_stripping_and_with_a_default(secrets):
    keep = DomainRule(strip_domain=False)
    async with secrets.running("alice * 1\nOFFICE\\\\alice * 2\nHOME\\\\alice * 3"):
        assert await secrets.line_of(pap("OFFICE\\alice", "", keep)) == 2
        assert await secrets.line_of(pap("ELSEWHERE\\alice", "", keep)) is None
        assert await secrets.line_of(pap("alice", "", keep)) == 1
        assert await secrets.line_of(pap("alice", "", DomainRule(default_domain="HOME"))) == 3


async def test_mschap_hash_is_over_the_user_part(secrets):
    async with secrets.running("alice * sesame"):
        accept = await secrets.ask(mschap_v2("OFFICE\\alice", "sesame"))
        assert (accept.user, accept.authenticator_response[:2]) == ("alice", "S=")


async def test_the_address_column_decides_after_the_password(secrets):
    rows = "a * 1 10.0.0.5\nb * 1 10.0.0.0/24\nc * 1 -\nd * 1\n"
    async with secrets.running(rows):
        assert (await secrets.ask(pap("a", "1"))).framed_address == IPv4Address("10.0.0.5")
        assert (await secrets.ask(pap("b", "1"))).framed_networks == (IPv4Network("10.0.0.0/24"),)
        refused = await secrets.ask(pap("c", "1"))
        assert (refused.code, refused.reason) == (649, "line 3 of the secrets file permits no address")
        assert (await secrets.ask(pap("c", "2"))).code == 691
        plain = await secrets.ask(pap("d", "1"))
        assert (plain.framed_address, plain.framed_networks) == (None, ())


async def test_eap_is_spoken_for_users_of_the_file_only(secrets):
    async with secrets.running("alice * sesame"):
        assert await secrets.ask(eap("alice")) == LocalEap(("mschap-v2", "md5"))
        assert await secrets.ask(eap("mallory")) is None


async def test_a_password_in_the_file_cannot_be_changed_by_its_user(secrets):
    async with secrets.running("alice * sesame"):
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
        assert isinstance(await secrets.ask(request), Reject)


async def test_nt_hashes(secrets):
    nt_hash = nt_password_hash("sesame").hex()
    async with secrets.running(f"alice * {nt_hash}", encrypted=True):
        assert isinstance(await secrets.ask(mschap_v2("alice", "sesame")), Accept)
        assert isinstance(await secrets.ask(mschap_v2("alice", nt_hash)), Reject)
        assert isinstance(await secrets.ask(pap("alice", "sesame")), Accept)
        assert await secrets.ask(eap("alice")) == LocalEap(("mschap-v2",))
        refused = await secrets.ask(chap_md5("alice", "sesame"))
        assert refused.reason.startswith("line 1 of the secrets file: CHAP-MD5 needs the password")


# The file.


async def test_a_missing_file_keeps_the_server_from_starting(secrets):
    with pytest.raises(ConfigError, match="chap-secrets: cannot be read: No such file"):
        async with secrets.running():
            pytest.fail("must not start")


async def test_a_broken_file_keeps_the_server_from_starting(secrets):
    with pytest.raises(ConfigError) as caught:
        async with secrets.running("alice * sesame\nbob\ncarol * 'x\n"):
            pytest.fail("must not start")
    assert [fault.place for fault in caught.value.faults] == [f"{secrets.file}:2", f"{secrets.file}:3"]


async def test_an_unknown_key_keeps_the_server_from_starting(secrets):
    with pytest.raises(ConfigError) as caught:
        async with secrets.running("", fil="x", encrypted="yes"):
            pytest.fail("must not start")
    assert sorted(fault.place for fault in caught.value.faults) == [
        "plugins.chap-secrets.encrypted",
        "plugins.chap-secrets.fil",
    ]


async def test_the_file_may_be_elsewhere(secrets, tmp_path):
    (tmp_path / "sub").mkdir()
    secrets.file = tmp_path / "sub" / "names"
    async with secrets.running("alice * sesame", file="sub/names"):
        assert isinstance(await secrets.ask(pap("alice", "sesame")), Accept)
    async with secrets.running("alice * sesame", file=str(secrets.file)):
        assert isinstance(await secrets.ask(pap("alice", "sesame")), Accept)


async def test_a_change_counts_from_the_next_attempt_on(secrets):
    async with secrets.running("alice * sesame"):
        secrets.write("alice * other\nbob * sesame")
        with capture_logs() as logs:
            assert isinstance(await secrets.ask(pap("alice", "sesame")), Reject)
            assert isinstance(await secrets.ask(pap("bob", "sesame")), Accept)
        assert [(entry["event"], entry["rows"]) for entry in logs] == [("secrets file read again", 2)]


async def test_a_large_file_is_read_in_a_thread(secrets, monkeypatch):
    monkeypatch.setattr(chap_secrets, "LARGE_FILE", 20)
    async with secrets.running("alice * sesame"):
        secrets.write("# a long file from now on\nalice * other\n")
        with capture_logs() as logs:
            assert isinstance(await secrets.ask(pap("alice", "other")), Accept)
        assert logs[0]["event"] == "secrets file read again"


@pytest.mark.parametrize("edit", ["alice\n", None, os.mkfifo], ids=["broken", "removed", "a pipe"])
async def test_a_broken_edit_keeps_the_old_and_is_logged_once(secrets, edit):
    async with secrets.running("alice * sesame"):
        if isinstance(edit, str):
            secrets.write(edit)
        else:
            secrets.file.unlink()
        if callable(edit):
            edit(secrets.file)
        with capture_logs() as logs:
            for _ in range(3):
                assert isinstance(await secrets.ask(pap("alice", "sesame")), Accept)
        assert [entry["event"] for entry in logs] == ["secrets file is broken, keeping what was read before"]
        expected = ":1: 1 word only" if isinstance(edit, str) else "cannot be read"
        assert expected in logs[0]["faults"][0]
        secrets.file.unlink(missing_ok=True)
        secrets.write("alice * repaired")
        with capture_logs():
            assert isinstance(await secrets.ask(pap("alice", "repaired")), Accept)


async def test_reload_reads_and_reports_at_once(secrets):
    async with secrets.running("alice * sesame"):
        secrets.write("bob * sesame")
        with capture_logs() as logs:
            prepared = secrets.hooks.prepare_reload({}, secrets.server, ())
            prepared.commit()
        assert [entry["event"] for entry in logs] == ["secrets file read again"]
        secrets.write("bob")
        prepared = secrets.hooks.prepare_reload({}, secrets.server, ())
        assert [fault.message for fault in prepared.faults] == ["1 word only; a line needs client, server and secret"]
        with capture_logs():
            assert isinstance(await secrets.ask(pap("bob", "sesame")), Accept)


async def test_a_secret_in_another_file_is_followed_too(secrets, tmp_path):
    other = tmp_path / "alice.secret"
    other.write_text("sesame\n")
    other.chmod(0o600)
    async with secrets.running(f"alice * @{other}\nbob * x"):
        assert isinstance(await secrets.ask(pap("alice", "sesame")), Accept)
        other.write_text("another\n")
        with capture_logs() as logs:
            assert isinstance(await secrets.ask(pap("bob", "x")), Accept)
            assert logs == []
            assert isinstance(await secrets.ask(pap("alice", "another")), Accept)
        other.unlink()
        with capture_logs() as logs:
            for _ in range(3):
                assert isinstance(await secrets.ask(pap("alice", "another")), Accept)
        assert len(logs) == 1
        secrets.write("bob * x")
        with capture_logs() as logs:
            assert await secrets.ask(pap("alice", "another")) is None


async def test_a_broken_edit_that_forgets_another_file_is_logged_once(secrets, tmp_path):
    other = tmp_path / "alice.secret"
    other.write_text("sesame\n")
    other.chmod(0o600)
    async with secrets.running(f"alice * @{other}"):
        secrets.write("broken")
        with capture_logs() as logs:
            for _ in range(3):
                assert isinstance(await secrets.ask(pap("alice", "sesame")), Accept)
        assert len(logs) == 1


@pytest.mark.parametrize("caller", ["alice", "bob"])
async def test_the_repair_of_another_file_is_noticed_at_once(caller, secrets, tmp_path):
    other = tmp_path / "bob.secret"
    async with secrets.running("alice * sesame"):
        secrets.write(f"alice * another\nbob * @{other}")
        assert isinstance(await secrets.ask(pap("alice", "sesame")), Accept)  # broken: the other file is missing
        other.write_text("another\n")
        other.chmod(0o600)
        assert isinstance(await secrets.ask(pap(caller, "another")), Accept)


# Warnings.


async def warnings_of(secrets, text, mode=0o600):
    secrets.write(text)
    os.chmod(secrets.file, mode)
    with capture_logs() as logs:
        async with secrets.running():
            return logs


async def test_a_file_that_others_can_read_is_a_warning(secrets):
    assert await warnings_of(secrets, "alice * sesame", 0o640) == []
    (warning,) = await warnings_of(secrets, "alice * sesame", 0o644)
    assert (warning["log_level"], warning["mode"]) == ("warning", "0644")
    assert warning["remedy"].startswith(f"chmod 600 {secrets.file}, or 640")
    assert await warnings_of(secrets, "alice * sesame", 0o400) == []


async def test_rows_for_other_servers_only_are_a_warning(secrets):
    (warning,) = await warnings_of(secrets, "alice pptpd sesame\nbob pptpd sesame")
    assert (warning["event"], warning["servers"]) == ("no secret is for this server", ["pptpd"])
    assert warning["remedy"] == 'write "poptrio" or * into the second column'


async def test_a_row_behind_its_like_is_a_warning(secrets):
    (warning,) = await warnings_of(secrets, "alice * a\nbob * b\nalice * c\nalice poptrio d")
    assert (warning["event"], warning["line"], warning["because_of_line"]) == ("secret is never used", 3, 1)
