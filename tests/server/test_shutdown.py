"""The two phases of a shutdown, its bounds, and the second one that does not wait."""

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.errors import CauseOfEnd, DisconnectResult
from poptrio.protocols.ppp.frames import Code, Protocol
from poptrio.protocols.pptp.codes import ControlType
from poptrio.testing.client import EVERYTHING
from poptrio.testing.server import memory_server


async def until_stopped(memory):
    begun = trio.current_time()
    await memory.stopped.wait()
    return trio.current_time() - begun


async def test_goodbye(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        await trio.sleep(5)
        memory.server.stop()
        assert await until_stopped(memory) == 0
        assert call.frames[-1][:3] == Protocol.LCP.to_bytes(2, "big") + bytes([Code.TERMINATE_REQUEST])
        assert (call.cleared.message, call.cleared.result) == (
            ControlType.CALL_DISCONNECT_NOTIFY,
            DisconnectResult.ADMIN_SHUTDOWN,
        )
        assert call.client.ended.cause is CauseOfEnd.SERVER_SHUTDOWN
        assert memory.leftovers() == []
    assert backend.released == backend.leased != []
    assert backend.kinds() == ["start", "stop"]
    assert [line["cause"] for line in log.ends()] == ["server-shutdown"]


async def test_clients_that_answer_nothing_are_waited_for_within_the_grace(backend, log, autojump_clock):
    async with memory_server("[server]\ngrace = 3.0", [backend]) as memory:
        call = await memory.dial()
        call.deaf_to = EVERYTHING
        mute = await memory.connect()
        await mute.start()
        for client in (call.client, mute):
            client.stop_reading()
        memory.server.stop()
        assert await until_stopped(memory) <= 3.0
        assert memory.leftovers() == []
    assert backend.released == backend.leased != []


async def test_a_client_that_does_not_reply_to_the_stop_costs_a_second(backend, autojump_clock):
    async with memory_server("[server]\ngrace = 30.0", [backend]) as memory:
        call = await memory.dial()
        # It takes the Call-Disconnect-Notify, and reads no more.
        call.client._stream.receive_stream.receive_some_hook = trio.sleep_forever
        call.deaf_to = EVERYTHING
        memory.server.stop()
        # One second each for the Terminate-Ack and the Stop-Control-Connection-Reply.
        assert await until_stopped(memory) == 2


async def test_a_connection_that_has_not_started_goes_at_once(autojump_clock):
    async with memory_server() as memory:
        client = await memory.connect()
        memory.server.stop()
        assert await until_stopped(memory) == 0
        await client.over.wait()


async def test_accounting_that_hangs_does_not_hold_the_shutdown(backend, log, autojump_clock):
    async with memory_server("[server]\ngrace = 3.0", [backend]) as memory:
        await memory.dial()
        await trio.sleep(1)
        backend.before_account = trio.sleep_forever
        memory.server.stop()
        assert await until_stopped(memory) == 3
        assert memory.leftovers() == []
    assert backend.kinds() == ["start", "stop"]
    assert len(log.ends()) == 1


async def test_no_call_begins_during_the_shutdown(backend, log, autojump_clock):
    backend.before_account = partial(trio.sleep, 2)
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        await trio.sleep(3)
        memory.server.stop()
        await trio.sleep(1)
        late = await call.client.request_call()
        assert late.refused is not None
        await memory.stopped.wait()
    assert [line["why"] for line in log.named("call refused")] == ["the server is stopping"]


@pytest.mark.parametrize("when", [0.0, 0.5, 1.5, 2.5])
async def test_the_second_stop_does_not_wait(when, backend, log, autojump_clock):
    backend.before_account = partial(trio.sleep, 2)
    async with memory_server("[server]\ngrace = 60.0", [backend]) as memory:
        calls = [await memory.dial() for _ in range(3)]
        await trio.sleep(5)
        for call in calls:
            call.deaf_to = EVERYTHING
        calls[1].client.stop_reading()
        memory.server.stop()
        await trio.sleep(when)
        memory.server.stop()
        assert await until_stopped(memory) == 0
        assert memory.leftovers() == []
    assert sorted(backend.released) == backend.leased != []
    assert backend.kinds() == ["start"] * 3 + ["stop"] * 3
    assert len(log.ends()) == 3


async def test_a_connection_accepted_in_the_last_moment(log, autojump_clock):
    async with memory_server() as memory:
        await wait_all_tasks_blocked()
        memory.server.stopping = True  # as between the stop and the end of the listeners
        client = await memory.connect()
        await client.over.wait()
        assert trio.current_time() == 0  # not when it has sent nothing for start_timeout
        memory.server.stopping = False
    assert [line["why"] for line in log.named("connection refused")] == ["the server is stopping"]
