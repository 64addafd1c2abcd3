"""The readers of the userspace data path stop after `BATCH` packets, or sooner when these take long."""

import os
import socket
from ipaddress import IPv4Address

import pytest
from trio.testing import MockClock

from poptrio.datapath.userspace.path import BATCH, TURN, UserspaceDataPath, UserspaceSettings

GRE_TO_NOBODY = bytes.fromhex("45000020 00000000 402f0000 c0000202 c0000201 3001880b 0004 5151 00000000 ff03c021")
TO_NOBODY = bytes.fromhex("45000014 00000000 40010000 0a5a0001 0a5a0063")


@pytest.fixture
def data_path() -> UserspaceDataPath:
    return UserspaceDataPath(UserspaceSettings(listen=(IPv4Address(0),), interface=None, mtu=1400))


@pytest.mark.parametrize(("seconds", "packets"), [(0.0, BATCH), (TURN / 20, 23), (TURN, 7), (1.0, 7)])
async def test_gre_packets_that_take_long(data_path, seconds, packets, mock_clock: MockClock):
    taken = 0

    def receive(size: int) -> bytes:
        nonlocal taken
        taken += 1
        mock_clock.jump(seconds)
        return GRE_TO_NOBODY

    data_path._drain_gre(receive)
    assert taken == data_path.counters.no_such_call == packets


@pytest.mark.parametrize(("seconds", "packets"), [(0.0, BATCH), (TURN, 7)])
async def test_inner_packets_that_take_long(data_path, seconds, packets, mock_clock: MockClock, monkeypatch):
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        mock_clock.jump(seconds)
        return real(descriptor, size)

    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        for _ in range(BATCH + 1):
            near.send(TO_NOBODY)
        monkeypatch.setattr(os, "read", read)
        data_path._drain_tun(far.fileno())
    assert data_path.counters.no_such_address == packets
