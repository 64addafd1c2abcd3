"""Totals over calls that come, count and go while they are added up."""

import random

import trio

from poptrio.datapath.base import PathCounters
from poptrio.server.path_totals import SLICE, PathTotals
from poptrio.server.refusals import LABELS, label_of


class Counting:
    def __init__(self):
        self.counters = PathCounters()


async def test_no_total_is_less_than_an_earlier_one_whatever_ends_meanwhile():
    totals, dice, calls, seen = PathTotals(), random.Random(1), [], []
    everything = 0

    async def count():
        while True:
            seen.append((await totals.total(lambda: list(calls)))["lost"])

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(count)
        for _ in range(300):
            calls += [Counting() for _ in range(dice.randrange(SLICE))]
            for call in dice.sample(calls, len(calls) // 3):
                call.counters.lost += 1
                everything += 1
            for call in dice.sample(calls, len(calls) // 3):
                calls.remove(call)
                totals.call_ended(call.counters)
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert len(seen) > 50
    assert seen == sorted(seen)
    assert (await totals.total(lambda: calls))["lost"] == everything


async def test_times_are_not_added_up():
    totals, call = PathTotals(), Counting()
    call.counters.last_received = 5.0
    call.counters.bytes_in = 3
    assert await totals.total(lambda: [call]) == {"bytes_in": 3}


def test_the_label_of_a_refusal_is_one_of_few():
    assert label_of("5 calls (server.max_calls)") == "max-calls"
    assert label_of("the server is stopping") == "stopping"
    assert label_of("the server is draining: later") == "draining"
    assert label_of("a client may only send Outgoing-Call-Request, not X") == "wrong-request"
    assert len(LABELS) == len(set(LABELS)) == 11
    assert label_of("bob is not welcome (server.bob)") == label_of("") == "plugin"
