"""What the plugins that come with the server tell operators."""

import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from poptrio.api import Accept, CallInfo, PapRequest, ServerInfo
from poptrio.plugins.chap_secrets import METRICS
from poptrio.server.hooks import Hooks


def call(session_id="s1"):
    return CallInfo(
        session_id=session_id,
        call_id=1,
        peer_call_id=2,
        peer=IPv4Address("203.0.113.9"),
        server=IPv4Address("198.51.100.1"),
        started=datetime(2025, 1, 1, tzinfo=UTC),
    )


def info(folder=Path("/"), *pool, **pools):
    return ServerInfo(folder=folder, name="poptrio", address=IPv4Address("10.0.0.1"), pool=pool, pools=pools)


@asynccontextmanager
async def pools(*pool, **named):
    hooks = Hooks.load([], ["ip-pool"])
    async with hooks.lifespan({}, info(Path("/"), *pool, **named)):
        yield hooks


def states(hooks):
    return {pool.name: (pool.size, pool.held, [str(lease.address) for lease in pool.leases()])
            for _, pool in hooks.reports.pools()}  # fmt: skip


async def test_pools_are_told_with_who_holds_what():
    async with pools("10.0.0.2-10.0.0.4", guests=("10.1.0.1-10.1.0.9",)) as hooks:
        await hooks.allocate_address(call("a"), Accept(user="alice"))
        lease = await hooks.allocate_address(call("b"), Accept(user="bob", framed_pool="guests"))
        outside = await hooks.allocate_address(
            call("c"), Accept(user="carol", framed_address=IPv4Address("172.16.0.5"))
        )
        assert states(hooks) == {"default": (3, 1, ["10.0.0.2"]), "guests": (9, 1, ["10.1.0.1"])}
        (_, default), _ = hooks.reports.pools()
        (held,) = default.leases()
        assert (held.user, held.session_id) == ("alice", "a")
        for each in (lease, outside):
            each.release()
        assert states(hooks)["guests"] == (9, 0, [])


async def test_a_full_pool_is_no_good_health():
    async with pools("10.0.0.2-10.0.0.3") as hooks:
        assert hooks.reports.health_of("ip-pool").ok
        for number in range(2):
            await hooks.allocate_address(call(str(number)), Accept(user=f"user{number}"))
        told = hooks.reports.health_of("ip-pool")
        assert (told.ok, told.sentence) == (False, "pool default is full")
        assert told.remedy
        assert told.details == {"default": "2 of 2 addresses held"}


@pytest.fixture
def secrets(tmp_path):
    file = tmp_path / "chap-secrets"
    file.write_text("alice * sesame *\nbob * other *\n* * everybody *\n")
    file.chmod(0o600)
    os.utime(file, (1000, 1_700_000_000))
    return file


def told(hooks):
    ((_, measurements),) = hooks.reports.measurements()
    return {(one.metric.name, *one.labels): one.value for one in measurements}


async def test_users_and_the_age_of_the_secrets_file(secrets):
    hooks = Hooks.load(["chap-secrets"])
    async with hooks.lifespan({}, info(secrets.parent)):
        values = told(hooks)
        assert (values["users",], values["file_broken",]) == (2, False)
        assert values["file_modified_timestamp_seconds",] == 1_700_000_000
        assert hooks.reports.health_of("chap-secrets").ok
        secrets.write_text("alice\n")
        await hooks.authenticate(call(), PapRequest(name="bob", username="bob", password="other"))
        values = told(hooks)
        assert (values["users",], values["file_broken",], values["file_reads", "broken"]) == (2, True, 1)
        health = hooks.reports.health_of("chap-secrets")
        assert not health.ok
        assert "log" in health.remedy
        assert "other" not in str(health)
        secrets.write_text("* * everybody *\n")
        hooks.prepare_reload({}, info(secrets.parent), ()).commit()
        assert hooks.reports.health_of("chap-secrets").ok, "whoever knows the one password may call"
        assert {name for name, *_ in told(hooks)} == {metric.name for metric in METRICS}
