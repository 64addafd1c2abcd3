"""What the plugin tells operators of servers, the spool and dynamic authorizations."""

import random
import time

import pytest
import trio
from peer import SECRET, Peer, answers, attributes, silent
from test_coa import Asker
from trio.testing import wait_all_tasks_blocked

from poptrio.api import AccountingKind, Histogram, Traffic
from poptrio_radius.channels import Channels
from poptrio_radius.metrics import METRICS, health, measurements
from poptrio_radius.packets import Code, Request
from poptrio_radius.plugin import Radius
from poptrio_radius.server import Patience, Server
from poptrio_radius.server_pool import NoReply, ServerPool
from poptrio_radius.spool import open_spool
from poptrio_radius.spool_file import OpenSession

ACCESS = Request(Code.ACCESS_REQUEST, attributes(User_Name="bob"))


class Field:
    """A pool of one scripted server."""

    def __init__(self, nursery, script, purpose="authentication"):
        self.peer = Peer(nursery, script)
        channels = Channels(self.peer.open_link, SECRET, nursery)
        self.server = Server("192.0.2.1:1812", purpose, channels, Patience(), random.Random(1))
        self.pool = ServerPool([self.server], Patience(), "listed", random.Random(1))

    async def ask(self):
        return await self.pool.ask(ACCESS, trio.current_time() + 20)


def told(*servers, spool=None, coa=None):
    """Values by name and labels; of histograms their count."""
    return {
        (one.metric.name, *one.labels): one.value.count if isinstance(one.value, Histogram) else one.value
        for one in measurements(servers, spool, coa)
    }


LABELS = "192.0.2.1:1812", "authentication"


async def test_round_trips_rejects_and_timeouts_of_a_server(nursery, autojump_clock):
    one = Field(nursery, answers(Code.ACCESS_REJECT, after=0.2))
    await one.ask()
    values = told(one.server)
    assert values["requests", *LABELS] == values["round_trip_seconds", *LABELS] == 1
    assert values["replies", *LABELS, "Access-Reject"] == values["server_up", *LABELS] == 1
    assert dict(one.server.counters.round_trips.cumulative())[0.1] == 0
    one.peer.script = silent
    await trio.sleep(1)
    with pytest.raises(NoReply):
        await one.ask()
    values = told(one.server)
    assert (values["timeouts", *LABELS], values["retransmissions", *LABELS], values["server_up", *LABELS]) == (1, 2, 0)


async def test_a_purpose_without_a_server_that_lives_is_no_good_health(nursery, autojump_clock):
    good, bad = Field(nursery, answers()), Field(nursery, silent, "accounting")
    assert health([good.server, bad.server], None).ok
    with pytest.raises(NoReply):
        await bad.ask()
    told = health([good.server, bad.server], None)
    assert not told.ok
    assert told.sentence == "no accounting server answers: 192.0.2.1:1812"
    assert told.remedy
    assert told.details == {"authentication 192.0.2.1:1812": "alive", "accounting 192.0.2.1:1812": "dead"}


async def write_at_once(write, batch):
    write(batch)


async def test_depth_and_age_of_the_spool(tmp_path, autojump_clock):
    begun = time.time() - 100
    async with open_spool(tmp_path / "spool", 2, lambda session: b"", write_at_once) as spool:
        assert told(spool=spool)["spool_oldest_record_age_seconds",] == 0
        for number in range(3):
            session = OpenSession(session_id=f"s{number}", time=begun, seconds=1.0, traffic=Traffic(), attributes=b"x")
            spool.put(AccountingKind.START, f"s{number}", begun + number, b"x", session)
        assert told(spool=spool)["spool_records",] == 3, "also what is not on the disk yet"
        await wait_all_tasks_blocked()
        values = told(spool=spool)
        assert (values["spool_records",], values["spool_records_max",], values["spool_failing",]) == (3, 2, False)
        assert 100 <= values["spool_oldest_record_age_seconds",] < 160
        assert health([], spool).sentence == "the accounting spool is full"
        for session_id in spool.sessions_to_send()[:2]:
            spool.acknowledge(spool.take(session_id))
        assert told(spool=spool)["spool_records",] == 1
        assert told(spool=spool)["spool_oldest_record_age_seconds",] < 158
        assert health([], spool).ok


def test_dynamic_authorizations_by_what_came_of_them():
    asker = Asker()
    asker.disconnect(User_Name="nobody")
    request = asker.request(Code.COA_REQUEST, User_Name="nobody", Session_Timeout=5)
    asker.send(request)
    asker.send(request)
    asker.send(b"nonsense")
    values = told(coa=asker.server)
    assert values == {
        ("dynamic_authorizations", "disconnect", "refused"): 1,
        ("dynamic_authorizations", "change", "refused"): 1,
        ("dynamic_authorizations", "unknown", "repeated"): 1,
        ("dynamic_authorizations", "unknown", "dropped"): 1,
    }


async def test_everything_that_is_told_is_in_the_table(nursery, tmp_path, autojump_clock):
    asker, one = Asker(), Field(nursery, answers())
    asker.send(b"nonsense")
    await one.ask()
    one.server.counters.dropped["nobody waits"] += 1
    async with open_spool(tmp_path / "spool", 2, lambda session: b"", write_at_once) as spool:
        seen = {one.metric for one in measurements([one.server, one.server], spool, asker.server)}
    assert seen == set(METRICS)


def test_a_plugin_that_has_not_begun_tells_nothing():
    assert list(Radius().poptrio_measurements()) == []
    assert Radius().poptrio_health().ok
