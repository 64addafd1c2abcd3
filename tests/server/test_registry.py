"""Call IDs and the counts of the registry."""

import itertools
import random
from collections import Counter
from ipaddress import IPv4Address

from poptrio.config import Config
from poptrio.server.call_rate import MOST_ADDRESSES, CallRate
from poptrio.server.registry import CALL_ID_REST, CallIds, Registry

PEER = IPv4Address("203.0.113.9")


def test_all_call_ids_are_handed_out_once_and_then_none():
    call_ids = CallIds(random.Random(1))
    taken = [call_ids.take(0.0) for _ in range(0xFFFF)]
    assert sorted(taken) == list(range(1, 0x10000))
    assert call_ids.take(0.0) is None


def test_a_call_id_rests():
    call_ids = CallIds(random.Random(1))
    taken = [call_ids.take(0.0) for _ in range(0xFFFF)]
    call_ids.give_back(taken[5], 100.0)
    call_ids.give_back(taken[6], 101.0)
    assert call_ids.take(100.0 + CALL_ID_REST - 0.001) is None
    assert call_ids.take(100.0 + CALL_ID_REST) == taken[5]
    assert call_ids.take(100.0 + CALL_ID_REST) is None
    assert call_ids.take(101.0 + CALL_ID_REST) == taken[6]


def test_a_call_id_that_nobody_was_told_needs_no_rest():
    call_ids = CallIds(random.Random(1))
    taken = [call_ids.take(0.0) for _ in range(0xFFFF)]
    call_ids.give_back(taken[5], 0.0, told=False)
    assert call_ids.take(0.0) == taken[5]
    assert call_ids.take(0.0) is None


class Counting(random.Random):
    draws = 0

    def randrange(self, *bounds):
        self.draws += 1
        return super().randrange(*bounds)


def test_the_last_call_ids_are_found_by_one_draw_each():
    dice = Counting(1)
    call_ids = CallIds(dice)
    for _ in range(0xFFFF):
        call_ids.take(0.0)
    assert dice.draws == 0xFFFF


def test_the_rate_of_calls_of_each_address():
    rate = CallRate(per_second=2.0, burst=3.0)
    assert [rate.take(PEER, 0.0) for _ in range(4)] == [True, True, True, False]
    assert rate.take(PEER + 1, 0.0)
    assert [rate.take(PEER, 1.0) for _ in range(3)] == [True, True, False]
    assert [rate.take(PEER, 100.0) for _ in range(4)] == [True, True, True, False]


def test_the_rate_remembers_so_many_addresses():
    rate = CallRate()
    for number in range(MOST_ADDRESSES + 5):
        rate.take(PEER + number, 0.0)
    assert len(rate._buckets) == MOST_ADDRESSES


def test_call_ids_do_not_follow_each_other():
    call_ids = CallIds()
    taken = [call_ids.take(0.0) for _ in range(1000)]
    steps = Counter(after - before for before, after in itertools.pairwise(taken))
    assert max(steps.values()) < 10


def test_strangers_are_counted_until_they_are_known_and_only_once():
    limits = Config.parse("[server]\nmax_unauthenticated = 3\nmax_unauthenticated_per_address = 2").server
    registry = Registry(limits)
    strangers = [registry.stranger(PEER) for _ in range(2)]
    assert registry.refuse_stranger(PEER).startswith("2 unauthenticated")
    assert registry.refuse_stranger(IPv4Address("203.0.113.10")) is None
    for stranger in strangers * 2:
        stranger.known()
    assert registry.refuse_stranger(PEER) is None
    assert not registry._strangers_of
