"""What stays of a process that has handed over, with processes of its own."""

import signal
import subprocess
import sys

import pytest

BEGIN = """
import os, signal, sys
from poptrio.upgrade import waiter

signal.pthread_sigmask(signal.SIG_BLOCK, waiter.PASSED_ON)
if not (heir := os.fork()):
    os._exit(signal.sigwait([signal.SIGTERM, signal.SIGUSR1]))
"""
"""The heir ends with the number of its first signal."""

SIGNAL_BETWEEN_TWO = """
if not (main := os.fork()):
    os._exit(0)

def heirs():
    os.kill(os.getpid(), signal.SIGTERM)  # main is over, and its heir about to be found
    yield heir
    yield None

found = heirs()
waiter._heir = lambda: next(found)
sys.exit(waiter.wait_for(main))
"""


SIGNAL_TO_ONE_THAT_ENDS = """
if not (main := os.fork()):
    signal.sigwait([signal.SIGTERM])  # as if the kernel had dropped it
    os._exit({code})

def heirs():
    {then}
    yield heir
    yield None

found = heirs()
waiter._heir = lambda: next(found)
os.kill(os.getpid(), signal.SIGTERM)  # comes when it is unblocked, and goes to main
sys.exit(waiter.wait_for(main))
"""


def exit_code(script):
    return subprocess.run([sys.executable, "-c", BEGIN + script], timeout=20).returncode


def test_a_signal_between_a_process_and_its_heir_is_for_the_heir():
    assert exit_code(SIGNAL_BETWEEN_TWO) == signal.SIGTERM


@pytest.mark.parametrize(
    ("code", "then", "first"),
    [
        ("0", "pass", signal.SIGTERM),
        ("waiter.told([signal.SIGTERM])", "os.kill(heir, signal.SIGUSR1)", signal.SIGUSR1),
    ],
    ids=["lost", "told"],
)
def test_what_the_kernel_has_dropped_is_for_the_heir_too(code, then, first):
    assert exit_code(SIGNAL_TO_ONE_THAT_ENDS.format(code=code, then=then)) == first


HEIR_OVER_BEFORE = """
os.kill(heir, signal.SIGTERM)
if not (main := os.fork()):
    os._exit(waiter.told([signal.SIGTERM]))
waiter._heir = lambda: None
sys.exit(waiter.wait_for(main))
"""


def test_an_heir_that_is_over_first_leaves_no_failure():
    assert exit_code(HEIR_OVER_BEFORE) == 0
