"""A load run against our own server in memory: its phases, what it counts, and how it is interrupted."""

import json
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair

from poptrio.client.call import GOODBYE_WAIT, CallSettings
from poptrio.client.load import Load, LoadSettings
from poptrio.client.tcp import Line
from poptrio.client.traffic import ANSWER_WAIT, Traffic
from poptrio.datapath.packets import checksum
from poptrio.decisions import Reject
from poptrio.errors import NoAddress
from poptrio.hookspecs import hookimpl
from poptrio.protocols.ppp.authenticator import Credentials
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.line import MemoryLine
from poptrio.testing.server import SERVER_ADDRESS, memory_server
from poptrio.verify import verify

FIRST_CLIENT = IPv4Address("203.0.113.1")
SESSION = SessionSettings(establish_timeout=20.0, lcp_echo_interval=0.0)


class Users:
    """Knows every user; what a name begins with says what becomes of the call."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.asked = []

    @hookimpl
    async def poptrio_authenticate(self, request):
        self.asked.append((trio.current_time(), request.username))
        await trio.sleep(self.seconds)
        if request.username.startswith("bad"):
            return Reject(reason="unknown")
        return verify(request, "secret")


class DataPathOfMany:
    """The client's data path in memory, whose inner packets all go to one place, as without a TUN."""

    def __init__(self, datapath, deliver):
        self.datapath = datapath
        self.deliver = deliver

    def open_call(self, endpoint, owner):
        path = self.datapath.open_call(endpoint, owner)
        path.on_delivered = self.deliver
        return path


def answer_pings(datapath):
    """Let the kernel behind a server's data path in memory answer ICMP Echo."""
    open_call = datapath.open_call

    def opened(endpoint, owner):
        path = open_call(endpoint, owner)

        def answer(packet):
            assert checksum(packet[:20]) == checksum(packet[20:]) == 0
            source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
            reply = bytes(4) + packet[24:]  # its checksum is not looked at
            path.inject(ipv4_packet(destination, source, reply, protocol=1))

        path.on_delivered = answer
        return path

    datapath.open_call = opened


def load_of(memory, settings, name=lambda number: f"user{number}", connect=None):
    traffic = Traffic(settings.packets, settings.size)

    async def connected(number):
        begun = trio.current_time()
        if connect is not None:
            await connect(number)
        ours, theirs = memory_stream_pair()
        local = FIRST_CLIENT + number
        await memory._listener.connected.send(MemoryLine(theirs, local, SERVER_ADDRESS))
        return Line(ours, local, SERVER_ADDRESS, 1723, begun)

    def settings_of(number):
        return CallSettings(credentials=Credentials(name(number), "secret"), session=SESSION)

    datapath = DataPathOfMany(memory.network.client(), traffic.packet_arrived)
    return Load(settings, settings_of, connected, datapath, traffic)


async def at(seconds, action):
    await trio.sleep(seconds)
    action()


@pytest.fixture
def causes():
    """How often calls ended for which cause, as the server logged it."""
    with capture_logs() as entries:
        yield lambda: Counter(entry["cause"] for entry in entries if entry["event"] == "call ended")


async def test_all_phases(causes, autojump_clock):
    settings = LoadSettings(calls=30, hold=5.0, packets=100.0, size=500, seconds=2.0)
    async with memory_server(plugins=[Users(0.25)]) as memory:
        answer_pings(memory.network.server)
        load = load_of(memory, settings)
        seen = []

        async def watch():
            while True:
                seen.append(load.progress)
                await trio.sleep(0.25)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            report = await load.run()
            nursery.cancel_scope.cancel()
        await trio.sleep(1)
        assert memory.leftovers() == []
    assert report.clean
    assert (report.calls, report.failures, report.lost, report.interrupted) == (30, (), None, False)
    assert (report.set_ups.begun, report.set_ups.up) == (30, 30)
    assert report.set_ups.seconds == pytest.approx(0.5)  # 20 at once, then 10
    assert report.set_ups.per_second == pytest.approx(60)
    assert report.set_ups.duration.p50 == report.set_ups.duration.longest == pytest.approx(0.25)
    assert (report.held.up, report.held.seconds) == (30, 5.0)
    packets = report.packets
    assert packets.sent == packets.received == pytest.approx(200, abs=2)
    assert (packets.size, packets.seconds, packets.lost) == (500, pytest.approx(2.0), 0)
    assert packets.sent_per_second == packets.received_per_second == pytest.approx(100, abs=1)
    assert packets.round_trip.longest == 0.0
    assert (report.hang_ups.calls, report.hang_ups.vanished) == (30, False)
    assert causes() == {"client-hung-up": 30}
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    assert phases[:3] == ["setting up", "holding", "sending packets"]
    assert all(0 <= progress.done <= progress.total for progress in seen)
    assert json.loads(json.dumps(report.as_json()))["set_ups"]["per_second"] == 60.0


