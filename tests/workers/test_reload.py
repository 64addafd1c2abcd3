"""Reload and drain with two workers: both take part, or none does."""

from ipaddress import IPv4Address

import pytest
import trio
from worker_backend import Backend, is_up, settle

from poptrio.config import Config
from poptrio.protocols.pptp.codes import OutgoingCallResult
from poptrio.server.reload import PreparedDoors, Reloading


@pytest.fixture
def backend():
    return Backend()


async def reload(workers, text):
    return await workers.parent.reloader.reload(lambda: Config.parse(text))


async def test_pools_limits_and_settings_are_the_new_ones_everywhere(fleet, backend, autojump_clock):
    async with fleet('[addresses]\npool = ["10.90.0.2"]', [backend]) as workers:
        old = await workers.dial(0, "alice")
        new = '[addresses]\npool = ["10.91.0.2-9"]\n[ppp]\ndns = ["10.0.0.53"]\n[server]\nmax_calls = 3'
        report = await reload(workers, new)
        assert len(report.changes) == 3
        calls = [await workers.dial(number, user) for number, user in enumerate(("bob", "carol"))]
        assert [str(call.address) for call in calls] == ["10.91.0.2", "10.91.0.3"]
        assert [call.dns for call in calls] == [(IPv4Address("10.0.0.53"),)] * 2
        assert is_up(old)
        assert not is_up(await workers.dial(1, "dave"))
        workers.sides[0].kill()
        await workers.sides[0].ended.wait()
        await workers.replace(0)
        assert (await workers.dial(0, "erin")).dns == (IPv4Address("10.0.0.53"),)  # a new worker begins with it


async def test_a_worker_that_cannot_keeps_all_from_changing(fleet, backend, autojump_clock):
    def cannot(settings):
        raise OSError(17, "route 10.91.0.0/24 was refused")

    async with fleet('[addresses]\npool = ["10.90.0.2-3"]', [backend]) as workers:
        before, called = workers.parent.config, []
        doors = PreparedDoors(commit=lambda: called.append("commit"), undo=lambda: called.append("undo"))
        workers.parent.reloader.reloading = Reloading(before, prepare_doors=lambda config: doors)
        workers.sides[1].worker.server.datapath.prepare = cannot
        report = await reload(workers, '[addresses]\npool = ["10.91.0.2-9"]')
        assert list(map(str, report.faults)) == ["worker 1: route 10.91.0.0/24 was refused"]
        await settle()
        assert (workers.parent.config, called) == (before, ["undo"])
        assert all(side.worker._preparation is None for side in workers.sides)
        assert str((await workers.dial(0)).address) == "10.90.0.2"


async def test_a_worker_that_dies_meanwhile_keeps_nobody(fleet, backend, autojump_clock):
    async with fleet("", [backend]) as workers:
        workers.sides[1].kill()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload, workers, '[addresses]\npool = ["10.91.0.2-9"]')
        assert str((await workers.dial(0)).address) == "10.91.0.2"


async def test_a_drain_reaches_all_workers_and_ends_with_the_last_call(fleet, backend, autojump_clock):
    async with fleet("", [backend]) as workers:
        calls = [await workers.dial(number) for number in range(2)]
        await workers.parent.drain()
        for number in range(2):
            assert (await workers.dial(number)).refused.result is OutgoingCallResult.DO_NOT_ACCEPT
        assert await workers.parent.cancel_drain()
        assert is_up(await workers.dial(0))
        await workers.parent.drain(100)
        for call in calls:
            await call.hang_up()
        await trio.sleep(90)
        assert not workers.parent.stopping
        await trio.sleep(11)
        assert workers.parent.stopping
        assert [record.cause.label for record in backend.of("stop")] == ["client-hung-up"] * 2 + ["server-shutdown"]


async def test_a_worker_that_is_started_meanwhile_takes_no_calls(fleet, backend, autojump_clock):
    async with fleet("", [backend]) as workers:
        await workers.dial(1)
        await workers.parent.drain()
        workers.sides[0].kill()
        await workers.sides[0].ended.wait()
        await workers.replace(0)
        assert (await workers.dial(0)).refused.result is OutgoingCallResult.DO_NOT_ACCEPT
