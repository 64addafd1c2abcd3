"""A bell wakes the one task that waits for it."""

import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.runtime.bell import Bell


async def test_rung_while_nobody_waits_it_lets_one_through(autojump_clock: trio.testing.MockClock):
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.wait()
    with trio.move_on_after(1.0) as scope:
        await bell.wait()
    assert scope.cancelled_caught


async def test_it_wakes_who_waits(autojump_clock: trio.testing.MockClock):
    bell = Bell()
    woken: list[float] = []

    async def sleep() -> None:
        for _ in range(2):
            await bell.wait()
            woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        begun = trio.current_time()
        nursery.start_soon(sleep)
        for _ in range(2):
            await trio.sleep(3.0)
            bell.ring()
    assert [when - begun for when in woken] == [3.0, 6.0]


async def test_who_was_cancelled_is_not_woken():
    bell = Bell()

    async def sleep() -> None:
        await bell.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    bell.ring()
    await bell.wait()
