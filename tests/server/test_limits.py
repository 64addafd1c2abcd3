"""The limits on calls, and on connections and calls that nobody has authenticated yet."""

from functools import partial
from ipaddress import IPv4Address

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.observe.log_limit import MOST_LINES, PERIOD
from poptrio.protocols.pptp.codes import Bearer, Framing, GeneralError, OutgoingCallResult
from poptrio.protocols.pptp.messages import CallClearRequest, OutgoingCallRequest
from poptrio.server.call_rate import CALL_BURST
from poptrio.server.connection import MOST_TOO_FAST
from poptrio.testing.client import EVERYTHING
from poptrio.testing.server import memory_server

REQUEST = partial(
    OutgoingCallRequest,
    call_serial_number=0,
    minimum_bps=300,
    maximum_bps=100_000_000,
    bearer_type=Bearer.ANY,
    framing_type=Framing.ANY,
    packet_window_size=64,
)
OTHER = IPv4Address("203.0.113.10")


def refusal(call):
    return call.refused and (call.refused.result, call.refused.error)


NO_RESOURCE = (OutgoingCallResult.GENERAL_ERROR, GeneralError.NO_RESOURCE)


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("max_calls = 2", "2 calls (server.max_calls)"),
        ("max_calls_per_address = 2", "2 calls from this address (server.max_calls_per_address)"),
    ],
)
async def test_one_call_too_many(limit, why, backend, log, autojump_clock):
    async with memory_server(f"[server]\n{limit}", [backend]) as memory:
        first, second = [await memory.dial() for _ in range(2)]
        third = await memory.dial()
        assert refusal(third) == NO_RESOURCE
        assert third.client.ended is None
        (line,) = log.named("call refused")
        assert (line["peer"], line["why"]) == ("203.0.113.9", why)
        elsewhere = await memory.dial(peer=OTHER)
        assert refusal(elsewhere) == (NO_RESOURCE if "per_address" not in limit else None)
        await first.hang_up()
        await wait_all_tasks_blocked()
        if "per_address" not in limit:
            assert memory.server.stats.refused == 2
        fourth = await third.client.request_call()
        await fourth.settled()
        assert fourth.address is not None
        for call in (second, third, elsewhere, first):
            await call.client.close()
        await trio.sleep(10)
        assert memory.leftovers() == []


async def test_connections_of_strangers(log, autojump_clock):
    async with memory_server("[server]\nmax_unauthenticated_per_address = 3\nmax_unauthenticated = 4") as memory:
        waiting = [await memory.connect() for _ in range(3)]
        refused = await memory.connect()
        await refused.over.wait()
        assert not any(client.over.is_set() for client in waiting)
        assert not (await memory.connect(OTHER)).over.is_set()
        last = await memory.connect(OTHER)
        await last.over.wait()
        assert [line["why"] for line in log.named("connection refused")] == [
            "3 unauthenticated connections and calls from this address (server.max_unauthenticated_per_address)",
            "4 unauthenticated connections and calls (server.max_unauthenticated)",
        ]
        assert memory.server.stats.refused == 2
        await trio.sleep(11)
        assert memory.leftovers() == []


async def test_calls_of_strangers_and_how_they_become_known(backend, log, autojump_clock):
    async with memory_server("[server]\nmax_unauthenticated_per_address = 3", [backend]) as memory:
        client = await memory.connect()
        await client.start()
        silent = [await client.request_call(deaf_to=EVERYTHING) for _ in range(2)]
        too_many = await client.request_call()
        assert refusal(too_many) == NO_RESOURCE
        assert "max_unauthenticated_per_address" in log.named("call refused")[0]["why"]
        for call in silent:
            await client.clear_call(call)
            await call.over.wait()
        await wait_all_tasks_blocked()
        many = [await client.request_call() for _ in range(2)]
        for call in many:
            await call.settled()
        # Connection and calls are known now: only the next one is a stranger.
        more = [await client.request_call() for _ in range(5)]
        for call in more:
            await call.settled()
        assert all(call.address for call in many + more)
        assert memory.server.registry._strangers == 0
        await client.close()
        await trio.sleep(10)
        assert memory.leftovers() == []


async def test_too_many_calls_in_a_short_time(backend, log, autojump_clock):
    async with memory_server("[server]\nmax_unauthenticated_per_address = 400", [backend]) as memory:
        client = await memory.connect()
        await client.start()
        pair = [
            (REQUEST(call_id=number).encode(), CallClearRequest(call_id=number).encode()) for number in range(1, 301)
        ]
        await client.send(b"".join(request + clear for request, clear in pair))
        await wait_all_tasks_blocked()
        assert len(log.ends()) == CALL_BURST
        assert len(log.named("call refused")) == MOST_LINES
        assert "20 calls a second" in log.named("call refused")[0]["why"]
        assert not memory.server.registry.call_ids._resting  # nobody was told of them
        assert (await memory.dial(peer=OTHER)).address is not None
        await trio.sleep(PERIOD + 1)
        assert [(line["of"], line["count"]) for line in log.named("lines left out")] == [
            ("call refused", 200 - MOST_LINES)
        ]
        assert memory.server.stats.left_out == {"call refused": 200 - MOST_LINES}
        assert memory.server.stats.refusals == {"too-fast": 200}
        assert (await memory.dial()).address is not None


async def test_a_connection_that_only_asks_for_calls_is_ended(log, autojump_clock):
    async with memory_server() as memory:
        client = await memory.connect()
        await client.start()
        numbers = range(1, MOST_TOO_FAST + 200)
        await client.send(b"".join(REQUEST(call_id=n).encode() + CallClearRequest(call_id=n).encode() for n in numbers))
        with trio.fail_after(3):
            await client.over.wait()
        await trio.sleep(10)
        assert memory.leftovers() == []


async def test_lines_that_strangers_cause(log, autojump_clock):
    async with memory_server("[server]\nmax_unauthenticated = 1") as memory:
        await memory.connect()
        for _ in range(2 * MOST_LINES):
            await memory.connect()
        await wait_all_tasks_blocked()
        assert len(log.named("connection refused")) == MOST_LINES


async def test_no_call_id_is_free(log, autojump_clock):
    async with memory_server() as memory:
        while memory.server.registry.call_ids.take(trio.current_time()) is not None:
            pass
        call = await memory.dial()
        assert refusal(call) == NO_RESOURCE
    assert log.named("call refused")[0]["why"] == "no Call ID is free"
