"""The parts of the kernel data path that work on any Linux: netlink, the raw socket for CCP, closing threads, ends."""

import errno
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network

import pytest
import trio
from structlog.testing import capture_logs

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint
from poptrio.datapath.kernel import call_path, sysfs
from poptrio.datapath.kernel.ccp_socket import CcpSocket
from poptrio.datapath.kernel.closer import Closer
from poptrio.datapath.kernel.device import device_prefix
from poptrio.datapath.kernel.netlink import LinkCounts, Netlink
from poptrio.datapath.kernel.path import REMOVE_TIMEOUT, KernelDataPath, KernelSettings
from poptrio.testing.namespaces import Namespace, join

needs_root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces"),
]
ADDRESS, NETWORK = IPv4Address("10.90.0.1"), IPv4Network("10.91.0.0/24")


@pytest.fixture
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    with Namespace("s") as server, Namespace("c") as client:
        join(server, "192.0.2.1", client, "192.0.2.2")
        yield server, client


@pytest.fixture
def netlink(namespaces) -> Iterator[Netlink]:
    with namespaces[0].entered():
        connection = Netlink()
    yield connection
    connection.close()


def device_of(namespace: Namespace) -> str:
    return namespace.run("ip", "-o", "link").splitlines()[1].split()[1].split("@")[0]


class TestNetlink:
    pytestmark = needs_root

    def test_a_device_is_set_up_and_leads_to_what_is_behind_it(self, namespaces, netlink):
        server, _ = namespaces
        name = device_of(server)
        index = netlink.index_of(name)
        netlink.set_up(index, 1234)
        netlink.add_address(index, ADDRESS)
        netlink.add_route(index, NETWORK)
        assert "mtu 1234" in server.run("ip", "link", "show", name)
        assert f"inet {ADDRESS}/32" in server.run("ip", "address", "show", name)
        assert f"{NETWORK} dev {name}" in server.run("ip", "route")
        netlink.remove_route(index, NETWORK)
        netlink.remove_address(index, ADDRESS)
        assert str(NETWORK) not in server.run("ip", "route")
        assert str(ADDRESS) not in server.run("ip", "address")

    def test_the_newest_of_equal_routes_counts_and_the_older_one_is_back_after_it(self, namespaces, netlink):
        server, client = namespaces
        older = device_of(server)
        join(server, "198.51.100.1", client, "198.51.100.2")
        newer = next(name for _, name in links(server) if name not in ("lo", older))
        for name in (older, newer):
            netlink.add_route(netlink.index_of(name), NETWORK)
        assert f"dev {newer}" in server.run("ip", "route", "get", "10.91.0.7")
        netlink.remove_route(netlink.index_of(newer), NETWORK)
        assert f"dev {older}" in server.run("ip", "route", "get", "10.91.0.7")

    def test_counts_are_those_of_the_device(self, namespaces, netlink):
        server, client = namespaces
        index = netlink.index_of(device_of(server))
        before = netlink.counts(index)
        client.run("ping", "-n", "-q", "-c", "3", "-i", "0.01", "192.0.2.1")
        counted = netlink.counts(index).less(before)
        assert counted.packets_in >= 3 <= counted.packets_out
        assert counted.bytes_in >= 3 * 84 <= counted.bytes_out

    def test_sys_and_netlink_count_the_same(self):
        index = socket.if_nametoindex("lo")
        connection = Netlink()
        before, shown, after = connection.counts(index), sysfs.counts("lo", index), connection.counts(index)
        connection.close()
        assert shown is not None
        assert before.packets_in <= shown.packets_in <= after.packets_in
        assert before.bytes_out <= shown.bytes_out <= after.bytes_out

    def test_sys_of_another_namespace_is_not_taken_for_ours(self):
        assert sysfs.counts("lo", socket.if_nametoindex("lo") + 1) is None
        assert sysfs.counts("nobody", 1) is None

    def test_what_the_kernel_refuses_is_an_error_with_its_number(self, netlink):
        with pytest.raises(OSError, match="No such device"):
            netlink.index_of("nobody")
        with pytest.raises(OSError, match="No such device"):
            netlink.counts(9999)
        netlink.remove_group(0x20000001)  # nobody is in it


def links(namespace: Namespace) -> list[tuple[str, str]]:
    lines = namespace.run("ip", "-o", "link").splitlines()
    return [(line.split(":")[0], line.split()[1].rstrip(":").split("@")[0]) for line in lines]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for raw sockets")
@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("beginning", [b"", b"\xff\x03"])
def test_ccp_is_read_beside_the_kernel(namespaces, acknowledged, beginning):
    server, client = namespaces
    frame = b"\x80\xfd\x01\x07\x00\x0a\x12\x06\x01\x00\x00\x40"
    carried = beginning + frame
    gre = bytes((0x30, 0x81 if acknowledged else 0x01)) + b"\x88\x0b" + len(carried).to_bytes(2, "big") + b"\x12\x34"
    gre += bytes(8 if acknowledged else 4) + carried
    with server.entered():
        ccp = CcpSocket()
    with client.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
    with raw, closing(ccp):
        assert ccp.read() is None
        raw.sendto(gre + b"padding", ("192.0.2.1", 0))
        assert select.select([ccp.descriptor], [], [], 5.0)[0]
        assert ccp.read() == (0x1234, socket.inet_aton("192.0.2.2"), frame)


