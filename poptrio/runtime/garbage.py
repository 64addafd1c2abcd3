"""When the garbage collector of this process runs: often over what is young, over everything only when few calls live.

A full collection looks at every object there is, about 130 for each call: with 10,000 calls it would stop the server for
a third of a second, and with them all in place it finds nothing, because what belongs to a call is freed when the call
ends (`poptrio.runtime.dismantle`). What plugins leave behind in circles waits until it can be collected quickly.
"""

import gc
from collections.abc import Callable

import trio

YOUNG, MIDDLE = 2_000, 10
"""New objects after which they are looked at, and how often that happens before the survivors are, too: 5 ms."""

NEVER = 1 << 30

QUIET = 500
"""Calls up to which everything may be collected: about 20 ms."""

MOST_ENDED = 200_000
"""Ended calls after which it is done in any case."""

INTERVAL = 60.0
"""Seconds between two looks at whether it can be."""


def settle() -> None:
    """All that exists now lives as long as the process: it need not be looked at again. From now on as above."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


async def collect_when_quiet(living: Callable[[], int], ended: Callable[[], int]) -> None:
    """Collect everything from time to time; the arguments tell how many calls live, and have ended.

    Never returns; idle where `settle` was not called, and Python collects as usual.
    """
    ended_before = 0
    while True:
        await trio.sleep(INTERVAL)
        if not gc.get_freeze_count():
            continue
        fresh = ended() - ended_before
        if (fresh and living() <= QUIET) or fresh >= MOST_ENDED:
            ended_before = ended()
            gc.collect()