async def test_calls_are_begun_at_the_rate_whatever_becomes_of_them(autojump_clock):
    users = Users(3.0)
    async with memory_server(plugins=[users]) as memory:
        report = await load_of(memory, LoadSettings(calls=10, rate=2.0, concurrency=1)).run()
    assert [when for when, _ in users.asked] == [number / 2 for number in range(10)]
    assert report.set_ups.seconds == pytest.approx(4.5 + 3.0)
    assert report.clean


async def test_without_a_rate_so_many_are_on_their_way(autojump_clock):
    users = Users(1.0)
    async with memory_server(plugins=[users]) as memory:
        report = await load_of(memory, LoadSettings(calls=6, concurrency=2)).run()
    assert [when for when, _ in users.asked] == [0, 0, 1, 1, 2, 2]
    assert report.set_ups.per_second == pytest.approx(2.0)


class SmallPool:
    def __init__(self):
        self.left = 2

    @hookimpl
    async def poptrio_allocate_address(self):
        if not self.left:
            raise NoAddress("all gone")
        self.left -= 1


async def test_failures_by_step_with_the_commonest_reason(autojump_clock):
    names = ["user", "bad", "user", "bad", "bad", "user", "user", "user"]

    async def connect(number):
        if number >= 6:
            raise OSError(f"refused {number}")

    async with memory_server(plugins={"users": Users(), "small": SmallPool(), "ip-pool": "ip-pool"}) as memory:
        load = load_of(memory, LoadSettings(calls=8, hold=1.0), names.__getitem__, connect)
        report = await load.run()
    assert not report.clean
    assert report.set_ups.up == report.held.up == report.hang_ups.calls == 2
    by_step = {failures.step: failures for failures in report.failures}
    assert list(by_step) == ["tcp", "authentication", "addresses"]
    assert (by_step["tcp"].count, by_step["tcp"].reason, by_step["tcp"].with_this_reason) == (2, "refused 6", 1)
    assert by_step["authentication"].count == by_step["authentication"].with_this_reason == 3
    assert by_step["authentication"].reason.startswith("the server refuses user name or password")
    assert by_step["addresses"].count == 1
    assert by_step["addresses"].reason.startswith("the server ended the call: address-unavailable")


class NoGre:
    def delays(self, packet, *, to_server):
        return ()


async def test_a_call_that_does_not_come_up_in_time(autojump_clock):
    async with memory_server(link=NoGre()) as memory:
        report = await load_of(memory, LoadSettings(calls=3, timeout=5.0, hold=60.0)).run()
        assert trio.current_time() < 5 + GOODBYE_WAIT + 0.1
    (failures,) = report.failures
    assert (failures.step, failures.count) == ("gre", 3)
    assert failures.reason.startswith("no GRE packet came from 192.0.2.1: protocol 47 is blocked")
    assert (report.held, report.hang_ups.calls) == (None, 0)


async def test_a_server_that_thinks_too_long(autojump_clock):
    async with memory_server("[authentication]\ntimeout = 60.0", plugins=[Users(50.0)]) as memory:
        report = await load_of(memory, LoadSettings(calls=2, timeout=5.0)).run()
    (failures,) = report.failures
    assert (failures.step, failures.count) == ("authentication", 2)
    assert failures.reason == "the call was not up after 5 s"


async def test_lost_calls_end_the_holding_when_none_is_left(autojump_clock):
    async with memory_server("[ppp]\nsession_timeout = 3.0", plugins=[Users()]) as memory:
        report = await load_of(memory, LoadSettings(calls=5, hold=60.0, packets=10.0)).run()
        assert trio.current_time() < 10
    assert not report.clean
    assert report.set_ups.up == report.lost.count == 5
    assert report.lost.reason.startswith("the server ended the call: session-timeout")
    assert (report.held.up, report.packets, report.hang_ups.calls) == (0, None, 0)


