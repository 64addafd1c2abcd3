"""A whole server takes another configuration while it runs, or nothing of it."""

import os
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
import trio

from poptrio.api import ConfigError, ConfigFault, PluginReload, hookimpl
from poptrio.config import Config
from poptrio.config.effects import Effect
from poptrio.server.reload import Reloading
from poptrio.testing.server import OneUser, memory_server


async def reload(memory, text):
    return await memory.server.reloader.reload(lambda: Config.parse(text))


def settings(changes):
    return {change.setting: change.effect for change in changes}


async def test_pools_grow_and_shrink_with_calls_up(autojump_clock, log):
    async with memory_server('[addresses]\npool = ["10.90.0.2"]') as memory:
        first = await memory.dial()
        assert not (await memory.dial()).up.is_set()
        report = await reload(memory, '[addresses]\npool = ["10.91.0.2-3"]')
        assert settings(report.changes) == {"addresses.pool": Effect.NEW_CALLS}
        second, third = await memory.dial(), await memory.dial()
        assert [str(call.address) for call in (first, second, third)] == ["10.90.0.2", "10.91.0.2", "10.91.0.3"]
        assert not first.over.is_set()
        await first.hang_up()
        assert not (await memory.dial()).up.is_set()  # what is in no pool any more is not given out again
    (entry,) = log.named("setting changed")
    assert (entry["setting"], entry["old"], entry["new"]) == ("addresses.pool", '["10.90.0.2"]', '["10.91.0.2-3"]')
    assert log.named("reloaded")[0]["changes"] == 1


async def test_limits_count_at_once_and_calls_keep_what_they_began_with(autojump_clock):
    async with memory_server('[ppp]\ndns = ["10.0.0.53"]\n[server]\nmax_calls = 1') as memory:
        old = await memory.dial()
        refused = await memory.dial()
        assert not refused.up.is_set()
        await reload(memory, '[ppp]\ndns = ["10.0.0.54"]\nidle_timeout = 50\n[server]\nmax_calls = 2')
        new = await memory.dial()
        assert [call.dns for call in (old, new)] == [(IPv4Address("10.0.0.53"),), (IPv4Address("10.0.0.54"),)]
        with trio.move_on_after(100):
            await new.over.wait()
        assert (old.over.is_set(), new.over.is_set()) == (False, True)


async def test_what_needs_a_restart_is_said_and_the_rest_is_done(autojump_clock, log):
    new = '[server]\nlisten = ["127.0.0.1:99"]\nmax_calls = 7\n[addresses]\nserver = "10.90.0.9"'
    async with memory_server() as memory:
        for _ in range(2):  # it is said as long as it is true
            report = await reload(memory, new)
            assert list(settings(report.needs_restart)) == ["server.listen", "addresses.server"]
        assert report.changes == ()
        config = memory.server.config
        assert (config.server.max_calls, str(config.addresses.server)) == (7, "10.90.0.1")
        assert (await memory.dial()).server_address == IPv4Address("10.90.0.1")
    assert log.named("setting needs a restart")[0]["setting"] == "server.listen"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[ppp]\nmtu = 99999\n[server]\nmax_call = 5", "config.toml:2: ppp.mtu: 99999 is too much"),
        ("[addresses]\npool = ", "config.toml:2: not TOML"),
        (
            '[addresses]\nserver = "10.90.0.9"\npool = ["10.90.0.1"]',
            "addresses.pool: 10.90.0.1 is our own end of every call (addresses.server), so nothing is left for clients "
            "(some values stay until a restart)",
        ),
        ("[plugins.ip-pool]\nsize = 1", "plugins.ip-pool.size: unknown table or key"),
    ],
)
async def test_one_fault_refuses_all(text, fault, autojump_clock, log):
    async with memory_server("[server]\nmax_calls = 3") as memory:
        before = memory.server.config
        report = await reload(memory, f"{text}\n[sessions]\nlimit = 9")
        assert str(report.faults[0]).startswith(fault)
        assert (report.changes, report.needs_restart) == ((), ())
        assert memory.server.config is before
        assert memory.authority._limits.limit == 0
        assert (await memory.dial()).up.is_set()
    assert log.named("reload refused")[0]["faults"] == [str(one) for one in report.faults]


class Choosy(OneUser):
    """Refuses settings with "bad", and cannot change "port"."""

    def __init__(self):
        super().__init__()
        self.taken = []

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config):
        yield

    @hookimpl
    def poptrio_reload(self, config, server):
        if "bad" in config:
            raise ConfigError(ConfigFault("plugins.choosy.bad", "no"))
        return PluginReload(lambda: self.taken.append((dict(config), server.pool)), restart=("port",))


class Opening(Choosy):
    """Holds something from the moment it has judged its settings."""

    @hookimpl
    def poptrio_reload(self, config, server):
        self.taken.append("opened")
        return PluginReload(lambda: self.taken.append("used"), undo=lambda: self.taken.append("given up"))


LISTS = '[authentication]\nplugins = ["choosy"]\n'


