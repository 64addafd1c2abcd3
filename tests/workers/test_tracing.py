"""Levels and traces with several workers: what the parent is told counts in all, also those that come later."""

import trio

from poptrio.observe.areas import Levels
from poptrio.server.tracing import Subject
from poptrio.testing.server import CLIENT_ADDRESS

OTHER = CLIENT_ADDRESS + 1


def traced(log):
    return {entry["peer"] for entry in log.named("ppp packet")}


async def test_a_trace_reaches_every_worker(fleet, log, autojump_clock):
    async with fleet() as two:
        await two.dial(0, peer=CLIENT_ADDRESS)
        await two.dial(1, peer=OTHER)
        two.parent.tracing.trace(Subject("user", "alice"), 3600.0)
        await trio.sleep(40)
        assert traced(log) == {str(CLIENT_ADDRESS), str(OTHER)}
        assert two.parent.tracing.end_traces() == 1
        await trio.sleep(1)
        lines = len(log.named("ppp packet"))
        await trio.sleep(100)
        assert len(log.named("ppp packet")) == lines


async def test_a_worker_that_comes_later_knows_of_it(fleet, log, autojump_clock):
    async with fleet() as two:
        two.parent.tracing.trace(Subject("peer", str(CLIENT_ADDRESS)), 100.0)
        two.parent.tracing.change_levels(Levels("info", {"connection": "debug"}))
        two.sides[1].kill()
        await two.sides[1].ended.wait()
        await two.replace(1)
        await two.dial(1, peer=CLIENT_ADDRESS)
        assert traced(log) == {str(CLIENT_ADDRESS)}
        tracing = two.sides[1].worker.server.tracing
        assert tracing.levels.areas == {"connection": "debug"}
        await trio.sleep(200)
        assert two.parent.tracing.traces == tracing.traces == {}
