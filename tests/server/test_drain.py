"""Draining: no new calls, those that are up end by themselves or at a deadline, then the server stops."""

import pytest
import trio

from poptrio.protocols.pptp.codes import GeneralError, OutgoingCallResult
from poptrio.testing.server import memory_server


async def test_new_calls_are_refused_and_the_last_hang_up_ends_the_server(autojump_clock, log):
    async with memory_server() as memory:
        old = await memory.dial()
        await memory.server.drain()
        await memory.server.drain()
        refused = await memory.dial()
        assert refused.refused.result is OutgoingCallResult.DO_NOT_ACCEPT
        assert refused.refused.error is GeneralError.NONE
        assert refused.client.started.is_set()  # the control connection is taken, so that the call gets its answer
        await trio.sleep(1000)
        assert not old.over.is_set()
        assert not memory.stopped.is_set()
        assert memory.server.drain_state.seconds_left is None
        await old.hang_up()
        await memory.stopped.wait()
        assert memory.leftovers() == []
    assert [entry["calls"] for event in ("draining", "drain over") for entry in log.named(event)] == [1, 1, 0]
    assert "the server is draining" in log.named("call refused")[0]["why"]


async def test_at_the_deadline_the_calls_are_told_goodbye(autojump_clock, log):
    async with memory_server() as memory:
        call = await memory.dial()
        begun = trio.current_time()
        await memory.server.drain(500)
        await trio.sleep(100)
        assert memory.server.drain_state.seconds_left == pytest.approx(400)
        await memory.server.drain(50)  # another deadline
        await memory.stopped.wait()
        assert trio.current_time() - begun == pytest.approx(150, abs=2)
        assert call.terminated is not None
        assert memory.leftovers() == []
    assert [entry["cause"] for entry in log.ends()] == ["server-shutdown"]
    assert log.named("drain over")[0]["calls"] == 1


async def test_without_calls_it_stops_at_once(autojump_clock):
    async with memory_server() as memory:
        await memory.server.drain(500)
        with trio.fail_after(2):
            await memory.stopped.wait()


async def test_a_drain_is_taken_back_and_begun_again(autojump_clock, log):
    async with memory_server() as memory:
        assert not await memory.server.cancel_drain()
        first = await memory.dial()
        await memory.server.drain(10)
        assert await memory.server.cancel_drain()
        assert not await memory.server.cancel_drain()
        await trio.sleep(100)
        second = await memory.dial()
        assert second.up.is_set()
        assert not first.over.is_set()
        await memory.server.drain(10)
        await memory.stopped.wait()
        assert not await memory.server.cancel_drain()
    assert len(log.named("drain cancelled")) == 1
