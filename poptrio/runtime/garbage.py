"""When the garbage collector of this process runs: often over what is young, over everything only when few calls live.

A full collection looks at every object there is, about 130 for each call: with 10,000 calls it would stop the server
for a third of a second, and would find nothing, because what belongs to a call is freed when the call ends
(`poptrio.runtime.dismantle`). What plugins leave behind in circles waits until it can be collected quickly.
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

INTERVAL = 60.0
"""Seconds between two looks at whether it can be."""


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
    """Collect everything from time to time; ``living`` tells how many calls there are. Never returns.

    Where `settle` was not called, Python collects as usual.
    """
    while True:
        await trio.sleep(INTERVAL)
        news = gc.get_count()[2] if gc.get_freeze_count() else 0
        if (news and living() <= QUIET) or news >= MUCH:
            gc.collect()
