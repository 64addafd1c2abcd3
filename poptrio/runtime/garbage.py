"""When the garbage collector of this process runs: often over what is young, over everything only when few calls live.

A full collection looks at every object there is, about 130 for each call: with 10,000 calls it would stop the server
for a third of a second, and would find nothing, because what belongs to a call is freed when the call ends
(`poptrio.runtime.dismantle`). What plugins leave behind in circles waits until it can be collected quickly.

What is young is looked at by the clock, too: Python counts new objects less those that are freed, and calls that live
replace objects with new ones all the time. It would wait until some hundred thousand have come together, and then look
at all of them at once.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

YOUNG, MIDDLE = 1_000, 5
"""New objects after which they are looked at, and how often that happens before the survivors are, too: a few ms."""

NEVER = 1 << 30

QUIET = 500
"""Calls up to which everything may be collected: about 20 ms."""

MUCH = 5_000
"""Collections of what is young and middle-aged after which everything is collected in any case."""

YOUNG_INTERVAL = 3.0
"""Seconds after which what is young and middle-aged is looked at in any case."""

INTERVAL = 60.0
"""Seconds between two looks at whether everything can be."""


def settle() -> None:
    """All that exists now lives as long as the process: it need not be looked at again. From now on as above."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


@contextmanager
def not_collected() -> Iterator[None]:
    """Collect nothing inside, where very many objects are made that are no garbage, and everything waits for it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


async def collect_when_quiet(living: Callable[[], int]) -> None:
    """Collect what is young by the clock, and everything when it may be; ``living`` is how many calls there are.

    Never returns.

    Where `settle` was not called, Python collects as usual.
    """
    grown = ours = 0  # objects that were young when we looked, and how often we did, since everything was collected
    while True:
        for _ in range(round(INTERVAL / YOUNG_INTERVAL)):
            await trio.sleep(YOUNG_INTERVAL)
            if _settled():
                young, middle, _ = gc.get_count()
                grown += young + middle * YOUNG
                gc.collect(1)
                ours += 1
        news = max(0, gc.get_count()[2] - ours) + grown // (YOUNG * MIDDLE) if _settled() else 0
        if (news and living() <= QUIET) or news >= MUCH:
            gc.collect()
            grown = ours = 0


def _settled() -> bool:
    """Whether `settle` was called. Not by asking for the number of frozen objects: Python counts them, for 11 ms."""
    return gc.get_threshold()[2] == NEVER
