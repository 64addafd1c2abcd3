"""What a parent asks a worker is done in the order in which it was asked, however long the worker takes to start."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.config import Config
from poptrio.workers import messages
from poptrio.workers.channel import Channel


@pytest.mark.parametrize("last", [True, False])
async def test_the_last_order_counts(nursery, side, last, autojump_clock):
    worker = side(Config(), 0, 2)
    parent = Channel(worker.stream, lambda message: None, lambda question: None)
    answers = []

    async def ask(draining):
        answers.append(await parent.ask(messages.Drain(draining)))

    nursery.start_soon(parent.run)
    nursery.start_soon(worker.worker.run)
    orders = [not last, last] * 4
    for draining in orders:
        nursery.start_soon(ask, draining)
        await wait_all_tasks_blocked()
    parent.tell(worker._begin)
    await trio.sleep(1)
    assert answers == [messages.Done()] * len(orders)
    assert worker.worker.server.draining is last
    parent.tell(messages.Stop())
