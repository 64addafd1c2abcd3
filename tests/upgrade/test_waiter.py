"""What stays of a process that has handed over, with processes of its own."""

import subprocess
import sys

SIGNAL_BETWEEN_TWO = """
import os, signal, sys
from poptrio.upgrade import waiter

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
if not (heir := os.fork()):
    signal.sigwait([signal.SIGTERM])
    os._exit(7)
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


def test_a_signal_between_a_process_and_its_heir_is_for_the_heir():
    done = subprocess.run([sys.executable, "-c", SIGNAL_BETWEEN_TWO], timeout=20)
    assert done.returncode == 7
