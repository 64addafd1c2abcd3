"""The plugin takes another table while it runs, or nothing of it; its helpers are scripts that speak the protocol."""

import sys
from ipaddress import IPv4Address

import pytest
import trio

from poptrio.api import Accept, ConfigError, ServerInfo, Unavailable
from poptrio.config import Config
from poptrio.testing.requests import pap_request
from poptrio.testing.server import memory_server
from poptrio_ntlm_auth import plugin as module
from poptrio_ntlm_auth.helpers import Helpers
from poptrio_ntlm_auth.plugin import NtlmAuth

ALICE = pap_request("alice", "correct horse")
YES = b"Authenticated: Yes\n.\n"
SILENT = b"Authenticated: No\nAuthentication-Error: no logon servers\n.\n"
COMMAND = [sys.executable, "one"]


def info(tmp_path, timeout=10.0):
    return ServerInfo(
        folder=tmp_path, name="poptrio", address=IPv4Address("10.90.0.1"), pool=(), answer_timeout=timeout
    )


class Helper:
    """Answers when ``go`` is set."""

    def __init__(self, arguments, go, answer):
        self.arguments, self.go, self.answer = arguments, go, answer
        self.questions, self.killed = [], False

    async def ask(self, question):
        self.questions.append(question)
        await self.go.wait()
        await trio.lowlevel.checkpoint()
        return self.answer

    def kill(self):
        self.killed = True


class Workshop:
    """``made`` are the helpers that were started, ``go`` is set while they answer."""

    def __init__(self):
        self.made = []
        self.go = trio.Event()
        self.go.set()
        self.answer = YES

    async def start(self, arguments, nursery):
        await trio.lowlevel.checkpoint()
        self.made.append(Helper(arguments, self.go, self.answer))
        return self.made[-1]


@pytest.fixture
async def workshop(monkeypatch):
    workshop = Workshop()
    monkeypatch.setattr(module, "start_helper", workshop.start)
    return workshop


async def test_who_is_being_asked_answers_and_the_next_question_goes_elsewhere(workshop, tmp_path, autojump_clock):
    ntlm_auth, server, answers = NtlmAuth(), info(tmp_path), []
    config = {"command": COMMAND, "helpers": 1}
    async with ntlm_auth.poptrio_lifespan(config, server), trio.open_nursery() as nursery:

        async def ask():
            answers.append(await ntlm_auth.poptrio_authenticate(ALICE))

        workshop.go = trio.Event()
        for _ in range(2):  # of which one waits for a helper
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        old, slow = workshop.made[0], workshop.go
        workshop.go = trio.Event()
        workshop.go.set()
        ntlm_auth.poptrio_reload(config | {"require_membership_of": "vpn"}, server).commit()
        assert isinstance(await ntlm_auth.poptrio_authenticate(ALICE), Accept)
        assert [helper.arguments[-1] for helper in workshop.made] == ["--allow-mschapv2", "--require-membership-of=vpn"]
        assert (answers, old.killed) == ([], False)
        slow.set()
    assert [type(answer) for answer in answers] == [Accept, Accept]
    assert (len(old.questions), old.killed) == (2, True)
    assert len(workshop.made) == 2


async def test_helpers_stay_where_they_are_run_as_before(workshop, tmp_path, autojump_clock):
    ntlm_auth, config = NtlmAuth(), {"command": COMMAND}
    workshop.answer = SILENT
    async with ntlm_auth.poptrio_lifespan(config, info(tmp_path)):
        assert not (await ntlm_auth.poptrio_authenticate(ALICE)).ask_next
        new = {"command": COMMAND, "domain": "OFFICE", "unavailable": "next", "timeout": 60.0}
        ntlm_auth.poptrio_reload(new, info(tmp_path, timeout=20.0)).commit()
        assert (await ntlm_auth.poptrio_authenticate(ALICE)).ask_next
        (helper,) = workshop.made
        assert [b"NT-Domain" in question for question in helper.questions] == [False, True]
        helper.go = trio.Event()
        assert await ntlm_auth.poptrio_authenticate(ALICE) == Unavailable(
            reason="no answer of ntlm_auth within 18 seconds", ask_next=True
        )


async def test_retired_helpers_end_also_where_who_waited_has_given_up(autojump_clock):
    workshop = Workshop()
    helpers = Helpers(lambda: workshop.start([], None), 1)
    workshop.go = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(helpers.ask, b"x")
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as given_up:
            helpers.retire()
            await helpers.ask(b"y")
        assert given_up.cancelled_caught
        assert not workshop.made[0].killed
        workshop.go.set()
    assert workshop.made[0].killed
    idle = Helpers(lambda: workshop.start([], None), 1)
    await idle.ask(b"x")
    idle.retire()
    assert workshop.made[1].killed


@pytest.mark.parametrize(
    ("bad", "key"),
    [
        ({"command": ["no-such-program"]}, "plugins.ntlm-auth.command"),
        ({"helpers": 0}, "plugins.ntlm-auth.helpers"),
        ({"helper": 2}, "plugins.ntlm-auth.helper"),
    ],
)
async def test_a_bad_setting_is_named_and_nothing_is_changed(workshop, tmp_path, bad, key):
    ntlm_auth = NtlmAuth()
    async with ntlm_auth.poptrio_lifespan({"command": COMMAND}, info(tmp_path)):
        await ntlm_auth.poptrio_authenticate(ALICE)
        with pytest.raises(ConfigError) as refused:
            ntlm_auth.poptrio_reload({"command": COMMAND, "domain": "OFFICE"} | bad, info(tmp_path))
        assert key in str(refused.value)
        await ntlm_auth.poptrio_authenticate(ALICE)
        (helper,) = workshop.made
        assert not any(b"NT-Domain" in question for question in helper.questions)


async def test_a_server_lists_what_changed(workshop, tmp_path):
    begin = f'[authentication]\nplugins = ["ntlm-auth"]\n[plugins.ntlm-auth]\ncommand = ["{sys.executable}"]\n'
    async with memory_server(begin, {"ntlm-auth": NtlmAuth()}, folder=tmp_path) as memory:
        text = f'{begin}domain = "OFFICE"\nhelpers = 2'
        report = await memory.server.reloader.reload(lambda: Config.parse(text, folder=tmp_path))
        changed = ["plugins.ntlm-auth.domain", "plugins.ntlm-auth.helpers"]
        assert ([change.setting for change in report.changes], report.needs_restart) == (changed, ())
