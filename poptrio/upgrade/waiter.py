"""What stays of a process that has handed over: passes signals on to the one that took over, and ends as it does.

It runs as a program of its own, with nothing but Python's standard library: ``python waiter.py PID``. When that process
hands over in its turn, its heir becomes a child of this one.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

NOT_LOST = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
RECENT = 1.0
"""Seconds. The kernel drops what is sent to a process that just ends: these signals go to its heir as well, if they are
no older and it was not told of them."""

_TOLD = 64
_PR_SET_CHILD_SUBREAPER = 36


def wait_for(pid: int) -> int:
    """Wait for ``pid`` and its heirs; returns the exit code of the last one, or 128 and the signal that killed it."""
    main, kept, sent = pid, list[int](), dict[int, float]()

    def pass_on(number: int) -> None:
        if _is_over(main):
            kept.append(number)  # for its heir, which is not known yet
        else:
            os.kill(main, number)
            sent[number] = time.monotonic()

    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: pass_on(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)  # who became this program has blocked them
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    while True:
        ended, status = os.wait()
        if ended != main:
            continue  # an orphan
        heir, code = _heir(), os.waitstatus_to_exitcode(status)
        if heir is None:
            return 0 if code > _TOLD else code if code >= 0 else 128 - code
        since = time.monotonic() - RECENT
        lost = [number for number in NOT_LOST if sent.get(number, 0.0) > since and not _is_told(code, number)]
        main = heir
        sent.clear()
        for number in lost:
            pass_on(number)
        while kept:
            pass_on(kept.pop(0))


def told(signals: Collection[int]) -> int:
    """The exit code of a process that has told its heir of these ``signals``: 0 for none, else one of no other use."""
    places = [place for place, number in enumerate(PASSED_ON) if number in signals]
    return sum((1 << place for place in places), _TOLD) if places else 0


def _is_told(code: int, number: int) -> bool:
    return code > _TOLD and bool(code >> PASSED_ON.index(signal.Signals(number)) & 1)


def _is_over(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _heir() -> int | None:
    """The child of ours that takes over calls."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat, open(f"/proc/{name}/cmdline", "rb") as line:
            fields = stat.read().rpartition(b")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] != b"Z" and b"--take-over" in line.read().split(b"\0"):
                return int(name)
    return None


if __name__ == "__main__":
    sys.exit(wait_for(int(sys.argv[1])))
