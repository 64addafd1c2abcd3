"""The driver between a path and a session: order, deadlines, and sessions that raise."""

import pytest
import trio
from structlog.testing import capture_logs

from poptrio.datapath.base import PathCounters
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.session import Phase
from poptrio.runtime.ppp_driver import PppDriver
from poptrio.runtime.ticker import Ticker
from poptrio.testing.ppp_notation import frame_from_line


class Session:
    """A session that does as a test says."""

    def __init__(self):
        self.phase = Phase.ESTABLISH
        self.events, self.frames, self.calls = [], [], []
        self.deadline = float("inf")

    def start(self, now):
        self.calls.append(("start", now))

    def receive_frame(self, frame, now):
        if frame == b"boom":
            raise ZeroDivisionError("boom")
        self.calls.append((frame, now))

    def peer_heard(self, last_packet):
        self.calls.append(("peer heard", last_packet))

    def handle_timeout(self, now):
        self.calls.append(("timeout", now))
        self.deadline = float("inf")

    def next_event(self):
        return self.events.pop(0) if self.events else None

    def frames_to_send(self):
        frames, self.frames = self.frames, []
        return frames

    def next_deadline(self):
        return self.deadline


class Path:
    """A path that remembers what it was told, in order."""

    def __init__(self):
        self.told = []
        self.counters = PathCounters()

    def __getattr__(self, name):
        return lambda *args: self.told.append((name, *args))


@pytest.fixture
async def parts(nursery, autojump_clock):
    ticker, session, path = Ticker(), Session(), Path()
    nursery.start_soon(ticker.run)
    heard = []
    driver = PppDriver(session, ticker, heard.append, heard.append)
    return driver, session, path, heard


async def test_the_path_learns_settings_before_frames_leave(parts, autojump_clock):
    driver, session, path, heard = parts
    session.events = [events.EncryptionChanged(None, None), events.EncryptionReset(), events.NetworkDown()]
    session.frames = [b"ack"]
    driver.start(path)
    assert [name for name, *_ in path.told] == ["set_encryption", "reset_encryption", "close_network", "send_frame"]
    assert heard == []


async def test_deadlines_ring_until_closed(parts, autojump_clock):
    driver, session, path, _ = parts
    session.deadline = 5.0
    driver.start(path)
    await trio.sleep(6)
    assert session.calls == [("start", 0.0), ("timeout", 5.0)]
    session.deadline = 10.0
    driver.frame_arrived(b"frame", False)
    driver.close()
    await trio.sleep(20)
    assert session.calls[-1] == (b"frame", 6.0)
    assert driver.heard == 6.0


async def test_a_session_that_raises_ends_once(parts, autojump_clock):
    driver, session, path, heard = parts
    driver.start(path)
    session.deadline = 50.0
    with capture_logs() as log:
        driver.frame_arrived(b"boom", False)
        driver.frame_arrived(b"boom", False)
        driver.frame_arrived(b"frame", False)
        await trio.sleep(100)
    assert [entry["event"] for entry in log] == ["internal error"]
    assert heard == [events.SessionEnded(CauseOfEnd.INTERNAL_ERROR, "ZeroDivisionError('boom')")]
    assert driver.over.is_set()
    assert path.told == [("close_network",)]
    assert session.calls == [("start", 0.0)]


async def test_goodbye_waits_for_the_end_and_not_longer_than_told(parts, autojump_clock):
    driver, session, path, _ = parts
    driver.start(path)
    said = []
    await driver.say_goodbye(lambda: said.append(trio.current_time()), 3.0)
    assert (said, trio.current_time()) == ([0.0], 3.0)
    session.events = [events.SessionEnded(CauseOfEnd.CLIENT_HUNG_UP, "")]
    await driver.say_goodbye(lambda: None, 3.0)
    assert trio.current_time() == 3.0
    await driver.say_goodbye(lambda: said.append("again"), 3.0)
    assert said == [0.0]


async def test_what_the_path_says(parts, autojump_clock):
    driver, _, path, heard = parts
    driver.start(path)
    driver.path_failed("the TUN is gone")
    assert heard == ["the TUN is gone"]


async def test_what_the_data_path_heard_is_told_before_a_deadline_is_served(parts, autojump_clock):
    driver, session, path, _ = parts
    session.deadline = 5.0
    driver.start(path)
    path.counters.gre_received, path.counters.last_received = 3, 4.5
    await trio.sleep(6)
    assert session.calls == [("start", 0.0), ("peer heard", 4.5), ("timeout", 5.0)]


async def test_the_trace_has_both_directions_and_no_secrets(nursery, autojump_clock):
    ticker, session, path, lines = Ticker(), Session(), Path(), []
    driver = PppDriver(session, ticker, lines.append, lines.append, lines.append)
    session.frames = [frame_from_line("LCP TermReq 2")]
    driver.start(path)
    driver.frame_arrived(frame_from_line("PAP AuthReq 1 user=alice password=geheim"), False)
    assert lines == ["sent [LCP TermReq 2]", "received [PAP AuthReq 1 user=alice password=(hidden)]"]
