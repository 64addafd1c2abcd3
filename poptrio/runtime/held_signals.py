"""Signals that would end a program which is not ready for them yet: they wait until it is."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

HELD = (signal.SIGHUP, signal.SIGUSR2)
"""What operators send to a server that runs, and scripts also to one that is just being started."""


@contextmanager
def held() -> Iterator[None]:
    """`HELD` signals wait inside; those that nobody has `let_through` come to nothing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        while signal.sigtimedwait(HELD, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def let_through() -> Iterator[None]:
    """Inside, there is somebody who handles them, and who gets first what has waited."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
