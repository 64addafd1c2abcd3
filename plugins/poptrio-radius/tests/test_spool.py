"""The spool: what is put is on the disk before it is sent, and what a disk cannot take is kept all the same."""

import sqlite3
from contextlib import asynccontextmanager, closing

import pytest
import trio

from poptrio.api import AccountingKind, Traffic
from poptrio_radius.spool import RETRY_INTERVAL, Spool, open_spool
from poptrio_radius.spool_file import OpenSession, SpoolError, SpoolFile

START, INTERIM, STOP = AccountingKind.START, AccountingKind.INTERIM, AccountingKind.STOP


class Disk:
    """Writes at once, in virtual time, as long as it is not ``broken``; counts what it was asked for."""

    def __init__(self):
        self.broken = False
        self.writes = 0

    async def write(self, write, batch):
        self.writes += 1
        await trio.sleep(0.01)
        if self.broken:
            raise sqlite3.OperationalError("database or disk is full")
        write(batch)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "accounting.sqlite"


@pytest.fixture
def disk():
    return Disk()


def stop_of(session):
    return b"stop of " + session.attributes


@asynccontextmanager
async def spooling(path, disk, limit=100):
    """A spool with its writer, and the sessions that became ready."""
    async with open_spool(path, limit, stop_of, disk.write) as spool:
        spool.ready = (ready := []).append
        yield spool, ready


def put(spool, kind, session_id="a", attributes=b"x"):
    session = None
    if kind is not STOP:
        session = OpenSession(session_id=session_id, time=1.0, seconds=2.0, traffic=Traffic(), attributes=attributes)
    return spool.put(kind, session_id, 1.0, attributes, session)


def on_disk(path):
    """What the next start would find, without changing it."""
    with closing(sqlite3.connect(path)) as database:
        records = database.execute("SELECT session_id, kind FROM records ORDER BY number").fetchall()
        sessions = database.execute("SELECT session_id FROM sessions").fetchall()
    return records, [session_id for (session_id,) in sessions]


async def test_a_record_is_on_the_disk_before_it_is_sent(path, disk, autojump_clock):
    async with spooling(path, disk) as (spool, ready):
        written = put(spool, START)
        assert not ready
        assert spool.take("a") is None
        await written.wait()
        assert ready == ["a"]
        assert spool.take("a").kind is START
    assert on_disk(path) == ([("a", "start")], ["a"])


async def test_what_comes_during_a_write_is_written_together(path, disk, autojump_clock):
    async with spooling(path, disk) as (spool, _):
        put(spool, START, "0")
        await trio.sleep(0.001)
        later = [put(spool, START, str(number)) for number in range(1, 50)]
        for written in later:
            await written.wait()
        assert disk.writes == 2
        assert trio.current_time() == pytest.approx(0.02)


async def test_what_was_acknowledged_is_not_there_at_the_next_start(path, disk, autojump_clock):
    async with spooling(path, disk) as (spool, _):
        await put(spool, START).wait()
        assert spool.acknowledge(spool.take("a")) is False
    async with spooling(path, disk) as (spool, _):
        assert [spool.take("a").attributes] == [b"stop of x"], "only the stop of the session that was cut off"


async def test_what_was_not_acknowledged_is(path, disk, autojump_clock):
    async with spooling(path, disk) as (spool, _):
        await put(spool, START).wait()
        await put(spool, STOP, attributes=b"y").wait()
        spool.put_back(spool.take("a"))
    async with spooling(path, disk) as (spool, _):
        assert spool.sessions_to_send() == ["a"]
        start = spool.take("a")
        assert (start.kind, start.attributes) == (START, b"x")
        assert spool.acknowledge(start) is True
        assert spool.take("a").attributes == b"y"


async def test_numbers_go_on_after_a_restart(path, disk, autojump_clock):
    async with spooling(path, disk) as (spool, _):
        await put(spool, START).wait()
    async with spooling(path, disk) as (spool, _):
        await put(spool, START, "b").wait()
        assert [spool.take(name).number for name in ("a", "b")] == [1, 3]


