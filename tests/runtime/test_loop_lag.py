"""The lag of the event loop, with a clock that a test moves on."""

import trio
import trio.testing

from poptrio.runtime.loop_lag import INTERVAL, SLOT, WINDOW, LoopLag


async def test_nothing_is_late_where_nothing_takes_time(nursery, autojump_clock):
    lag = LoopLag()
    nursery.start_soon(lag.run)
    await trio.sleep(INTERVAL * 10 + 0.01)
    assert (lag.histogram.count, lag.longest) == (10, 0)
    nursery.cancel_scope.cancel()


async def test_a_task_that_keeps_the_thread_is_seen(nursery, mock_clock):
    lag = LoopLag()
    nursery.start_soon(lag.run)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(INTERVAL + 0.3)  # as if somebody had computed for so long
    await trio.testing.wait_all_tasks_blocked()
    assert lag.histogram.count == 1
    assert abs(lag.longest - 0.3) < 1e-9
    assert dict(lag.histogram.cumulative())[0.25] == 0
    nursery.cancel_scope.cancel()


async def test_the_longest_lag_is_forgotten_after_the_window_and_by_no_reader(autojump_clock):
    lag = LoopLag()
    lag.observe(0.3)
    lag.observe(0.1)
    for _ in range(int(WINDOW)):
        await trio.sleep(1)
        lag.observe(0.001)
        assert lag.longest == 0.3
    await trio.sleep(SLOT)
    assert lag.longest == 0.001
    await trio.sleep(WINDOW + SLOT)
    assert lag.longest == 0


async def test_what_was_taken_is_counted_once():
    lag, total = LoopLag(), LoopLag()
    lag.observe(0.2)
    total.add(lag.taken())
    total.add(lag.taken())
    lag.observe(0.1)
    total.add(lag.taken())
    assert (total.histogram.count, total.longest, lag.histogram.count) == (2, 0.2, 0)
    assert lag.taken().longest == 0
    assert abs(total.histogram.sum - 0.3) < 1e-9
