"""The parts of the kernel's data path that work on any Linux: netlink, the raw socket for CCP, the closing threads."""

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network

import pytest

from poptrio.datapath.kernel import sysfs
from poptrio.datapath.kernel.ccp_socket import CcpSocket
from poptrio.datapath.kernel.closer import Closer
from poptrio.datapath.kernel.device import device_prefix
from poptrio.datapath.kernel.netlink import LinkCounts, Netlink
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
    before = threading.active_count()
    closer = Closer(threads=1)
    for _ in range(5):
        closer.close(os.pipe())
    assert threading.active_count() == before + 1
    closer.stop()
    assert threading.active_count() == before


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