async def test_progress_is_what_a_crash_leaves(path, disk, autojump_clock):
    async with spooling(path, disk) as (spool, _):
        await put(spool, START).wait()
        later = OpenSession(session_id="a", time=9.0, seconds=8.0, traffic=Traffic(1, 2, 3, 4), attributes=b"later")
        spool.note([later])
    async with spooling(path, disk) as (spool, _):
        spool.acknowledge(spool.take("a"))
        stop = spool.take("a")
        assert (stop.kind, stop.time, stop.attributes) == (STOP, 9.0, b"stop of later")


async def test_a_stop_closes_its_session(path, disk, autojump_clock):
    async with spooling(path, disk) as (spool, _):
        put(spool, START)
        await put(spool, STOP).wait()
    assert on_disk(path) == ([("a", "start"), ("a", "stop")], [])


async def test_records_are_sent_from_memory_while_the_disk_fails(path, disk, autojump_clock, log_events):
    disk.broken = True
    async with spooling(path, disk) as (spool, ready):
        await put(spool, START).wait()
        assert ready == ["a"]
        start = spool.take("a")
        await put(spool, STOP).wait()
        assert spool.acknowledge(start) is True
        await trio.sleep(3 * RETRY_INTERVAL)
        disk.broken = False
        await trio.sleep(2 * RETRY_INTERVAL)
    assert on_disk(path) == ([("a", "stop")], [])
    assert [entry["event"] for entry in log_events] == [
        "accounting spool cannot be written",
        "accounting spool is written again",
    ]


async def test_a_failing_disk_is_tried_again_at_intervals(path, disk, autojump_clock):
    disk.broken = True
    async with spooling(path, disk) as (spool, ready):
        put(spool, START)
        await trio.sleep(10 * RETRY_INTERVAL)
        assert 8 <= disk.writes <= 11
        assert ready == ["a"], "once, not with each try"


async def test_what_is_pending_at_the_end_is_written(path, disk, autojump_clock):
    async with spooling(path, disk) as (spool, _):
        put(spool, START)
    assert on_disk(path) == ([("a", "start")], ["a"])


async def test_a_disk_that_fails_at_the_end_is_in_the_log(path, log_events):
    file = SpoolFile(path)
    spool = Spool(file, 10, stop_of)
    put(spool, START)
    file.close()
    spool.close()
    assert [entry["event"] for entry in log_events] == ["accounting spool cannot be written"]


async def test_a_full_spool_is_logged_once_until_it_has_emptied(path, disk, autojump_clock, log_events):
    async with spooling(path, disk, limit=10) as (spool, _):
        for number in range(20):
            await put(spool, INTERIM, str(number)).wait()
        assert len(spool.backlog) == 10
        for session_id in spool.sessions_to_send():
            spool.acknowledge(spool.take(session_id))
        for number in range(10):
            await put(spool, START, f"b{number}").wait()
    assert [(entry["event"], entry["records"]) for entry in log_events] == [("accounting spool is full", 10)] * 2


async def test_dropped_interims_leave_the_disk_and_their_sessions_stay_open(path, disk, autojump_clock):
    async with spooling(path, disk, limit=1) as (spool, _):
        await put(spool, INTERIM, "a").wait()
        await put(spool, START, "b").wait()
    assert on_disk(path) == ([("b", "start")], ["a", "b"])


async def test_it_tells_when_it_is_empty(path, disk, autojump_clock):
    async with spooling(path, disk) as (spool, _):
        await spool.wait_until_empty()
        put(spool, START)
        assert not spool.is_empty
        with trio.move_on_after(10) as waiting:
            await spool.wait_until_empty()
        assert waiting.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spool.wait_until_empty)
            await trio.sleep(1)
            spool.acknowledge(spool.take("a"))


async def test_a_file_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(SpoolError):
        async with open_spool(tmp_path, 10, stop_of):
            pass


async def test_in_real_time_the_writer_is_a_thread(path):
    async with open_spool(path, 10, stop_of) as spool:
        await put(spool, START).wait()
        assert spool.take("a").kind is START
