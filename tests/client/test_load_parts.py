"""What a load run is made of: durations, reasons, user names, pings, and its sockets."""

import random
import struct
from ipaddress import IPv4Address

import pytest
import trio

from poptrio.client.histogram import Histogram
from poptrio.client.load import LoadSettings
from poptrio.client.load_report import MOST_REASONS, OTHER_REASONS, Distribution, Reasons
from poptrio.client.load_target import LoadTarget, UserPattern, load
from poptrio.client.tcp import connect_from, resolve
from poptrio.client.traffic import BATCH, Pinger, Traffic
from poptrio.datapath.packets import checksum, ipv4_length
from poptrio.protocols.ppp.session_events import SessionSettings


def test_percentiles_are_right_to_two_percent():
    dice = random.Random(2637)
    durations = [dice.lognormvariate(-5, 2) for _ in range(10_000)]
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    durations.sort()
    for percent in (1, 50, 95, 99):
        exact = durations[len(durations) * percent // 100 - 1]
        assert exact <= histogram.percentile(percent) <= exact * 1.021
    assert histogram.percentile(100) == histogram.longest == durations[-1]
    assert len(histogram._classes) < 1200


def test_durations_of_nothing_and_of_no_time():
    histogram = Histogram()
    assert Distribution.of(histogram) == Distribution(None, None, None, None)
    histogram.add(0.0)
    assert Distribution.of(histogram) == Distribution(0.0, 0.0, 0.0, 0.0)


def test_reasons_do_not_fill_the_memory():
    reasons = Reasons()
    for number in range(3 * MOST_REASONS):
        reasons.add(f"reason {number}")
    failures = reasons.failures("gre")
    assert (failures.count, failures.reason) == (3 * MOST_REASONS, OTHER_REASONS)
    assert failures.with_this_reason == 2 * MOST_REASONS


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("alice", ["alice", "alice"]),
        ("user%d", ["user1", "user10000"]),
        ("%05d@isp.example", ["00001@isp.example", "10000@isp.example"]),
        ("100%", ["100%", "100%"]),
        ("DOMAIN\\u%02d", ["DOMAIN\\u01", "DOMAIN\\u10000"]),
    ],
)
def test_user_names(pattern, names):
    users = UserPattern(pattern)
    assert [users.name(0), users.name(9999)] == names


class Tunnel:
    def __init__(self):
        self.packets = []

    def packet_from_network(self, packet, now):
        self.packets.append(packet)


def pinger(path, size):
    return Pinger(path, IPv4Address("10.90.0.2"), IPv4Address("10.90.0.1"), size)


@pytest.mark.parametrize("size", [44, 45, 1400])
async def test_a_ping_is_a_whole_packet(size, autojump_clock):
    path = Tunnel()
    await Traffic(10.0, size).run([pinger(path, size)], 1.0)
    packet = path.packets[0]
    assert ipv4_length(packet) == len(packet) == size
    assert checksum(packet[:20]) == checksum(packet[20:]) == 0
    assert packet[20] == 8


async def test_calls_ping_in_turn_and_at_the_rate(autojump_clock):
    paths = [Tunnel() for _ in range(7)]
    await Traffic(20_000.0, 100).run([pinger(path, 100) for path in paths], 1.0)
    numbers = [len(path.packets) for path in paths]
    assert sum(numbers) == pytest.approx(20_000, abs=2 * BATCH)
    assert max(numbers) - min(numbers) <= 1


async def test_only_replies_to_this_run_count(autojump_clock):
    path, traffic = Tunnel(), Traffic(1.0, 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(traffic.run, [pinger(path, 100)], 1.5)
        await trio.sleep(1.2)
        (request,) = path.packets
        reply = request[:20] + bytes(1) + request[21:]
        for other in (b"", request, reply[:43], reply[:9] + b"\x06" + reply[10:], reply[:28] + bytes(8) + reply[36:]):
            traffic.packet_arrived(other)
        assert traffic.received == 0
        traffic.packet_arrived(reply)
        assert (traffic.received, traffic.round_trips.longest) == (1, pytest.approx(0.2))
        (left,) = struct.unpack(">d", reply[36:44])
        assert left == pytest.approx(1.0)


async def test_connecting_from_a_source_and_its_failures():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    loopback = IPv4Address("127.0.0.1")
    async with listener:
        line = await connect_from(IPv4Address("127.0.0.7"), loopback, port, 5.0)
        async with line.stream:
            assert (line.local, line.peer, line.port) == (IPv4Address("127.0.0.7"), loopback, port)
    with pytest.raises(OSError, match=f"127.0.0.1, TCP port {port}: connection refused, no PPTP server listens"):
        await connect_from(None, loopback, port, 5.0)


async def test_names_of_servers():
    assert await resolve("127.0.0.1", 1723) == IPv4Address("127.0.0.1")
    with pytest.raises(OSError, match="::1, TCP port 1723: "):
        await resolve("::1", 1723)


def target(*sources):
    return LoadTarget(
        host="127.0.0.1",
        port=1723,
        users=UserPattern("a"),
        password="horse",
        session=SessionSettings(),
        sources=tuple(map(IPv4Address, sources)),
    )


async def test_a_source_that_is_not_ours():
    with pytest.raises(OSError, match=r"192\.0\.2\.77 is no address of this machine: give it one"):
        await load(target("127.0.0.1", "192.0.2.77"), LoadSettings(calls=2), print)


def test_secrets_are_not_shown():
    assert "horse" not in repr(target())
