"""Several calls on one control connection, and what a connection does without one."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.api import hookimpl
from poptrio.protocols.pptp.messages import SetLinkInfo, WanErrorNotify
from poptrio.runtime.control_stream import WRITE_TIMEOUT
from poptrio.testing.server import memory_server


async def three_calls(memory):
    client = await memory.connect()
    await client.start()
    calls = [await client.request_call(user, password) for user, password in CALLERS]
    for call in calls:
        await call.settled()
    return client, calls


CALLERS = [("alice", "correct horse"), ("bob", "battery staple"), ("alice", "correct horse")]


async def test_one_call_ends_and_the_others_go_on(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        client, (first, second, third) = await three_calls(memory)
        assert len({call.address for call in (first, second, third)}) == 3
        await second.hang_up()
        await trio.sleep(100)
        assert [line["user"] for line in log.ends()] == ["bob"]
        assert backend.released == [second.address]
        for call in (first, third):
            assert not call.over.is_set()
            call.send_ip(b"still here")
        await wait_all_tasks_blocked()
        assert [len(call.path.delivered) for call in memory.server.registry.calls.values()] == [1, 1]
        assert client.ended is None


async def test_the_connection_goes_call_timeout_after_its_last_call(backend, log, autojump_clock):
    async with memory_server("[server]\ncall_timeout = 7.0", [backend]) as memory:
        client, calls = await three_calls(memory)
        for call in calls:
            await trio.sleep(20)
            await call.hang_up()
        ended = trio.current_time()
        await client.over.wait()
        assert trio.current_time() - ended == 7.0
        await wait_all_tasks_blocked()
        assert memory.leftovers() == []
    assert not log.named("connection ended without a call")


async def test_another_call_within_call_timeout(backend, autojump_clock):
    async with memory_server("[server]\ncall_timeout = 7.0", [backend]) as memory:
        client, calls = await three_calls(memory)
        for call in calls:
            await call.hang_up()
        await trio.sleep(6)
        again = await client.request_call()
        await again.settled()
        await trio.sleep(100)
        assert not again.over.is_set()


@pytest.mark.parametrize("how", ["close", "reset", "stop"])
async def test_the_end_of_the_connection_ends_all(how, backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        client, _ = await three_calls(memory)
        await getattr(client, how)()
        await trio.sleep(5)
        assert memory.leftovers() == []
    assert len(log.ends()) == 3
    assert sorted(backend.released) == backend.leased
    assert backend.kinds() == ["start"] * 3 + ["stop"] * 3


async def test_a_call_id_of_the_client_used_twice(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        client = await memory.connect()
        await client.start()
        first = await client.request_call(call_id=5)
        await first.settled()
        other = await memory.connect()
        await other.start()
        second = await other.request_call(call_id=5)
        await second.settled()
        assert first.connected.peer_call_id != second.connected.peer_call_id
        assert first.address != second.address


async def test_messages_for_the_log_change_nothing(backend, log, autojump_clock):
    async with memory_server('[log]\nlevel = "debug"', [backend]) as memory:
        call = await memory.dial()
        ours = call.connected.peer_call_id
        errors = dict.fromkeys(
            (
                "crc_errors",
                "framing_errors",
                "hardware_overruns",
                "buffer_overruns",
                "time_out_errors",
                "alignment_errors",
            ),
            3,
        )
        await call.client.send(SetLinkInfo(peer_call_id=ours, send_accm=0xFFFFFFFF, receive_accm=0).encode())
        await call.client.send(WanErrorNotify(peer_call_id=ours, **errors).encode())
        await wait_all_tasks_blocked()
        assert [entry["call"] for entry in log.named("set-link-info") + log.named("wan-error-notify")] == [ours] * 2
        assert not call.over.is_set()


async def test_a_client_without_a_call_is_logged_once(log, autojump_clock):
    async with memory_server() as memory:
        client = await memory.connect()
        await client.start()
        await client.over.wait()
        assert trio.current_time() == 30
    (line,) = log.named("connection ended without a call")
    assert line["why"] == "the client requested no call within 30 s"


class Admission:
    @hookimpl
    def poptrio_admit(self, peer):
        return "not today" if str(peer).startswith("203.") else None


async def test_a_plugin_refuses_a_client_before_anything_is_read(log, autojump_clock):
    async with memory_server(plugins=[Admission()]) as memory:
        client = await memory.connect()
        await client.over.wait()
        assert [type(event).__name__ for event in client.heard] == ["ConnectionEnded"]
        assert memory.server.stats.refused == 1
        await wait_all_tasks_blocked()
        assert memory.leftovers() == []
    (line,) = log.named("connection refused")
    assert line["why"] == "not today"


@pytest.mark.parametrize("user", ["alice", "carol"])
async def test_a_client_that_does_not_read_is_given_up(user, backend, log, autojump_clock):
    async with memory_server("[server]\necho_interval = 20.0", [backend]) as memory:
        call = await memory.dial(user)
        call.client.stop_reading()
        await trio.sleep(30)
        assert memory.leftovers() == []
    assert len(log.ends()) == 1


async def test_the_echo_that_nobody_takes(backend, log, autojump_clock):
    async with memory_server("[server]\necho_interval = 20.0", [backend]) as memory:
        call = await memory.dial()
        call.client.stop_reading()
        await call.over.wait()
        assert trio.current_time() == 20 + WRITE_TIMEOUT
    (line,) = log.ends()
    assert line["why"].endswith("the other side does not read its control connection")
