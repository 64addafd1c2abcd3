"""When everything is collected: while few calls live, or when much has come together."""

import gc

import pytest
import trio

from poptrio.runtime import garbage


class Collector:
    """Stands for Python's: ``everything`` is when all was collected, ``young`` how often what is young was.

    By itself it collects the middle-aged so often in each `INTERVAL` as ``news`` says, and that many of ``objects`` are
    young whenever it is asked.
    """

    def __init__(self):
        self.news = 0
        self.objects = 0
        self.everything: list[float] = []
        self.young = 0
        self._asked = 0
        self._begun = 0.0

    def collect(self, generation=2):
        if generation == 1:
            self.young += 1
            self._asked += 1
        else:
            assert generation == 2
            self.everything.append(trio.current_time())
            self._asked, self._begun = 0, trio.current_time()

    def get_count(self):
        intervals = round((trio.current_time() - self._begun) // garbage.INTERVAL)
        return self.objects, 0, self._asked + self.news * intervals

    def get_threshold(self):
        return garbage.YOUNG, garbage.MIDDLE, garbage.NEVER


@pytest.fixture
def collector(monkeypatch):
    collector = Collector()
    for name in ("collect", "get_count", "get_threshold"):
        monkeypatch.setattr(garbage.gc, name, getattr(collector, name))
    return collector


@pytest.mark.parametrize(
    ("living", "news", "times"),
    [
        (garbage.QUIET, 1, [60.0, 120.0]),
        (0, 0, []),
        (garbage.QUIET + 1, 1, []),
        (10_000, garbage.MUCH - 1, []),
        (10_000, garbage.MUCH, [60.0, 120.0]),
    ],
)
async def test_when_everything_is_collected(living, news, times, collector, autojump_clock):
    collector.news = news
    with trio.move_on_after(119 if news == garbage.MUCH - 1 else 130):  # or it comes together after all
        await garbage.collect_when_quiet(lambda: living)
    assert collector.everything == pytest.approx(times)


async def test_what_is_young_is_collected_by_the_clock_and_counts_by_its_number(collector, autojump_clock):
    """Python would wait until very much has come together, since what is freed counts against what is new."""
    ticks = round(garbage.INTERVAL / garbage.YOUNG_INTERVAL)
    collector.objects = garbage.MUCH * garbage.YOUNG * garbage.MIDDLE // ticks // 2 + 1
    with trio.move_on_after(130):
        await garbage.collect_when_quiet(lambda: 10_000)
    assert collector.young == pytest.approx(130 / garbage.YOUNG_INTERVAL, abs=1)
    assert collector.everything == pytest.approx([120.0])


async def test_nothing_where_python_collects_as_usual(collector, monkeypatch, autojump_clock):
    collector.news = garbage.MUCH
    monkeypatch.setattr(garbage.gc, "get_threshold", lambda: (700, 10, 10))
    with trio.move_on_after(130):
        await garbage.collect_when_quiet(lambda: 0)
    assert (collector.everything, collector.young) == ([], 0)


def test_settling_freezes_what_exists_and_ends_full_collections():
    before = gc.get_threshold()
    try:
        garbage.settle()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (garbage.YOUNG, garbage.MIDDLE, garbage.NEVER)
    finally:
        gc.set_threshold(*before)
