"""What each of several processes has of one server: Call IDs, GRE packets, TUNs and routes."""

import random
import socket
from ipaddress import IPv4Network
from struct import pack

import pytest

from poptrio.config import Config
from poptrio.datapath.base import ALL_CALL_IDS, CallIdSlice
from poptrio.datapath.userspace.gre_socket import MAX_PACKET, _attach_filter, gre_filter
from poptrio.datapath.userspace.routes import KernelRoutes
from poptrio.errors import ConfigError
from poptrio.server.registry import CallIds
from poptrio.tun_names import interface_of

ADDRESS = IPv4Network("10.90.0.9/32")


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_call_ids_are_dealt_out_without_rest(workers):
    seen = []
    for worker in range(workers):
        call_ids = CallIds(random.Random(1), CallIdSlice(worker, workers))
        while (call_id := call_ids.take(0.0)) is not None:
            assert call_id % workers == worker
            seen.append(call_id)
    assert sorted(seen) == list(range(1, 0x10000))


def test_call_ids_of_a_lost_worker_rest():
    call_ids = CallIds(random.Random(1), CallIdSlice(1, 2))
    call_ids.rest([7, 9], 100.0)
    taken = set()
    while (call_id := call_ids.take(159.0)) is not None:
        taken.add(call_id)
    assert len(taken) == 0x8000 - 2
    assert {call_ids.take(160.0), call_ids.take(160.0)} == {7, 9}


def gre(call_id, version=1, protocol=0x880B, options=b""):
    header = pack(">BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, 0, 0, 0, 64, 47, 0, bytes(4), bytes(4)) + options
    return header + pack(">BBHHHI", 0x30, 0x80 | version, protocol, 4, call_id, 1) + b"data"


def passed(packets, instructions):
    """Those packets that the kernel lets through; a socket pair has the filter, and packets in place of datagrams."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.setblocking(False)
        _attach_filter(theirs, instructions)
        found = []
        for packet in packets:
            ours.send(packet)
            try:
                found.append(theirs.recv(MAX_PACKET))
            except BlockingIOError:
                continue
        return found


@pytest.mark.parametrize("workers", [2, 3, 8])
@pytest.mark.parametrize("options", [b"", bytes(8)])
def test_each_packet_is_for_one_worker(workers, options):
    packets = [gre(call_id, options=options) for call_id in (1, 2, 3, 8, 0x1234, 0xFFFE, 0xFFFF)]
    by_worker = [passed(packets, gre_filter(CallIdSlice(worker, workers))) for worker in range(workers)]
    assert sorted(packet for found in by_worker for packet in found) == sorted(packets)
    for worker, found in enumerate(by_worker):
        assert all(int.from_bytes(packet[26 + len(options) :][:2], "big") % workers == worker for packet in found)


@pytest.mark.parametrize("call_ids", [ALL_CALL_IDS, CallIdSlice(0, 2)])
def test_other_kinds_of_gre_pass_no_filter(call_ids):
    packets = [gre(2, version=0), gre(2, protocol=0x6558), gre(2, version=2), gre(2)]
    assert passed(packets, gre_filter(call_ids)) == packets[3:]


@pytest.mark.parametrize(
    ("interface", "names"),
    [
        ("poptrio0", ["poptrio0", "poptrio1", "poptrio2"]),
        ("vpn", ["vpn", "vpn1", "vpn2"]),
        ("tun9", ["tun9", "tun10", "tun11"]),
        ("7", ["7", "8", "9"]),
    ],
)
def test_the_tuns_count_up(interface, names):
    assert [interface_of(interface, worker) for worker in range(3)] == names


def test_all_tuns_must_have_names_that_a_device_can_have():
    name = "abcdefghijklmn9"
    assert Config.parse(f'[server]\ninterface = "{name}"').server.interfaces == (name,)
    with pytest.raises(ConfigError, match="the TUN of the last worker would be called abcdefghijklmn10"):
        Config.parse(f'[server]\nworkers = 2\ninterface = "{name}"')


@pytest.mark.parametrize("workers", ['"all"', "0", "65", "true", "1.5"])
def test_workers_are_a_number_or_auto(workers):
    with pytest.raises(ConfigError, match=r"server\.workers"):
        Config.parse(f"[server]\nworkers = {workers}")


def test_auto_is_one_for_each_core(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 2, 5})
    assert Config.parse('[server]\nworkers = "auto"').server.worker_count == 3
    assert Config.parse("").server.worker_count == 1


class Kernel:
    """Routes of one TUN, the newest last."""

    def __init__(self):
        self.routes = []
        self.standing = []

    def add(self, network):
        if network in self.routes:
            raise FileExistsError(17, "File exists")
        self.routes.append(network)

    def add_standing(self, network):
        if network in self.standing:
            raise FileExistsError(17, "File exists")
        self.standing.append(network)

    def remove(self, network):
        self.routes.remove(network)


def test_beside_other_tuns_each_call_has_its_own_route():
    kernel = Kernel()
    pool = IPv4Network("10.90.0.0/20")
    routes = KernelRoutes([pool], kernel.add, kernel.remove, add_standing=kernel.add_standing, every=True)
    routes.add_standing()
    assert (kernel.standing, kernel.routes) == ([pool], [])
    other = IPv4Network("10.90.0.10/32")
    routes.replace("older", [ADDRESS])
    routes.replace("another", [other])
    routes.replace("newer", [ADDRESS])
    assert kernel.routes == [other, ADDRESS]  # in front of whatever another process has added meanwhile
    routes.replace("older", [])
    assert kernel.routes == [other, ADDRESS]
    routes.replace("newer", [])
    routes.replace("another", [])
    assert kernel.routes == []
    kernel.standing.clear()
    routes.replace("one", [ADDRESS])
    kernel.routes.clear()
    assert routes.restore() == [pool, ADDRESS]
