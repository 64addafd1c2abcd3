"""Servers that cannot be handed over say so before anything is touched."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from poptrio.api import hookimpl
from poptrio.config import Config
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.server.captures import CaptureOrder, CaptureRefused
from poptrio.server.local_authority import LocalAuthority
from poptrio.testing.server import SERVER_ADDRESS, OneUser, load, memory_server
from poptrio.upgrade import hand_over
from poptrio.upgrade.hand_over import Upgrade, UpgradeFailed
from poptrio.workers.parent import Parent


async def refusal(server):
    upgrade = Upgrade(Path("config.toml"), command=["/bin/false"])
    with pytest.raises(UpgradeFailed) as caught:
        await anext(upgrade.hand_over(server))
    return str(caught.value)


@pytest.fixture
def userspace():
    return UserspaceDataPath(UserspaceSettings(listen=(SERVER_ADDRESS,), interface=None, mtu=1400))


async def test_a_server_with_workers():
    async with trio.open_nursery() as nursery:
        authority = LocalAuthority(config := Config(), load([], config))
        assert "workers" in await refusal(Parent(config, authority, nursery))


async def test_a_data_path_that_is_not_our_own():
    async with memory_server() as memory:
        assert "kernel's data path" in await refusal(memory.server)


async def test_a_server_that_drains_or_stops(userspace, autojump_clock):
    async with memory_server() as memory:
        await memory.dial()
        path, memory.server.datapath = memory.server.datapath, userspace
        await memory.server.drain()
        assert "`poptrio drain --cancel`" in await refusal(memory.server)
        await memory.server.cancel_drain()
        memory.server.stop()
        assert await refusal(memory.server) == "the server is stopping"
        memory.server.datapath = path


class Heir:
    """A new program that is prepared when ``meanwhile`` has happened."""

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile
        self.killed = False

    async def prepare(self, hello, descriptors):
        await self.meanwhile()

    def kill(self):
        self.killed = True


@pytest.mark.parametrize(
    ("meanwhile", "why"),
    [
        (lambda server: server.reloader.reload(Config), "the configuration was reloaded while the new program started"),
        (lambda server: server.drain(1000.0), "`poptrio drain --cancel`"),
    ],
    ids=["reload", "drain"],
)
async def test_what_the_new_program_would_not_know_of(meanwhile, why, userspace, monkeypatch, autojump_clock):
    async with memory_server() as memory:
        call = await memory.dial()
        path, memory.server.datapath = memory.server.datapath, userspace
        heir = Heir(lambda: meanwhile(memory.server))
        monkeypatch.setattr(hand_over, "_Heir", lambda command: heir)
        monkeypatch.setattr(Upgrade, "_hello", lambda *_: ((), ()))
        with pytest.raises(UpgradeFailed, match=why):
            async for _ in Upgrade(Path("config.toml")).hand_over(memory.server):
                pass
        memory.server.datapath = path
        assert heir.killed
        assert not call.over.is_set()


class Keeps(OneUser):
    """A plugin that lets go, or fails to, and notes down what becomes of it."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error
        self.log = []

    @hookimpl
    @contextmanager
    def poptrio_hand_over(self):
        if self.error is not None:
            raise self.error
        self.log.append("lets go")
        yield
        self.log.append("has it again")


async def test_a_plugin_that_fails_to_let_go_fails_the_upgrade_only(userspace, monkeypatch, autojump_clock):
    plugins = {"first": Keeps(), "second": Keeps(RuntimeError("the disk is gone"))}
    async with memory_server("", plugins) as memory:
        call = await memory.dial()
        path, memory.server.datapath = memory.server.datapath, userspace
        heir = Heir(trio.lowlevel.checkpoint)
        monkeypatch.setattr(hand_over, "_Heir", lambda command: heir)
        monkeypatch.setattr(Upgrade, "_hello", lambda *_: ((), ()))
        monkeypatch.setattr(memory.authority.hooks, "not_to_be_upgraded", lambda: None)
        with capture_logs() as logs:
            await Upgrade(Path("config.toml")).run(memory.server)
        memory.server.datapath = path
        assert not call.over.is_set()
        assert (await memory.dial()).up.is_set()
    assert heir.killed
    assert plugins["first"].log == ["lets go", "has it again"]
    internal, failed = (entry for entry in logs if entry["log_level"] == "error")
    assert (internal["event"], failed["event"]) == ("internal error", "upgrade failed")
    assert failed["why"].endswith("RuntimeError: the disk is gone")


async def test_no_capture_begins_during_an_upgrade(userspace, monkeypatch, autojump_clock):
    refusals = []

    async def meanwhile():
        memory.server.captures.start(order)

    def settle(server):
        with pytest.raises(CaptureRefused) as caught:
            server.captures.start(order)
        refusals.append(str(caught.value))
        raise UpgradeFailed("far enough")

    order = CaptureOrder(user="nobody", wait=True, seconds=60.0, octets=1000)
    async with memory_server("[capture]\nenabled = true") as memory:
        path, memory.server.datapath = memory.server.datapath, userspace
        monkeypatch.setattr(hand_over, "_Heir", lambda command: Heir(meanwhile))
        monkeypatch.setattr(hand_over, "_settle", settle)
        monkeypatch.setattr(Upgrade, "_hello", lambda *_: ((), ()))
        await Upgrade(Path("config.toml")).run(memory.server)
        memory.server.datapath = path
        assert refusals == ["the server is being upgraded"]
        assert memory.server.captures.count == 0
        memory.server.captures.start(order)


def test_the_new_program_is_dead_before_it_hears_that_we_are_gone():
    told = []
    heir = hand_over._Heir.__new__(hand_over._Heir)
    heir._process = Told(told, "process")
    heir._channel = Told(told, "channel")
    heir.kill()
    assert told == ["process.kill", "process.wait", "channel.close"]


class Told:
    """Notes down what is called."""

    def __init__(self, told, name):
        self.told = told
        self.name = name

    def __getattr__(self, method):
        return lambda: self.told.append(f"{self.name}.{method}")
