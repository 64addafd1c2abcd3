"""Delivery: order within a session, several at a time, patience with silent servers, Accounting-On before the rest."""

import itertools
from contextlib import asynccontextmanager

import pytest
import structlog
import trio

from poptrio.api import AccountingKind
from poptrio_radius.attributes import Attributes
from poptrio_radius.backlog import Backlog
from poptrio_radius.delivery import LONGEST_PAUSE, Delivery
from poptrio_radius.packets import Code, Request
from poptrio_radius.spool_file import Record

START, INTERIM, STOP = AccountingKind.START, AccountingKind.INTERIM, AccountingKind.STOP


class Source:
    """A spool without a disk."""

    def __init__(self):
        self.backlog = Backlog(1000)
        self.ready = lambda session_id: None
        self.number = 0

    def put(self, session_id, kind=START):
        self.number += 1
        self.backlog.add(
            Record(number=self.number, session_id=session_id, kind=kind, time=float(self.number), attributes=b"")
        )
        self.ready(session_id)

    def sessions_to_send(self):
        return self.backlog.sessions()

    def take(self, session_id):
        return self.backlog.take(session_id)

    def acknowledge(self, record):
        self.backlog.acknowledge(record)
        return self.backlog.has(record.session_id)

    def put_back(self, record):
        self.backlog.put_back(record)
        return self.backlog.has(record.session_id)


class Servers:
    """Answers what it is told to, after ``delay`` seconds; ``arrived`` are the records, ``tried`` all that was sent."""

    def __init__(self, delay=0.01):
        self.delay = delay
        self.up = True
        self.deaf = set()
        self.tried = []
        self.arrived = []
        self.under_way = 0
        self.most_under_way = 0

    async def send(self, request):
        what = request.attributes.text("User-Name")
        self.tried.append((trio.current_time(), what))
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        await trio.sleep(self.delay)
        self.under_way -= 1
        if self.up and what not in self.deaf:
            self.arrived.append(what)
            return True
        return False


def named(text):
    attributes = Attributes()
    attributes.add("User-Name", text)
    return Request(Code.ACCOUNTING_REQUEST, attributes)


ON = named("On")


def encode(record):
    return named(f"{record.session_id} {record.kind.value}")


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def servers():
    return Servers()


@asynccontextmanager
async def delivering(source, servers, **options):
    delivery = Delivery(source, servers.send, encode, seed=1, **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery.run)
        yield delivery
        nursery.cancel_scope.cancel()


async def test_records_of_a_session_arrive_in_order(source, servers, autojump_clock):
    async with delivering(source, servers):
        for kind in (START, INTERIM, STOP):
            source.put("a", kind)
            await trio.sleep(0.001)  # the answer to the Start takes longer
        await trio.sleep(1)
    assert servers.arrived == ["a start", "a stop"], "the stop covers the interim that had not been sent"


async def test_what_is_there_already_is_sent(source, servers, autojump_clock):
    source.put("a")
    async with delivering(source, servers):
        await trio.sleep(1)
    assert servers.arrived == ["a start"]


async def test_several_sessions_go_at_a_time_but_not_too_many(source, servers, autojump_clock):
    async with delivering(source, servers, concurrency=4):
        for number in range(10):
            source.put(str(number))
        await trio.sleep(1)
    assert sorted(servers.arrived) == [f"{number} start" for number in range(10)]
    assert servers.most_under_way == 4


async def test_a_silent_server_is_tried_with_one_record_at_a_time_of_another_session_each(
    source, servers, autojump_clock
):
    servers.up = False
    async with delivering(source, servers, concurrency=4) as delivery:
        for number in range(8):
            source.put(str(number))
        await trio.sleep(60)
        assert delivery.is_silent
        first, later = servers.tried[:4], servers.tried[4:]
        assert {at for at, _ in first} == {0.0}
        assert [what for _, what in later[:4]] == [f"{number} start" for number in range(4, 8)]
        gaps = [after - before for (before, _), (after, _) in itertools.pairwise(later)]
        assert all(gap > 0.8 for gap in gaps)
        servers.up = True
        await trio.sleep(LONGEST_PAUSE * 1.2 + 1)
        assert not delivery.is_silent
    assert sorted(servers.arrived) == [f"{number} start" for number in range(8)]


