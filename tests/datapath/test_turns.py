"""The readers of the userspace data path stop after `BATCH` packets, or sooner when these take long."""

import socket
from contextlib import nullcontext
from ipaddress import IPv4Address

import pytest
from trio.testing import MockClock

from poptrio.datapath.userspace.drain import AT_ONCE, BATCH, TURN, drain
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings

GRE_TO_NOBODY = bytes.fromhex("45000020 00000000 402f0000 c0000202 c0000201 3001880b 0004 5151 00000000 ff03c021")
TO_NOBODY = bytes.fromhex("45000014 00000000 40010000 0a5a0001 0a5a0063")


@pytest.fixture
def data_path() -> UserspaceDataPath:
    return UserspaceDataPath(UserspaceSettings(listen=(IPv4Address(0),), interface=None, mtu=1400))


@pytest.mark.parametrize(
    ("seconds", "packets"), [(0.0, BATCH), (TURN / 100, 4 * AT_ONCE), (TURN, AT_ONCE), (1.0, AT_ONCE)]
)
async def test_gre_packets_that_take_long(data_path, seconds, packets, mock_clock: MockClock):
    taken = 0

    def receive(size: int) -> bytes:
        nonlocal taken
        taken += 1
        mock_clock.jump(seconds)
        return GRE_TO_NOBODY

    drain(receive, data_path._take_from_peers)
    assert taken == data_path.counters.no_such_call == packets


@pytest.mark.parametrize(("seconds", "packets"), [(0.0, BATCH), (TURN, AT_ONCE)])
async def test_inner_packets_that_take_long(data_path, seconds, packets, mock_clock: MockClock):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        for _ in range(BATCH + 1):
            near.send(TO_NOBODY)

        def read(size: int) -> bytes:
            mock_clock.jump(seconds)
            return far.recv(size)

        drain(read, data_path._take_from_network)
    assert data_path.counters.no_such_address == packets


@pytest.mark.parametrize("error", [BlockingIOError(), OSError("the device is gone")])
async def test_what_came_before_an_error_is_taken(error, mock_clock: MockClock):
    coming = iter([b"1", b"2", b"3"])
    taken: list[bytes] = []

    def receive(size: int) -> bytes:
        for packet in coming:
            return packet
        raise error

    with nullcontext() if isinstance(error, BlockingIOError) else pytest.raises(OSError, match="is gone"):
        drain(receive, lambda packets, now: taken.extend(packets))
    assert taken == [b"1", b"2", b"3"]
