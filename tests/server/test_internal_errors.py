"""A bug in one call ends that call, with one traceback in the log, and nobody else's."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.errors import LocalProtocolError
from poptrio.protocols.ppp.server_session import ServerSession
from poptrio.protocols.pptp.codes import GeneralError, OutgoingCallResult
from poptrio.protocols.pptp.control import ControlConnection, Role
from poptrio.server import ppp_task
from poptrio.testing.server import memory_server


def broken(method):
    """A session of which one method raises for the user bob."""

    class BrokenSession(ServerSession):
        pass

    def raises(self, *args, **kwargs):
        raise ZeroDivisionError(method)

    setattr(BrokenSession, method, raises)
    return BrokenSession


@pytest.mark.parametrize(
    "method", ["start", "receive_frame", "authenticated", "assign", "handle_timeout", "terminate", "next_deadline"]
)
async def test_a_core_that_raises(method, backend, log, autojump_clock, monkeypatch):
    async with memory_server(plugins=[backend]) as memory:
        good = await memory.dial("bob", "battery staple")
        monkeypatch.setattr(ppp_task, "ServerSession", broken(method))
        client = await memory.connect()
        await client.start()
        bad = await client.request_call()
        with trio.move_on_after(100):
            await bad.over.wait()
        if method == "terminate":
            await client.stop()
            await bad.over.wait()
        await wait_all_tasks_blocked()
        assert not good.over.is_set()
        good.send_ip(b"unharmed")
        await wait_all_tasks_blocked()
        (ours,) = memory.server.registry.calls.values()
        assert len(ours.path.delivered) == 1
        await bad.client.close()
        await good.client.close()
        await trio.sleep(10)
        assert memory.leftovers() == []
    (error,) = log.named("internal error")
    assert error["exc_info"]
    expected = "client-hung-up" if method == "terminate" else "internal-error"
    line = log.ends()[0]
    assert line["cause"] == expected
    if expected == "internal-error":
        assert method in line["why"]
    assert sorted(backend.released) == backend.leased


async def test_a_session_that_cannot_even_be_made(backend, log, autojump_clock, monkeypatch):
    async with memory_server(plugins=[backend]) as memory:
        client = await memory.connect()
        await client.start()
        first = await client.request_call()
        await first.settled()
        monkeypatch.setattr(ppp_task, "ServerSession", broken("__init__"))
        bad = await client.request_call()
        assert (bad.refused.result, bad.refused.error) == (OutgoingCallResult.GENERAL_ERROR, GeneralError.PAC_ERROR)
        assert not first.over.is_set()
        await client.close()
        await trio.sleep(1)
        assert memory.leftovers() == []
    assert len(log.named("internal error")) == 1
    assert [line["cause"] for line in log.ends()] == ["internal-error", "control-connection-lost"]


async def test_a_data_path_that_refuses_the_call(backend, log, autojump_clock, monkeypatch):
    async with memory_server(plugins=[backend]) as memory:
        good = await memory.dial("bob", "battery staple")

        def refuse(endpoint, owner):
            raise OSError(24, "too many open files")

        monkeypatch.setattr(memory.network.server, "open_call", refuse)
        bad = await good.client.request_call()
        assert (bad.refused.result, bad.refused.error) == (OutgoingCallResult.GENERAL_ERROR, GeneralError.PAC_ERROR)
        assert not good.over.is_set()
        await good.client.close()
        await trio.sleep(1)
        assert memory.leftovers() == []
    assert log.named("internal error") == []  # the kernel's doing, and no bug
    assert log.ends()[0]["cause"] == "data-path-failed"
    assert "too many open files" in log.ends()[0]["why"]


async def test_a_control_connection_that_raises_ends_its_calls(backend, log, autojump_clock, monkeypatch):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        (connection,) = memory.server.connections
        other = await memory.dial("bob", "battery staple")

        class Broken(ControlConnection):
            def receive_data(self, data, now):
                raise LocalProtocolError("a bug")

        control = Broken(Role.SERVER, memory.server.control_settings, 0.0, iter(()))
        monkeypatch.setattr(connection._wire, "_control", control)
        await call.client.stop()
        await call.over.wait()
        await wait_all_tasks_blocked()
        assert not other.over.is_set()
        await other.client.close()
        await trio.sleep(1)
        assert memory.leftovers() == []
    assert len(log.named("internal error")) == 1
    assert log.ends()[0]["cause"] == "internal-error"
    assert memory.server.stats.internal_errors == 1


async def test_a_goodbye_that_raises_harms_no_other_call(backend, log, autojump_clock, monkeypatch):
    async with memory_server(plugins=[backend]) as memory:
        client = await memory.connect()
        await client.start()
        first, second = [await client.request_call() for _ in range(2)]
        for call in (first, second):
            await call.settled()
        (connection,) = memory.server.connections

        async def raises(call_id, cause):
            raise ZeroDivisionError("goodbye")

        monkeypatch.setattr(connection, "end_call", raises)
        await client.clear_call(first)
        await first.over.wait()
        await wait_all_tasks_blocked()
        monkeypatch.undo()
        assert not second.over.is_set()
        await client.close()
        await trio.sleep(1)
        assert memory.leftovers() == []
    assert len(log.named("internal error")) == 1
    assert backend.kinds() == ["start"] * 2 + ["stop"] * 2