async def test_traffic_goes_on_without_the_calls_that_are_lost(autojump_clock):
    class OneIsShort:
        @hookimpl
        async def poptrio_authenticate(self, request):
            accept = verify(request, "secret")
            return replace(accept, session_timeout=2) if request.username == "user0" else accept

    async with memory_server(plugins=[OneIsShort()]) as memory:
        answer_pings(memory.network.server)
        report = await load_of(memory, LoadSettings(calls=2, packets=50.0, seconds=4.0)).run()
    assert report.lost.count == 1
    assert report.packets.sent == pytest.approx(200, abs=2)
    assert report.packets.lost <= 1
    assert report.hang_ups.calls == 1


async def test_loss_is_what_had_no_reply(autojump_clock):
    async with memory_server(plugins=[Users()]) as memory:  # nobody answers pings
        report = await load_of(memory, LoadSettings(calls=2, packets=10.0, seconds=1.0)).run()
    packets = report.packets
    assert packets.sent == packets.lost == pytest.approx(10, abs=1)
    assert (packets.received, packets.round_trip.p50) == (0, None)
    assert report.clean
    assert trio.current_time() == pytest.approx(1.0 + ANSWER_WAIT)


async def test_interrupted_while_calls_are_set_up(causes, autojump_clock):
    async def connect(number):
        if number == 3:
            await trio.sleep_forever()

    async with memory_server(plugins=[Users(1.0)]) as memory:
        load = load_of(memory, LoadSettings(calls=8, concurrency=2, hold=9.0), connect=connect)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at, 2.5, load.interrupt)
            report = await load.run()
        assert trio.current_time() < 2.5 + GOODBYE_WAIT
        await trio.sleep(2)
        assert memory.leftovers() == []
    assert report.interrupted
    assert not report.clean
    assert (report.set_ups.up, report.hang_ups.calls, report.failures) == (3, 3, ())
    assert report.held is None
    assert causes() == {"client-hung-up": 4}


@pytest.mark.parametrize("vanish", [False, True])
async def test_interrupted_while_they_are_held(vanish, causes, autojump_clock):
    async with memory_server(plugins=[Users()]) as memory:
        load = load_of(memory, LoadSettings(calls=4, hold=60.0, packets=10.0, vanish=vanish))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at, 5.0, load.interrupt)
            report = await load.run()
        await trio.sleep(2)
        assert memory.leftovers() == []
    assert report.interrupted
    assert (report.held.seconds, report.packets, report.hang_ups.calls) == (5.0, None, 4)
    assert report.lost is None
    assert causes() == {"control-connection-lost" if vanish else "client-hung-up": 4}


async def test_interrupted_during_traffic(autojump_clock):
    async with memory_server(plugins=[Users()]) as memory:
        answer_pings(memory.network.server)
        load = load_of(memory, LoadSettings(calls=4, packets=10.0, seconds=60.0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at, 5.0, load.interrupt)
            report = await load.run()
    assert report.packets.seconds == 5.0
    assert report.packets.sent == pytest.approx(50, abs=1)


async def test_a_second_interrupt_waits_for_no_goodbye(autojump_clock):
    class CutsTheLine:
        cut = False

        def delays(self, packet, *, to_server):
            return () if self.cut else (0.0,)

    link = CutsTheLine()
    async with memory_server(plugins=[Users()], link=link) as memory:
        load = load_of(memory, LoadSettings(calls=100, hold=60.0, concurrency=1))

        def cut():
            link.cut = True
            load.interrupt()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(at, 5.0, cut)
            nursery.start_soon(at, 7.0, load.interrupt)
            report = await load.run()
        assert trio.current_time() < 7.0 + GOODBYE_WAIT
    assert report.hang_ups.calls == 100


async def test_interrupted_in_the_moment_in_which_tcp_is_connected(autojump_clock):
    async with memory_server(plugins=[Users()]) as memory:
        load = load_of(memory, LoadSettings(calls=1))
        connect = load.connect

        async def connect_and_interrupt(number):
            line = await connect(number)
            load.interrupt()
            return line

        load.connect = connect_and_interrupt
        report = await load.run()
        await trio.sleep(1)
        assert memory.leftovers() == []
    assert report.interrupted
    assert (report.set_ups.up, report.failures) == (0, ())