async def test_the_log_says_once_that_nobody_answers_and_that_somebody_does(source, servers, autojump_clock):
    servers.up = False
    with structlog.testing.capture_logs() as logs:
        async with delivering(source, servers):
            source.put("a")
            await trio.sleep(100)
            servers.up = True
            await trio.sleep(100)
    assert [entry["event"] for entry in logs] == ["no accounting server answers", "accounting servers answer again"]


async def test_a_record_that_is_never_answered_holds_up_its_own_session_only(source, servers, autojump_clock):
    servers.deaf = {"a start"}
    async with delivering(source, servers):
        source.put("a")
        source.put("a", STOP)
        for number in range(300):
            source.put(str(number))
            await trio.sleep(1)
    assert len(servers.arrived) == 300
    assert "a stop" not in servers.arrived
    assert 5 < sum(what == "a start" for _, what in servers.tried) < 20


async def test_an_interim_that_found_nobody_gives_way_to_the_stop(source, servers, autojump_clock):
    servers.up = False
    async with delivering(source, servers):
        source.put("a", INTERIM)
        await trio.sleep(0.001)
        source.put("a", STOP)
        await trio.sleep(1)
        servers.up = True
        await trio.sleep(100)
    assert servers.arrived == ["a stop"]


async def test_a_session_whose_records_were_dropped_meanwhile_can_be_sent_later(source, servers, autojump_clock):
    source.backlog = Backlog(1)
    async with delivering(source, servers):
        source.put("a", INTERIM)
        source.put("b", START)
        await trio.sleep(1)
        assert servers.arrived == ["b start"]
        source.put("a", STOP)
        await trio.sleep(1)
    assert servers.arrived == ["b start", "a stop"]


class TestAccountingOn:
    async def test_it_comes_after_what_an_earlier_run_left_and_before_the_rest(self, source, servers, autojump_clock):
        source.put("old", STOP)
        async with delivering(source, servers, on=ON) as delivery:
            source.put("new")
            assert delivery.is_held
            await trio.sleep(1)
            assert not delivery.is_held
            source.put("newer")
            await trio.sleep(1)
        assert servers.arrived == ["old stop", "On", "new start", "newer start"]

    async def test_it_comes_first_when_nothing_was_left(self, source, servers, autojump_clock):
        async with delivering(source, servers, on=ON):
            source.put("new")
            source.put("new", STOP)
            await trio.sleep(1)
        assert servers.arrived == ["On", "new start", "new stop"]

    async def test_a_server_that_is_down_at_the_start_gets_all_in_order_later(self, source, servers, autojump_clock):
        servers.up = False
        source.put("old", START)
        source.put("old", STOP)
        async with delivering(source, servers, on=ON):
            source.put("new")
            await trio.sleep(3)
            servers.up = True
            await trio.sleep(100)
        assert servers.arrived == ["old start", "old stop", "On", "new start"]

    async def test_an_old_record_that_is_never_answered_does_not_hold_up_everything(
        self, source, servers, autojump_clock
    ):
        servers.deaf = {"old stop"}
        source.put("old", STOP)
        async with delivering(source, servers, on=ON):
            source.put("new")
            await trio.sleep(200)
            servers.deaf = set()
            await trio.sleep(100)
        assert servers.arrived == ["On", "new start", "old stop"]

    async def test_a_server_that_never_answers_it_gets_the_rest_without(self, source, servers, autojump_clock):
        servers.deaf = {"On"}
        with structlog.testing.capture_logs() as logs:
            async with delivering(source, servers, on=ON) as delivery:
                source.put("new")
                source.put("other")
                await trio.sleep(200)
                assert not delivery.is_held
        assert servers.arrived == ["new start", "other start"]
        assert "Accounting-On is not acknowledged" in [entry["event"] for entry in logs]
        tried = [at for at, what in servers.tried if what == "On"]
        assert all(at < 60 for at in tried), "it would end the sessions that came up meanwhile"
