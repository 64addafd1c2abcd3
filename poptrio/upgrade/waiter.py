"""What stays of a process that has handed over: passes signals on to the one that took over, and ends as it does.

It runs as a program of its own, with nothing but Python's standard library: ``python waiter.py PID``. When that process
hands over in its turn, its heir becomes a child of this one.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

_PR_SET_CHILD_SUBREAPER = 36


def wait_for(pid: int) -> int:
    """Wait for ``pid`` and its heirs; returns the exit code of the last one, or 128 and the signal that killed it."""
    main, kept = pid, list[int]()

    def pass_on(number: int) -> None:
        if _is_over(main):
            kept.append(number)  # for its heir, which is not known yet
        else:
            os.kill(main, number)

    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: pass_on(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)  # who became this program has blocked them
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    while True:
        ended, status = os.wait()
        if ended != main:
            continue  # an orphan
        heir = _heir()
        if heir is None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        main = heir
        while kept:
            pass_on(kept.pop(0))


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