def test_descriptors_are_closed_by_the_time_it_stops():
    closer = Closer(threads=3)
    pipes = [os.pipe() for _ in range(10)]
    for ends in pipes:
        closer.close(ends)
    closer.stop()
    assert closer.pending == 0
    for ends in pipes:
        for descriptor in ends:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)


def test_no_more_threads_close_than_are_allowed():
    others = set(threading.enumerate())
    closer = Closer(threads=1)
    for _ in range(5):
        closer.close(os.pipe())
    (thread,) = set(threading.enumerate()) - others
    closer.stop()
    assert not thread.is_alive()


def test_a_descriptor_that_is_no_more_stops_nobody():
    closer = Closer(threads=1)
    reader, writer = os.pipe()
    os.close(reader)
    closer.close([reader, writer])
    closer.stop()
    assert closer.pending == 0


def test_names_of_devices_fit_with_the_longest_call_id():
    assert device_prefix("poptrio0") == "poptrio0-"
    assert len(f"{device_prefix('a-very-long-name')}65535".encode()) == 15
    assert device_prefix("ünïcöëë") == "ünïcö-"  # no half letter


def test_counts_never_go_below_zero():
    assert LinkCounts(1, 2, 3, 4).less(LinkCounts(2, 2, 1, 9)) == LinkCounts(0, 0, 2, 0)


def test_where_no_thread_can_be_started_descriptors_are_closed_at_once(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    closer = Closer(threads=1)
    ends = os.pipe()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        closer.close(ends)
    for end in ends:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)
    assert closer.pending == 0
    later = os.pipe()
    closer.close(later)  # now there is one
    closer.stop()
    assert closer.pending == 0


class FakeFile:
    """A file of PPP that is a pipe's end; ``fails`` is raised by `connect`."""

    def __init__(self, fails=None):
        self.descriptor, self._other = os.pipe()
        self.number = self.channel = 1
        self._fails = fails

    def connect(self, number):
        if self._fails is not None:
            raise self._fails

    def close(self):
        os.close(self.descriptor)
        os.close(self._other)


class FakeDevice:
    def __init__(self):
        self.unit = FakeFile()
        self.name = "fake"

    def count(self, counters, now):
        """Nothing moves."""

    def set_down(self):
        """It never was up."""


class Told:
    def __init__(self):
        self.reasons = []

    def path_failed(self, reason):
        self.reasons.append(reason)


KERNEL_CALL = CallEndpoint(call_id=5, peer_call_id=6, local=IPv4Address("192.0.2.1"), peer=IPv4Address("192.0.2.2"))


@pytest.fixture
def kernel_path(monkeypatch):
    """A kernel data path whose sockets are pipes and whose channels cannot be connected."""
    data_path = KernelDataPath(KernelSettings(interface="fake"))
    data_path._epoll = select.epoll()
    monkeypatch.setattr(data_path, "_make_device", lambda endpoint: FakeDevice())
    monkeypatch.setattr(call_path, "PptpSocket", lambda endpoint: FakeFile())
    monkeypatch.setattr(call_path, "PppChannel", lambda channel: FakeFile(OSError(errno.EINVAL, "no")))
    yield data_path
    data_path._epoll.close()


async def test_a_device_that_cannot_be_connected_ends_its_call_and_holds_nothing(kernel_path, autojump_clock):
    owner = Told()
    path = kernel_path.open_call(KERNEL_CALL, owner)
    keys = MppeParameters(128, stateless=True, start_key=bytes(16))
    path.set_encryption(keys, keys)
    assert owner.reasons == ["the kernel refused MPPE: no"]
    assert not kernel_path._files
    assert not kernel_path._calls
    kernel_path._devices.stop()
    kernel_path._sockets.stop()
    for file in (path.channel, path.socket, path.device.unit):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file.descriptor)


async def test_a_channel_that_cannot_be_watched_is_closed(kernel_path, monkeypatch, autojump_clock):
    made = []

    def make(*_):
        made.append(FakeFile())
        return made[-1]

    def refuse(file, path):
        raise OSError(errno.ENOSPC, "no watches left")

    monkeypatch.setattr(call_path, "PptpSocket", make)
    monkeypatch.setattr(call_path, "PppChannel", make)
    monkeypatch.setattr(kernel_path, "_watch", refuse)
    with pytest.raises(OSError, match="no watches left"):
        kernel_path.open_call(KERNEL_CALL, Told())
    assert len(made) == 2
    for file in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file.descriptor)


async def test_a_data_path_that_has_ended_takes_no_calls(kernel_path):
    kernel_path._close_calls()
    with pytest.raises(OSError, match="the data path has ended"):
        kernel_path.open_call(KERNEL_CALL, Told())


async def test_a_kernel_that_does_not_remove_devices_does_not_keep_the_server(kernel_path, monkeypatch, autojump_clock):
    released = threading.Event()
    monkeypatch.setattr(kernel_path, "_open", lambda resources: None)
    monkeypatch.setattr(kernel_path, "_read", trio.sleep_forever)
    monkeypatch.setattr(kernel_path, "_remove_devices", released.wait)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(kernel_path.run)
            kernel_path.close()
    released.set()
    assert [(entry["event"], entry["seconds"]) for entry in logs] == [("devices not removed", REMOVE_TIMEOUT)]
