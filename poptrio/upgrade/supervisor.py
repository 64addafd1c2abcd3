"""How the old process leaves, so that whoever supervises it follows the new one.

systemd is told the new main process. Anybody else (a container, where we are process 1; a shell; another supervisor)
knows the old process only: of it a small waiter stays (`waiter`), which passes signals on and ends as the new one does.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from poptrio.runtime import service_manager
from poptrio.upgrade.waiter import PASSED_ON, told

_WAITER = Path(__file__).with_name("waiter.py")


@contextmanager
def signals_kept() -> Iterator[list[int]]:
    """Signals that come inside are for the process that there is afterwards: ours, unless we `leave`."""
    kept: list[int] = []
    before = {known: signal.signal(known, lambda number, _: kept.append(number)) for known in PASSED_ON}
    try:
        yield kept
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)
        for number in kept:
            os.kill(os.getpid(), number)


def leave(pid: int, signals: list[int], *, waited_for: bool) -> NoReturn:
    """End this process, whose place the process ``pid`` takes, at once: nothing is closed, released or told.

    It gets the ``signals`` that came meanwhile. ``waited_for``: somebody waits for ``pid`` already.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until the waiter passes them on
    sys.stdout.flush()
    sys.stderr.flush()
    is_watched = waited_for or service_manager.is_told()
    while is_watched and (late := signal.sigtimedwait(PASSED_ON, 0)) is not None:
        signals.append(late.si_signo)
    passed_on = []
    for number in signals:
        with suppress(ProcessLookupError):  # it is gone already: all there was, was its own
            os.kill(pid, number)
            passed_on.append(number)
    if is_watched:
        os._exit(told(passed_on) if waited_for else 0)
    try:
        os.execv(sys.executable, [sys.executable, "-I", "-S", str(_WAITER), str(pid)])
    finally:
        os._exit(0)  # the program is not there any more, and everything is the other process's already
