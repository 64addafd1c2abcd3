"""What the plugin tells operators of its directories, with servers that a test scripts."""

import pytest

from poptrio.api import Histogram
from poptrio_ldap.directory import DirectoryUnavailable
from poptrio_ldap.metrics import METRICS, health, measurements
from poptrio_ldap.plugin import Ldap
from poptrio_ldap.pool import ConnectionLost, Pool, Purpose
from poptrio_ldap.threads import ThreadedDirectory


class Connection:
    def close(self):
        pass


class FakeServer:
    """Opens connections unless it is ``dead``."""

    def __init__(self, url):
        self.url = url
        self.dead = False

    def open(self, purpose):
        if self.dead:
            raise ConnectionLost("refused")
        return Connection()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def told(directories):
    return {
        (one.metric.name, *one.labels): one.value.count if isinstance(one.value, Histogram) else one.value
        for one in measurements(directories)
    }


async def test_latency_failures_and_connections():
    first, second, clock = FakeServer("ldap://a"), FakeServer("ldap://b"), Clock()
    pool = Pool([first, second], dead_time=30.0, clock=clock)
    directories = {"default": ThreadedDirectory(pool, connections=3, patience=5.0)}

    def search(connection):
        clock.now += 0.3
        return "found"

    assert pool.run(Purpose.SEARCH, search) == "found"
    values = told(directories)
    assert values["operation_seconds", "default", "search"] == 1
    assert values["operation_seconds", "default", "bind"] == 0
    assert dict(pool.seconds[Purpose.SEARCH].cumulative())[0.25] == 0
    assert (values["connections_idle", "default", "ldap://a"], values["server_up", "default", "ldap://a"]) == (1, True)
    first.dead = True
    assert pool.run(Purpose.BIND, search) == "found"
    values = told(directories)
    assert (values["server_failures", "default", "ldap://a"], values["server_up", "default", "ldap://a"]) == (1, False)
    assert health(directories).ok
    second.dead = True
    pool.close()
    with pytest.raises(DirectoryUnavailable):
        pool.run(Purpose.BIND, search)
    assert told(directories)["unanswered", "default"] == 1
    assert health(directories).sentence == "no server answers for default"
    assert health(directories).details["default ldap://b"] == "failed lately"
    clock.now += 31
    assert health(directories).ok, "nobody knows until it is asked"


def test_everything_that_is_told_is_in_the_table():
    pool = Pool([FakeServer("ldap://a"), FakeServer("ldap://a")], dead_time=1.0)
    directories = {"default": ThreadedDirectory(pool, connections=3, patience=5.0)}
    assert {one.metric for one in measurements(directories)} == set(METRICS)
    assert len(told(directories)) == len(list(measurements(directories))), "a server that is named twice is told once"


def test_a_plugin_that_has_not_begun_tells_nothing():
    assert list(Ldap().poptrio_measurements()) == []
    assert Ldap().poptrio_health() is None
