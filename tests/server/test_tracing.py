"""Levels and traces of a running server: one call, user or address, from now on, for a time, and without secrets."""

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

from poptrio.observe.areas import Levels
from poptrio.server.tracing import MOST_TRACES, Subject, TooManyTraces, UnknownArea
from poptrio.testing.server import CLIENT_ADDRESS, memory_server

OTHER = CLIENT_ADDRESS + 1


def packets(log, peer=CLIENT_ADDRESS):
    return [entry["packet"] for entry in log.named("ppp packet") if entry["peer"] == str(peer)]


def messages(log, peer=CLIENT_ADDRESS):
    return [entry["message"] for entry in log.named("control message") if entry["peer"] == str(peer)]


async def test_nothing_is_traced_unless_somebody_asks(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        await memory.dial()
    assert packets(log) == messages(log) == []


async def test_a_client_address_is_traced_from_the_first_message_on(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        memory.server.tracing.trace(Subject("peer", str(CLIENT_ADDRESS)), by="root")
        await memory.dial()
        await memory.dial("bob", "battery staple", peer=OTHER)
    assert messages(log)[0].startswith("received [Start-Control-Connection-Request ")
    assert packets(log)[0].startswith("sent [LCP ConfReq 1 ")
    assert any(line.startswith("received [IPCP ConfAck ") for line in packets(log))
    assert packets(log, OTHER) == messages(log, OTHER) == []
    (begun,) = log.named("trace begun")
    assert (begun["of"], begun["seconds"], begun["by"]) == (f"peer {CLIENT_ADDRESS}", 600.0, "root")


@pytest.mark.parametrize("name", ["alice", "ALICE", "EXAMPLE\\alice"])
async def test_a_user_is_traced_from_its_name_on(backend, log, autojump_clock, name):
    async with memory_server(plugins=[backend]) as memory:
        memory.server.tracing.trace(Subject("user", name))
        await memory.dial("EXAMPLE\\alice")
        await memory.dial("bob", "battery staple", peer=OTHER)
        await trio.lowlevel.checkpoint()
    assert packets(log)[0].startswith("sent [CHAP Success ")
    assert not any("LCP ConfReq" in line for line in packets(log))
    assert packets(log, OTHER) == []


async def test_who_claims_a_name_and_is_refused_is_traced_too(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        memory.server.tracing.trace(Subject("user", "alice"))
        await memory.dial("alice", "wrong horse")
    assert packets(log)[0].startswith("sent [CHAP Failure ")
    assert "horse" not in str(log.entries)


async def test_a_call_that_is_up_is_traced_until_somebody_ends_it(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        other = await memory.dial("bob", "battery staple", peer=OTHER)
        subject = Subject("call", str(call.connected.peer_call_id))
        memory.server.tracing.trace(subject, 3600.0)
        await trio.sleep(40)
        assert packets(log)[0].startswith("sent [LCP EchoReq ")
        assert packets(log, OTHER) == []
        assert memory.server.tracing.traces == {subject: 3560.0}
        await call.client.clear_call(call)
        await wait_all_tasks_blocked()
        assert [line.split()[1] for line in messages(log)][-2:] == ["[Call-Clear-Request", "[Call-Disconnect-Notify"]
        assert memory.server.tracing.end_traces([subject], by="root") == 1
        before = len(log.named("control message"))
        await call.client.close()
        await other.hang_up()
        await wait_all_tasks_blocked()
        assert len(log.named("control message")) == before
    assert [entry["why"] for entry in log.named("trace ended")] == ["it was switched off"]


async def test_a_trace_ends_by_itself(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        memory.server.tracing.trace(Subject("user", "alice"), 35.0)
        await memory.dial()
        await trio.sleep(36)
        until_then = len(packets(log))
        await trio.sleep(600)
        assert len(packets(log)) == until_then > 0
        assert memory.server.tracing.traces == {}
    assert [(entry["of"], entry["why"]) for entry in log.named("trace ended")] == [("user alice", "its time is over")]


async def test_traces_are_bounded_in_number_and_time(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        tracing = memory.server.tracing
        for number in range(MOST_TRACES):
            tracing.trace(Subject("user", str(number)), 1e9)
        assert set(tracing.traces.values()) == {86_400.0}
        with pytest.raises(TooManyTraces, match="end some of them"):
            tracing.trace(Subject("user", "alice"))
        tracing.trace(Subject("user", "0"), 10.0)
        assert tracing.end_traces() == MOST_TRACES


async def test_an_area_is_changed_while_calls_are_up(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        await memory.dial()
        tracing = memory.server.tracing
        tracing.change_levels(Levels("info", {"ppp": "debug"}), by="root")
        await trio.sleep(31)
        assert packets(log)
        assert messages(log) == []
        tracing.change_levels(Levels("info", {}))
        lines = len(packets(log))
        await trio.sleep(100)
        assert len(packets(log)) == lines
        assert tracing.levels == Levels("info", {})
        with pytest.raises(UnknownArea, match=r"no area 'pp'; there are server, management, connection, call, ppp, "):
            tracing.change_levels(Levels("info", {"pp": "debug"}))
    changed = log.named("log levels changed")
    assert (changed[0]["default"], changed[0]["areas"], changed[0]["by"]) == ("info", {"ppp": "debug"}, "root")


async def test_areas_of_the_configuration_count_from_the_beginning(backend, log, autojump_clock):
    async with memory_server('[log.areas]\nconnection = "debug"', [backend]) as memory:
        await memory.dial()
    assert messages(log)
    assert packets(log) == []
