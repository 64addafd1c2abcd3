"""What two programs say to each other during an upgrade: whole, in time, or not at all."""

import os
import socket
import subprocess
import sys

import pytest

from poptrio.upgrade import channel as module
from poptrio.upgrade.channel import MOST_DESCRIPTORS, Channel, Gone, Kind


@pytest.fixture
def ends():
    sockets = socket.socketpair()
    yield tuple(map(Channel, sockets))
    for one in sockets:
        one.close()


def test_octets_and_more_descriptors_than_fit_into_one_message(ends):
    here, there = ends
    count = MOST_DESCRIPTORS + 2
    with open(os.devnull) as file:
        here.send(Kind.STATE, b"calls", [file.fileno()] * count, timeout=5)
        kind, octets, descriptors = there.receive(timeout=5)
    assert (kind, octets, len(descriptors)) == (Kind.STATE, b"calls", count)
    for descriptor in descriptors:
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_the_time_is_for_the_whole_message(ends, monkeypatch):
    here, there = ends
    here.send(Kind.STATE, b"calls", timeout=5)
    times = iter([0.0, 0.5, 1.5])  # begun, before the header, before what follows
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    with pytest.raises(TimeoutError):
        there.receive(timeout=1)


def test_what_is_no_message_of_ours(ends):
    here, there = ends
    here._socket.sendall(b"GET / HTTP/1.1\r\n")
    with pytest.raises(Gone, match="another language"):
        there.receive(timeout=5)


def test_the_other_end_is_gone(ends):
    here, there = ends
    here.close()
    with pytest.raises(Gone, match="has ended"):
        there.receive(timeout=5)


LEAVE = """
import os, signal, subprocess, sys
from poptrio.upgrade.supervisor import leave
gone = subprocess.Popen([sys.executable, "-c", ""])
gone.wait()
leave(gone.pid, [signal.SIGTERM], waited_for=True)
"""


def test_a_signal_for_a_new_process_that_is_gone_does_not_keep_the_old_one():
    left = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True, timeout=30)
    assert (left.returncode, left.stderr) == (0, "")
