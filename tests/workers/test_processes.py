"""The keeper of a worker: what it does when the process cannot start, dies, or dies again and again."""

import pytest
import trio

from poptrio.config import Config
from poptrio.errors import ConfigError, ConfigFault
from poptrio.server.local_authority import LocalAuthority
from poptrio.testing.server import load
from poptrio.workers import processes
from poptrio.workers.messages import Begin, Failed
from poptrio.workers.parent import Parent

CONFIG = Config.parse("[server]\nworkers = 2")


class Lives:
    """Takes the place of processes: each lives for so many seconds, and None never becomes ready."""

    def __init__(self, *seconds, failed=None):
        self.seconds = list(seconds)
        self.begun = []
        self.failed = failed

    async def live(self, task_status):
        self.begun.append(trio.current_time())
        life = processes._Life(exit_status=-9, failed=self.failed)
        seconds = self.seconds.pop(0) if self.seconds else None
        if seconds is None:
            return life
        life.ready = True
        task_status.started()
        await trio.sleep(seconds)
        return life


@pytest.fixture
def keeper(nursery):
    parent = Parent(CONFIG, LocalAuthority(CONFIG, load([])), nursery)
    return processes._Keeper(parent, Begin(CONFIG, 1, 2, ask_first=False))


async def run(keeper, lives, nursery, monkeypatch):
    monkeypatch.setattr(keeper, "_live", lives.live)
    await nursery.start(keeper.run)


async def test_a_worker_that_dies_is_replaced_at_once(keeper, nursery, log, monkeypatch, autojump_clock):
    lives = Lives(1000.0, 1000.0, 1000.0)
    await run(keeper, lives, nursery, monkeypatch)
    await trio.sleep(2500.0)
    assert lives.begun == [0.0, 1000.0, 2000.0]
    line = log.named("worker lost")[0]
    assert (line["number"], line["why"], line["delay"]) == (1, "killed by SIGKILL", 0.0)
    keeper._parent.stop()


async def test_one_that_dies_again_and_again_is_replaced_ever_more_seldom(
    keeper, nursery, log, monkeypatch, autojump_clock
):
    lives = Lives(*[1.0] * 10)
    await run(keeper, lives, nursery, monkeypatch)
    await trio.sleep(300.0)
    assert [line["delay"] for line in log.named("worker lost")][:9] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    keeper._parent.stop()


async def test_a_stop_does_not_wait_for_the_next_one(keeper, nursery, monkeypatch, autojump_clock):
    lives = Lives(*[1.0] * 8)
    await run(keeper, lives, nursery, monkeypatch)
    await trio.sleep(75.0)  # it waits for 30 seconds now
    begun = len(lives.begun)
    keeper._parent.stop()
    await trio.sleep(60.0)
    assert len(lives.begun) == begun


async def test_the_first_one_must_start(keeper):
    fault = ConfigFault("server.listen", "no such address")
    keeper._live = Lives(failed=Failed((fault,))).live
    with pytest.raises(ConfigError, match="no such address"):
        await keeper.run()
    keeper._live = Lives(failed=Failed(error="no TUN")).live
    with pytest.raises(OSError, match="no TUN"):
        await keeper.run()
    keeper._live = Lives().live
    with pytest.raises(OSError, match="a worker did not start: killed by SIGKILL"):
        await keeper.run()


async def test_no_process_to_be_had_is_no_end_of_the_server(keeper, log, nursery, monkeypatch, autojump_clock):
    def refuse(*arguments, **options):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(processes.subprocess, "Popen", refuse)
    with pytest.raises(OSError, match="its process cannot be started"):
        await keeper.run()
    lives = Lives(1.0)
    live = keeper._live

    async def first_lives_then_none(task_status):
        return await (lives.live if lives.seconds else live)(task_status)

    monkeypatch.setattr(keeper, "_live", first_lives_then_none)
    await nursery.start(keeper.run)
    await trio.sleep(10.0)
    assert "Resource temporarily unavailable" in log.named("worker lost")[-1]["why"]
    keeper._parent.stop()
