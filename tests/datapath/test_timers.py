"""The timer of a data path: right times, right order, no wake-ups while nobody waits."""

import itertools

import trio

from poptrio.datapath.timers import Timers


async def test_actions_come_at_their_times_in_their_order(autojump_clock, nursery):
    timers = Timers()
    seen = []
    start = trio.current_time()

    def note(name):
        return lambda now: seen.append((name, round(now - start, 6)))

    timers.call_at(start + 2, note("before run"))
    nursery.start_soon(timers.run)
    await trio.sleep(0.5)
    timers.call_at(start + 3, note("later"))
    timers.call_at(start + 1, note("earlier than the one slept for"))
    timers.call_at(start + 1, note("same time, came second"))
    timers.call_at(start - 1, note("past"))
    await trio.sleep(5)
    assert seen == [
        ("past", 0.5),
        ("earlier than the one slept for", 1.0),
        ("same time, came second", 1.0),
        ("before run", 2.0),
        ("later", 3.0),
    ]


async def test_an_action_may_ask_for_the_next(autojump_clock, nursery):
    timers = Timers()
    times = []

    def again(now):
        times.append(now)
        if len(times) < 5:
            timers.call_at(now + 1, again)

    nursery.start_soon(timers.run)
    timers.call_at(trio.current_time() + 1, again)
    await trio.sleep(10)
    assert [round(later - earlier, 6) for earlier, later in itertools.pairwise(times)] == [1.0] * 4


async def test_the_task_sleeps_while_nobody_waits(autojump_clock, nursery):
    timers = Timers()
    nursery.start_soon(timers.run)
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
