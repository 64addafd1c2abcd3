"""When everything is collected: while few calls live, or when much has come together."""

import gc

import pytest
import trio

from poptrio.runtime import garbage


@pytest.fixture
def collections(monkeypatch):
    """When everything was collected, in seconds; with as many young collections behind us as a test says."""
    times: list[float] = []
    monkeypatch.setattr(garbage.gc, "collect", lambda: times.append(trio.current_time()))
    monkeypatch.setattr(garbage.gc, "get_freeze_count", lambda: 1)
    return times


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
async def test_when_everything_is_collected(living, news, times, collections, monkeypatch, autojump_clock):
    monkeypatch.setattr(garbage.gc, "get_count", lambda: (0, 0, news))
    with trio.move_on_after(130):
        await garbage.collect_when_quiet(lambda: living)
    assert collections == times


async def test_nothing_where_python_collects_as_usual(collections, monkeypatch, autojump_clock):
    monkeypatch.setattr(garbage.gc, "get_count", lambda: (0, 0, garbage.MUCH))
    monkeypatch.setattr(garbage.gc, "get_freeze_count", lambda: 0)
    with trio.move_on_after(130):
        await garbage.collect_when_quiet(lambda: 0)
    assert collections == []


def test_settling_freezes_what_exists_and_ends_full_collections():
    before = gc.get_threshold()
    try:
        garbage.settle()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (garbage.YOUNG, garbage.MIDDLE, garbage.NEVER)
    finally:
        gc.set_threshold(*before)
