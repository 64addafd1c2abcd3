"""Takes what has come out of the kernel, many packets at a time, but only for so long that others need not wait.

Hot path.
"""

from collections.abc import Callable

import trio

from poptrio.datapath.userspace.gre_socket import MAX_PACKET

AT_ONCE = 32
"""Packets that are received before they are looked at: one by one they cost 5 % more, and 64 no less than these."""

BATCH = 256
"""Packets per wake-up: waiting for each costs three times as much, and after so many there is nothing left to save."""

TURN = 0.005
"""Seconds per wake-up, so that other tasks need not wait; the clock is looked at every `AT_ONCE` packets."""

_SIZES = (MAX_PACKET,) * AT_ONCE


def drain(receive: Callable[[int], bytes], take: Callable[[list[bytes], float], None]) -> None:
    """Give ``take`` what ``receive`` returns, with the time on Trio's clock, up to `BATCH` packets or `TURN` seconds.

    ``receive`` is called with `MAX_PACKET` and raises BlockingIOError when nothing is left. Raises what else it raises,
    OSError; what came before has been taken.
    """
    clock = trio.current_time
    begun = now = clock()
    for _ in range(BATCH // AT_ONCE):
        packets: list[bytes] = []
        try:
            packets.extend(map(receive, _SIZES))  # keeps what came before an exception
        except BlockingIOError:
            take(packets, now)
            return
        except OSError:
            take(packets, now)
            raise
        take(packets, now)
        now = clock()
        if now - begun > TURN:
            return
