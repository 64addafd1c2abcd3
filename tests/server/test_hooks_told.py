"""What plugins are told or asked besides: accounting, admission, reload."""

from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest
import trio
from hook_plugins import ALICE, CALL, SERVER, Authenticator, authentication
from structlog.testing import capture_logs

from poptrio.api import (
    AccountingKind,
    AccountingRecord,
    ConfigError,
    ConfigFault,
    PluginReload,
    Traffic,
    hookimpl,
)
from poptrio.server.hooks import Hooks


class Accountant:
    def __init__(self, delay=0.0, failure=None):
        self.delay, self.failure, self.records = delay, failure, []

    @hookimpl
    async def poptrio_account(self, record):
        await trio.sleep(self.delay)
        if self.failure:
            raise self.failure
        self.records.append(record)


async def test_accounting_reaches_all_at_once_whatever_one_does(autojump_clock):
    plugins = Accountant(3), Accountant(failure=OSError("down")), Accountant(4), Accountant(11)
    record = AccountingRecord(
        kind=AccountingKind.START,
        call=CALL,
        accept=ALICE,
        address=IPv4Address("10.90.0.2"),
        seconds=0.0,
        traffic=Traffic(),
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    )
    extra = {"auth": Authenticator(), **{f"p{number}": plugin for number, plugin in enumerate(plugins)}}
    hooks = Hooks.load(list(extra), extra=extra)
    with capture_logs() as logs:
        await hooks.account(record)
    assert trio.current_time() == pytest.approx(10)
    assert [len(plugin.records) for plugin in plugins] == [1, 0, 1, 0]
    assert [entry["plugin"] for entry in logs] == ["p1", "p3"]


class Doorkeeper(Authenticator):
    @hookimpl
    def poptrio_admit(self, peer):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((None, None), None),
        ((None, "blocked", "later"), "blocked"),
        (("",), "plugin p0 gave no reason"),
        ((OSError("no list"), None), "plugin p0 failed"),
        ((False,), "plugin p0 answered with a bool, which is no answer to poptrio_admit"),
    ],
)
def test_admission(answers, reason):
    with capture_logs():
        assert authentication(*map(Doorkeeper, answers)).admit(IPv4Address("203.0.113.9")) == reason


def test_reload_reaches_all_whatever_one_does():
    reloaded = []

    class Reloading(Authenticator):
        @hookimpl
        def poptrio_reload(self):
            reloaded.append(self)
            if len(reloaded) == 1:
                raise OSError("file is gone")

    with capture_logs() as logs:
        prepared = authentication(Reloading(), Reloading()).prepare_reload({}, SERVER, ["p1"])
        assert (reloaded, prepared.faults) == ([], [])  # they act when all others have agreed
        prepared.commit()
    assert len(reloaded) == 2
    assert [entry["event"] for entry in logs] == ["plugin failed"]
    assert prepared.restart == {("plugins", "p1")}  # whoever wants no settings cannot take new ones


class Judging(Authenticator):
    """Takes settings that have no key "bad"; cannot change "fixed"."""

    def __init__(self):
        super().__init__()
        self.size = 0

    @hookimpl
    def poptrio_reload(self, config):
        if "bad" in config:
            raise ConfigError(ConfigFault("plugins.p.bad", "is bad"))
        if "bug" in config:
            return config["bug"] + 1
        return PluginReload(lambda: setattr(self, "size", config["size"]), restart=("fixed",))


def test_plugins_judge_first_and_change_only_when_all_agree():
    good, other = Judging(), Judging()
    hooks = authentication(good, other)
    prepared = hooks.prepare_reload({"p0": {"size": 1}, "p1": {"size": 2}}, SERVER, ())
    assert (good.size, other.size) == (0, 0)
    prepared.commit()
    assert (good.size, other.size) == (1, 2)
    assert prepared.restart == {("plugins", "p0", "fixed"), ("plugins", "p1", "fixed")}


def test_faults_of_all_plugins_come_together():
    with capture_logs() as logs:
        prepared = authentication(*(Judging() for _ in range(3))).prepare_reload(
            {"p0": {"bad": True}, "p1": {"bug": "x"}, "p2": {"bug": 1}}, SERVER, ()
        )
    assert list(map(str, prepared.faults)) == [
        "plugins.p.bad: is bad",
        'plugin p1: it cannot judge its settings: TypeError: can only concatenate str (not "int") to str',
        "plugin p2: it answered poptrio_reload with a int, which is no answer to it",
    ]
    assert [entry["event"] for entry in logs] == ["plugin failed", "plugin answered with a wrong type"]
