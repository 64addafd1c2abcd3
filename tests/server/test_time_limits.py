"""Session timeout, idle timeout, accounting on the way: as configured, or as a plugin decides for one user."""

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.server import memory_server


async def when_over(call):
    await call.over.wait()
    return trio.current_time()


@pytest.mark.parametrize(
    ("config", "accept", "seconds"),
    [
        ("session_timeout = 90.0", {}, 90),
        ("session_timeout = 90.0", {"session_timeout": 30.0}, 30),
        ("session_timeout = 90.0", {"session_timeout": 300.0}, 300),
        ("", {"session_timeout": 30.0}, 30),
    ],
)
async def test_session_timeout(config, accept, seconds, backend, log, autojump_clock):
    backend.accept = accept
    async with memory_server(f"[ppp]\n{config}", [backend]) as memory:
        call = await memory.dial()
        assert await when_over(call) == seconds
        assert call.cleared is not None
    (line,) = log.ends()
    assert line["why"].startswith(f"the session timeout was reached: {seconds} seconds")


async def test_a_plugin_switches_the_timeouts_off(backend, log, autojump_clock):
    backend.accept = {"session_timeout": 0.0, "idle_timeout": 0.0}
    async with memory_server("[ppp]\nsession_timeout = 90.0\nidle_timeout = 60.0", [backend]) as memory:
        call = await memory.dial()
        await trio.sleep(80_000)
        assert not call.over.is_set()


@pytest.mark.parametrize(("config", "accept"), [(60.0, {}), (10.0, {"idle_timeout": 60.0})])
@pytest.mark.parametrize("direction", ["from the client", "to the client"])
async def test_idle_timeout_counts_from_the_last_packet_in_any_direction(
    config, accept, direction, backend, log, autojump_clock
):
    backend.accept = accept
    async with memory_server(f"[ppp]\nidle_timeout = {config}", [backend]) as memory:
        call = await memory.dial()
        (ours,) = memory.server.registry.calls.values()
        for _ in range(5):
            await trio.sleep(50)
            if direction == "from the client":
                call.send_ip()
            else:
                ours.path.inject(ipv4_packet(call.server_address, call.address))
            await wait_all_tasks_blocked()
        assert await when_over(call) == 310
    assert log.ends()[0]["cause"] == "idle-timeout"


async def test_interim_accounting(backend, autojump_clock):
    backend.accept = {"interim_interval": 60.0}
    async with memory_server("[accounting]\ninterim_jitter = 0.0", [backend]) as memory:
        call = await memory.dial()
        await trio.sleep(130)
        call.send_ip(bytes(80))
        await trio.sleep(60)
        await call.hang_up()
        await wait_all_tasks_blocked()
    assert backend.kinds() == ["start", "interim", "interim", "interim", "stop"]
    assert [record.seconds for _, record in backend.records] == [0, 60, 120, 180, 190]
    assert [record.traffic.bytes_in for _, record in backend.records] == [0, 0, 0, 100, 100]
    assert [record.cause is None for _, record in backend.records] == [True] * 4 + [False]
    assert {record.address for _, record in backend.records} == {call.address}


async def test_slow_accounting_delays_nobody(backend, autojump_clock):
    backend.before_account = partial(trio.sleep, 8)
    async with memory_server("[ppp]\nsession_timeout = 20.0\n[server]\ngrace = 5.0", [backend]) as memory:
        call = await memory.dial()
        call.send_ip()
        await wait_all_tasks_blocked()
        (ours,) = memory.server.registry.calls.values()
        assert len(ours.path.delivered) == 1
        assert await when_over(call) == 20
        await trio.sleep(6)
        assert backend.released == backend.leased
    assert backend.kinds() == ["start", "stop"]


async def test_a_call_that_ends_while_its_start_is_accounted_gets_a_stop(backend, autojump_clock):
    backend.before_account = partial(trio.sleep, 1)
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        await wait_all_tasks_blocked()
        await call.hang_up()
        await trio.sleep(10)
    assert backend.kinds() == ["start", "stop"]


async def test_accounting_that_raises_changes_nothing(backend, log, autojump_clock):
    async def fail():
        raise OSError("disk full")

    backend.before_account = fail
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        await trio.sleep(10)
        assert not call.over.is_set()
        await call.hang_up()
        await wait_all_tasks_blocked()
    assert backend.kinds() == ["start", "stop"]
    assert len(log.named("plugin failed")) == 2
