"""The how-to about authentication plugins: its code blocks are written to files, installed and run through the host."""

import importlib
import re
import sqlite3
import sys
import tomllib
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from poptrio.api import Accept, CallInfo, MsChapV2Request, Reject, ServerInfo
from poptrio.config import Config
from poptrio.crypto.mschap import generate_nt_response, nt_password_hash
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.server.hooks import Hooks
from poptrio.testing.server import memory_server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "write-an-auth-plugin.md"
BLOCK = re.compile(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", re.M | re.S)
CALL = CallInfo(
    session_id="s1",
    call_id=1,
    peer_call_id=2,
    peer=IPv4Address("203.0.113.9"),
    server=IPv4Address("198.51.100.1"),
    started=datetime(2025, 1, 1, tzinfo=UTC),
)


def blocks(name):
    """The code blocks of the page that say they are the file ``name``."""
    return [text for file, text in BLOCK.findall(PAGE.read_text("utf-8")) if file == name]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put the modules of the page and the distribution that its pyproject.toml describes on the path."""

    def install(entry_points=None):
        project = tomllib.loads(blocks("pyproject.toml")[0])["project"]
        info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        entries = entry_points or project["entry-points"]["poptrio"]
        lines = [f"{name} = {target}\n" for name, target in entries.items()]
        (info / "entry_points.txt").write_text("[poptrio]\n" + "".join(lines))
        for module in ("members", "members_with_codes", "members_in_sqlite", "test_members"):
            (tmp_path / f"{module}.py").write_text(blocks(f"{module}.py")[0])
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    yield install
    for module in ("members", "members_with_codes", "members_in_sqlite", "test_members"):
        sys.modules.pop(module, None)


def request_of(name, password):
    challenge, peer_challenge = bytes(range(16)), bytes(range(16, 32))
    response = generate_nt_response(challenge, peer_challenge, name.encode(), nt_password_hash(password))
    return MsChapV2Request(
        name=name,
        username=name,
        identifier=1,
        challenge=challenge,
        peer_challenge=peer_challenge,
        nt_response=response,
    )


async def check_answers(hooks):
    accepted = await hooks.authenticate(CALL, request_of("alice", "correct horse"))
    assert isinstance(accepted.decision, Accept)
    assert (accepted.plugin, accepted.decision.user) == ("members", "alice")
    assert accepted.decision.mppe_keys is not None
    refused = await hooks.authenticate(CALL, request_of("alice", "wrong"))
    assert (isinstance(refused.decision, Reject), refused.plugin) == (True, "members")
    assert (await hooks.authenticate(CALL, request_of("carol", "correct horse"))).plugin == ""


async def test_the_plugin_of_ten_lines(installed):
    installed()
    (row,) = (hooks := Hooks.load(["members"])).table()
    assert (row.distribution, row.version) == ("poptrio-members", "1.0")
    await check_answers(hooks)


def test_it_has_ten_lines():
    code = [line for line in blocks("members.py")[0].splitlines() if line.strip()]
    assert len(code) <= 10


async def test_the_test_of_the_page(installed):
    installed()
    await importlib.import_module("test_members").test_members()


def test_the_configuration_of_the_page():
    first, second = blocks("config.toml")
    assert Config.parse(first).authentication.plugins == ("members", "chap-secrets")
    named = Config.parse(f"{first}\n{second}")
    assert named.plugins["members"] == {"file": "/var/lib/members/members.db"}


async def test_the_plugin_with_a_database(installed):
    (target,) = re.findall(r'`members = "(\S+)"`', PAGE.read_text("utf-8"))
    folder = installed({"members": target})
    with sqlite3.connect(folder / "members.db") as database:
        database.execute("CREATE TABLE members (name TEXT PRIMARY KEY, password TEXT)")
        database.execute("INSERT INTO members VALUES ('alice', 'correct horse')")
    database.close()
    hooks = Hooks.load(["members"])
    server = ServerInfo(folder=folder, name="poptrio", address=IPv4Address("10.90.0.1"), pool=())
    async with hooks.lifespan({"members": {"file": "members.db"}}, server):
        await check_answers(hooks)


PAP = '[ppp]\nauthentication = ["pap"]\nencryption = "refuse"'
BY_PAP = SessionSettings(authentication=[AuthProtocol.PAP], encryption=EncryptionPolicy("refuse"))


@pytest.mark.parametrize(("code", "up"), [("123456", True), ("654321", False)])
async def test_a_one_time_code(installed, autojump_clock, code, up):
    installed()
    async with memory_server(PAP, [importlib.import_module("members_with_codes")]) as server:
        call = await server.dial("alice", "correct horse", settings=BY_PAP, further_passwords=(code,))
        assert (call.address is not None) is up


async def test_a_second_try(installed, autojump_clock):
    installed()
    async with memory_server("", [importlib.import_module("members_with_codes")]) as server:
        call = await server.dial("alice", "wrong", further_passwords=("correct horse",))
        assert call.address is not None
