"""The lifespans of plugins: order, faults, the end."""

from contextlib import asynccontextmanager

import pytest
import trio
from hook_plugins import SERVER, Authenticator, authentication
from structlog.testing import capture_logs

from poptrio.api import (
    ConfigError,
    ConfigFault,
    hookimpl,
)
from poptrio.server.hooks import Hooks


class Living(Authenticator):
    def __init__(self, diary, name):
        super().__init__()
        self.diary, self.name = diary, name

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config, server):
        self.diary.append(f"{self.name} enters with {dict(config)} at {server.name}")
        if "fault" in config:
            raise ConfigError(ConfigFault(f"plugins.{self.name}.fault", "is wrong"))
        if "error" in config:
            raise OSError("cannot bind")
        async with trio.open_nursery():
            yield
        self.diary.append(f"{self.name} leaves")


def living():
    diary = []
    extra = {name: Living(diary, name) for name in ("one", "two", "three")}
    return diary, Hooks.load(["one", "two"], ["three"], extra={**extra, "three": AddressesAndLife(diary, "three")})


class AddressesAndLife(Living):
    @hookimpl
    async def poptrio_allocate_address(self): ...


async def test_lifespans_are_entered_in_order_and_left_in_reverse():
    diary, hooks = living()
    async with hooks.lifespan({"two": {"key": 1}}, SERVER):
        assert diary == ["one enters with {} at poptrio", "two enters with {'key': 1} at poptrio", *diary[2:]]
        diary.clear()
    assert diary == ["three leaves", "two leaves", "one leaves"]


async def test_the_faults_of_all_lifespans_come_together_and_who_entered_leaves():
    diary, hooks = living()
    configs = {"one": {"fault": 1}, "three": {"error": 1}, "tree": {}}
    with capture_logs() as logs, pytest.raises(ConfigError) as caught:
        async with hooks.lifespan(configs, SERVER):
            pytest.fail("must not start")
    assert [str(fault) for fault in caught.value.faults] == [
        'plugins.tree: no list of plugins names this one; did you mean "three"?',
        "plugins.one.fault: is wrong",
        "plugin three: it cannot start: OSError: cannot bind",
    ]
    assert diary[-1] == "two leaves"
    assert len(logs) == 1


async def test_a_table_for_a_plugin_that_takes_none_is_a_fault():
    hooks = authentication(Authenticator())
    with pytest.raises(ConfigError, match=r"plugins\.p0: this plugin takes no configuration"):
        async with hooks.lifespan({"p0": {"key": 1}}, SERVER):
            pytest.fail("must not start")
    async with hooks.lifespan({"p0": {}}, SERVER):
        pass


async def test_a_lifespan_may_be_nothing():
    class Lifeless(Authenticator):
        @hookimpl
        def poptrio_lifespan(self):
            return None

    async with authentication(Lifeless()).lifespan({}, SERVER):
        pass


async def test_a_fault_that_a_lifespan_raises_inside_of_a_nursery_is_reported_as_it_is():
    class Plugin:
        @hookimpl
        @asynccontextmanager
        async def poptrio_lifespan(self):
            async with trio.open_nursery():
                raise ConfigError(ConfigFault("plugins.p.spool", "the disk is gone"))
                yield

        @hookimpl
        async def poptrio_authenticate(self):
            return None

    hooks = Hooks.load(["p"], extra={"p": Plugin()})
    with pytest.raises(ConfigError) as caught:
        async with hooks.lifespan({}, SERVER):
            pass
    assert str(caught.value) == "plugins.p.spool: the disk is gone"


def test_a_plugin_that_is_only_told_must_want_to_be():
    with pytest.raises(ConfigError, match=r"accounting\.plugins: none of these plugins has the hook poptrio_account"):
        Hooks.load([], [], ["ip-pool"])
    (plugin,) = Hooks.load([], [], ["scripts"]).table()
    assert (plugin.name, plugin.distribution) == ("scripts", "poptrio")
