"""Calls as plugins see them: found, ended, and changed all at once or not at all; quotas; proving oneself again."""

from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.api import CauseOfEnd, Quota, SessionChange, hookimpl
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.testing.server import memory_server


class Watcher:
    """A plugin that keeps the sessions that it was given."""

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config, server):
        self.sessions = server.sessions
        yield


async def test_a_plugin_finds_calls_that_are_up(backend, autojump_clock):
    watcher = Watcher()
    async with memory_server("", [backend, watcher]) as memory:
        assert list(watcher.sessions) == []
        call = await memory.dial("HOME\\alice")
        await trio.sleep(5)
        (session,) = watcher.sessions
        assert watcher.sessions.find(session.call.session_id) is session
        assert [one.call for one in watcher.sessions.of_user("ALICE")] == [session.call]
        assert (session.address, session.accept.user, session.seconds) == (call.address, "alice", 5.0)
        await call.hang_up()
        await wait_all_tasks_blocked()
        assert list(watcher.sessions) == []
        assert watcher.sessions.find(session.call.session_id) is None
        assert list(watcher.sessions.of_user("alice")) == []


async def test_a_plugin_ends_a_call(backend, log, autojump_clock):
    watcher = Watcher()
    async with memory_server("", [backend, watcher]) as memory:
        call = await memory.dial()
        (session,) = watcher.sessions
        session.end(CauseOfEnd.ADMIN_RESET, "asked for by a test")
        await call.over.wait()
    (line,) = log.ends()
    assert line["cause"] == "admin-reset"
    assert "asked for by a test" in line["why"]
    assert backend.records[-1][1].cause is CauseOfEnd.ADMIN_RESET


async def test_a_change_takes_effect_and_is_accounted(backend, log, autojump_clock):
    watcher = Watcher()
    async with memory_server("[accounting]\ninterim_jitter = 0.0", [backend, watcher]) as memory:
        call = await memory.dial()
        (session,) = watcher.sessions
        await trio.sleep(10)
        session.change(
            SessionChange(session_timeout=60.0, interim_interval=20.0, classes=(b"gold",), filter_ids=("x",))
        )
        await call.over.wait()
        assert trio.current_time() == 60
    assert backend.kinds() == ["start", "interim", "interim", "stop"]
    assert [when for when, _ in backend.records] == [0, 30, 50, 60]
    assert backend.records[-1][1].accept.classes == (b"gold",)
    assert log.ends()[0]["cause"] == "session-timeout"


@pytest.mark.parametrize(
    "change",
    [
        SessionChange(session_timeout=-1.0, classes=(b"x",)),
        SessionChange(idle_timeout=float("nan"), classes=(b"x",)),
        SessionChange(interim_interval=float("inf"), classes=(b"x",)),
        SessionChange(quota=Quota(total=-1), classes=(b"x",)),
    ],
)
async def test_a_change_that_cannot_be_changes_nothing(change, backend, autojump_clock):
    watcher = Watcher()
    async with memory_server("", [backend, watcher]) as memory:
        await memory.dial()
        (session,) = watcher.sessions
        before = session.accept
        with pytest.raises(ValueError):
            session.change(change)
        assert session.accept is before


async def test_a_call_that_ends_cannot_be_changed(backend, autojump_clock):
    watcher = Watcher()
    async with memory_server("", [backend, watcher]) as memory:
        await memory.dial()
        (session,) = watcher.sessions
        session.end()
        with pytest.raises(ValueError, match="is ending"):
            session.change(SessionChange(classes=()))


async def test_an_earlier_session_timeout_ends_at_once_if_it_is_over_already(backend, log, autojump_clock):
    watcher = Watcher()
    async with memory_server("", [backend, watcher]) as memory:
        call = await memory.dial()
        (session,) = watcher.sessions
        await trio.sleep(100)
        session.change(SessionChange(session_timeout=50.0))
        await call.over.wait()
        assert trio.current_time() == 100


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        (Quota(from_client=1000), "1000 octets from the client"),
        (Quota(total=1000), "1000 octets in both directions"),
        (Quota(from_client=10**12, total=1000), "1000 octets in both directions"),
    ],
)
async def test_a_quota_ends_the_call_within_a_second(quota, words, backend, log, autojump_clock):
    backend.accept = {"quota": quota}
    async with memory_server("", [backend]) as memory:
        call = await memory.dial()
        await trio.sleep(5000)
        call.send_ip(bytes(900))
        await trio.sleep(100)
        assert not call.over.is_set()
        sent = trio.current_time()
        call.send_ip(bytes(900))
        await call.over.wait()
        assert trio.current_time() - sent <= 1.0
    assert log.ends()[0]["cause"] == "quota-reached"
    assert words in log.ends()[0]["why"]


async def test_a_quota_for_the_other_direction_does_not_count(backend, autojump_clock):
    backend.accept = {"quota": Quota(to_client=1000)}
    async with memory_server("", [backend]) as memory:
        call = await memory.dial()
        for _ in range(10):
            call.send_ip(bytes(900))
            await trio.sleep(1)
        assert not call.over.is_set()


async def test_who_proves_himself_again_at_the_session_timeout_goes_on(backend, autojump_clock):
    backend.accept = {"session_timeout": 60.0, "reauthenticate": True}
    async with memory_server("", [backend]) as memory:
        call = await memory.dial()
        await trio.sleep(190)
        assert not call.over.is_set()
        assert [when for when, _ in backend.asked] == [0, 60, 120, 180]
        backend.accept = {"session_timeout": 30.0, "reauthenticate": False}
        await call.over.wait()
        assert trio.current_time() == 270
    assert backend.kinds() == ["start", "stop"]


async def test_who_cannot_prove_himself_again_ends_by_the_timeout(backend, log, autojump_clock):
    backend.accept = {"session_timeout": 60.0, "reauthenticate": True}
    config = '[ppp]\nauthentication = ["pap"]\nencryption = "refuse"'
    async with memory_server(config, [backend]) as memory:
        pap = SessionSettings(authentication=(AuthProtocol.PAP,), encryption=EncryptionPolicy("refuse"))
        call = await memory.dial(settings=pap)
        assert call.address is not None
        await call.over.wait()
        assert trio.current_time() == 60
    assert log.ends()[0]["cause"] == "session-timeout"
