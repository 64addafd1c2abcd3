"""The one task for all alarms: order, moves, and nothing that rings after it was closed."""

import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.runtime.ticker import AT_ONCE, Ticker


class Bell:
    """An alarm that remembers when it rang."""

    def __init__(self, ticker, name="", log=None):
        self.rang = []
        self.name = name
        self.log = log if log is not None else []
        self.alarm = ticker.alarm(self.ring)

    def ring(self, now):
        assert now == trio.current_time()
        self.rang.append(now)
        self.log.append(self.name)


async def test_alarms_ring_in_the_order_of_their_deadlines(nursery, autojump_clock):
    ticker, log = Ticker(), []
    nursery.start_soon(ticker.run)
    bells = {name: Bell(ticker, name, log) for name in "abc"}
    for name, deadline in (("a", 3), ("b", 1), ("c", 2)):
        bells[name].alarm.set(deadline)
    await trio.sleep(10)
    assert log == ["b", "c", "a"]
    assert [bells[name].rang for name in "abc"] == [[3], [1], [2]]


async def test_an_alarm_set_while_the_ticker_sleeps_longer(nursery, autojump_clock):
    ticker = Ticker()
    nursery.start_soon(ticker.run)
    late, early = Bell(ticker), Bell(ticker)
    late.alarm.set(100)
    await wait_all_tasks_blocked()
    early.alarm.set(5)
    await trio.sleep(6)
    assert (early.rang, late.rang) == ([5], [])


async def test_a_moved_alarm_rings_once_at_its_last_deadline(nursery, autojump_clock):
    ticker = Ticker()
    nursery.start_soon(ticker.run)
    bell = Bell(ticker)
    for deadline in (5, 9, 3, 20, 7, 7, 12):
        bell.alarm.set(deadline)
    await trio.sleep(50)
    assert bell.rang == [12]
    assert not ticker._alarms


async def test_an_alarm_that_is_moved_all_the_time_costs_one_entry(nursery, autojump_clock):
    ticker = Ticker()
    nursery.start_soon(ticker.run)
    bell = Bell(ticker)
    for number in range(1000):
        bell.alarm.set(10 + number / 100)
    assert sum(map(len, ticker._alarms.values())) == 1


async def test_infinity_and_close_mean_never(nursery, autojump_clock):
    ticker = Ticker()
    nursery.start_soon(ticker.run)
    unset, closed, reset = (Bell(ticker) for _ in range(3))
    for bell in (unset, closed, reset):
        bell.alarm.set(5)
    unset.alarm.set(float("inf"))
    closed.alarm.close()
    closed.alarm.set(6)
    reset.alarm.set(float("inf"))
    reset.alarm.set(8)
    await trio.sleep(50)
    assert (unset.rang, closed.rang, reset.rang) == ([], [], [8])
    assert not ticker._alarms


async def test_an_alarm_may_be_set_from_its_own_ring(nursery, autojump_clock):
    ticker, rang = Ticker(), []

    def ring(now):
        rang.append(now)
        if len(rang) < 3:
            alarm.set(now + 10)

    nursery.start_soon(ticker.run)
    alarm = ticker.alarm(ring)
    alarm.set(10)
    await trio.sleep(100)
    assert rang == [10, 20, 30]


async def test_one_alarm_may_close_another_that_is_due(nursery, autojump_clock):
    ticker = Ticker()
    nursery.start_soon(ticker.run)
    victim = Bell(ticker)
    killer = ticker.alarm(lambda now: victim.alarm.close())
    killer.set(5)
    victim.alarm.set(5)
    await trio.sleep(10)
    assert victim.rang == []


async def test_others_have_a_turn_while_many_alarms_ring(nursery, autojump_clock):
    ticker, done = Ticker(), []
    nursery.start_soon(ticker.run)

    async def other() -> None:
        await trio.sleep(9)
        while len(done) < 6 * AT_ONCE:
            done.append("other")
            await trio.lowlevel.checkpoint()

    bells = [ticker.alarm(done.append) for _ in range(3 * AT_ONCE)]
    for bell in bells:
        bell.set(9)
    nursery.start_soon(other)
    await trio.sleep(10)
    rang = [number for number, what in enumerate(done) if what != "other"]
    assert len(rang) == len(bells)
    assert "other" in done[rang[0] : rang[-1]]