async def test_plugins_refuse_take_and_say_what_needs_a_restart(autojump_clock, log):
    plugin = Choosy()
    begin = f'{LISTS}[plugins.choosy]\nport = 1\nsecret = "old"\n'
    async with memory_server(begin, {"choosy": plugin}) as memory:
        report = await reload(memory, f'{LISTS}[plugins.choosy]\nbad = 1\n[addresses]\npool = ["10.91.0.2"]')
        assert list(map(str, report.faults)) == ["plugins.choosy.bad: no"]
        assert (await memory.dial()).address == IPv4Address("10.90.0.2")  # the other plugin kept its pool, too
        report = await reload(
            memory, f'{LISTS}[plugins.choosy]\nport = 2\nsecret = "new"\n[addresses]\npool = ["10.91.0.2"]'
        )
        assert list(settings(report.needs_restart)) == ["plugins.choosy.port"]
        assert list(settings(report.changes)) == ["addresses.pool", "plugins.choosy.secret"]
        assert plugin.taken == [({"port": 2, "secret": "new"}, ("10.91.0.2",))]
        assert (await memory.dial()).address == IPv4Address("10.91.0.2")
    assert "new" not in str([entry["new"] for entry in log.entries if "new" in entry])


async def test_what_a_plugin_opened_is_given_up_where_anybody_refuses(autojump_clock):
    opening = Opening()
    async with memory_server(LISTS, {"opening": opening, "choosy": Choosy()}) as memory:
        assert (await reload(memory, f"{LISTS}[plugins.choosy]\nbad = 1")).faults
        assert opening.taken == ["opened", "given up"]

        def cannot(settings):
            raise OSError(17, "no")

        prepare, memory.server.datapath.prepare = memory.server.datapath.prepare, cannot
        assert (await reload(memory, LISTS)).faults
        memory.server.datapath.prepare = prepare
        assert not (await reload(memory, LISTS)).faults
        assert opening.taken == ["opened", "given up"] * 2 + ["opened", "used"]


async def test_other_plugins_need_a_restart_and_their_order_does_not(autojump_clock):
    async with memory_server(LISTS, {"choosy": Choosy(), "other": OneUser("bob")}) as memory:
        report = await reload(memory, '[authentication]\nplugins = ["choosy", "other"]\n[plugins.other]\nx = 1')
        assert list(settings(report.needs_restart)) == ["authentication.plugins", "plugins.other.x"]
        assert memory.server.config.plugins == {}
    begin = '[authentication]\nplugins = ["a", "b"]'
    async with memory_server(begin, {"a": OneUser(), "b": OneUser("alice", "other")}) as memory:
        assert not (await memory.dial(password="other")).up.is_set()
        report = await reload(memory, '[authentication]\nplugins = ["b", "a"]')
        assert settings(report.changes) == {"authentication.plugins": Effect.AT_ONCE}
        assert (await memory.dial(password="other")).up.is_set()


async def test_an_unchanged_file_changes_nothing_and_lets_plugins_read_theirs(tmp_path, autojump_clock, log):
    file, plugin = tmp_path / "config.toml", Choosy()
    file.write_text(LISTS)
    async with memory_server(LISTS, {"choosy": plugin}) as memory:
        memory.server.reloader.reloading = Reloading(Config.load(file))
        report = await memory.server.reloader.reload()
        assert (report.changes, report.needs_restart, report.faults) == ((), (), ())
        assert len(plugin.taken) == 1
        file.write_text("[server]\nmax_calls = -1")
        report = await memory.server.reloader.reload()
        assert str(report.faults[0]) == f"{file}:2: server.max_calls: -1 is too little; it must be at least 1"
        file.unlink()
        report = await memory.server.reloader.reload()
        assert str(report.faults[0]) == f"{file}: cannot be read: No such file or directory"


async def test_a_reload_waits_for_the_one_before_and_is_refused_at_the_end(autojump_clock):
    order = []

    class Slow:
        def __init__(self, server):
            self.get_ready = server.get_ready

        async def __call__(self, config):
            order.append(config.server.max_calls)
            await trio.sleep(1)
            order.append("ready")
            return await self.get_ready(config)

    async with memory_server() as memory:
        memory.server.get_ready = Slow(memory.server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload, memory, "[server]\nmax_calls = 1")
            nursery.start_soon(reload, memory, "[server]\nmax_calls = 1")
        assert order == [1, "ready"] * 2
        memory.server.stop()
        report = await reload(memory, "[server]\nmax_calls = 2")
        assert [fault.message for fault in report.faults] == ["the server is stopping"]
        assert memory.server.config.server.max_calls == 1


async def test_the_log_is_told_of_its_own_changes_only(autojump_clock):
    told = []
    async with memory_server() as memory:
        reloading = Reloading(Config(), change_log=lambda config: told.append(config.log.format))
        memory.server.reloader.reloading = reloading
        await reload(memory, "[server]\nmax_calls = 2")
        await reload(memory, '[log]\nlevel = "warning"')
        assert told == []
        assert memory.server.tracing.levels.level == "warning"
        await reload(memory, '[log]\nformat = "json"')
        assert told == ["json"]


async def test_a_pipe_in_place_of_the_file_is_not_waited_for(tmp_path, autojump_clock):
    file = tmp_path / "config.toml"
    file.write_text("")
    async with memory_server() as memory:
        memory.server.reloader.reloading = Reloading(Config.load(file))
        file.unlink()
        os.mkfifo(file)
        report = await memory.server.reloader.reload()
        assert list(map(str, report.faults)) == [f"{file}: cannot be read: it is no regular file"]


async def test_a_bug_on_the_way_changes_nothing(autojump_clock, log):
    def read():
        raise ValueError("of a library")

    async with memory_server() as memory:
        report = await memory.server.reloader.reload(read)
        assert [str(fault) for fault in report.faults] == [
            "reload: an error, of poptrio or a plugin: ValueError: of a library"
        ]
        assert (await memory.dial()).up.is_set()
        assert not memory.server.reloader.is_busy
    assert log.named("internal error")
