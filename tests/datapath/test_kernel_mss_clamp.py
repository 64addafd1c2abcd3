"""MSS clamping by the packet filter, on devices that only have the right names; needs root and nft or iptables.

outside 198.51.100.1 ── 198.51.100.2  server  10.90.0.1 ── 10.90.0.2 client    (poptrio0-1 has an MTU of 1200)
"""

import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from poptrio.datapath.kernel.mss_clamp import MssClamp
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.namespaces import Namespace, join

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and packet filters"),
]

CLIENT, OUTSIDE = IPv4Address("10.90.0.2"), IPv4Address("198.51.100.1")
SYN = bytes.fromhex("c0de01bb 11223344 00000000 6002faf0 0000 0000 020405b4")
MTU = 1200


@pytest.fixture
def namespaces() -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    with Namespace("s") as server, Namespace("c") as client, Namespace("o") as outside:
        join(server, "10.90.0.1", client, "10.90.0.2")
        device = next(line.split()[1].split("@")[0] for line in server.run("ip", "-o", "link").splitlines()[1:])
        server.run("ip", "link", "set", device, "down")
        server.run("ip", "link", "set", device, "name", "poptrio0-1", "mtu", str(MTU), "up")
        join(server, "198.51.100.2", outside, "198.51.100.1")
        client.run("ip", "route", "add", "default", "via", "10.90.0.1")
        outside.run("ip", "route", "add", "default", "via", "198.51.100.2")
        server.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield server, client, outside


def mss_after(sender: Namespace, receiver: Namespace, source: IPv4Address, destination: IPv4Address) -> int:
    """The MSS option of a SYN when it has come through the server."""
    with receiver.entered():
        tap = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with sender.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with tap, raw:
        tap.settimeout(5.0)
        raw.sendto(ipv4_packet(source, destination, SYN, protocol=socket.IPPROTO_TCP), (str(destination), 0))
        while True:
            packet = tap.recv(65535)
            if packet[33] & 0x02:
                return int.from_bytes(packet[-2:], "big")


@pytest.fixture
def clamp() -> MssClamp:
    clamp = MssClamp("poptrio0-")
    if obstacle := clamp.obstacle():
        pytest.skip(obstacle)
    return clamp


def test_forwarded_syns_are_clamped_both_ways_while_the_rules_are_there(namespaces, clamp):
    server, client, outside = namespaces
    there, back = (client, outside, CLIENT, OUTSIDE), (outside, client, OUTSIDE, CLIENT)
    assert mss_after(*there) == mss_after(*back) == 1460
    with server.entered():
        clamp.add()
    assert mss_after(*there) == mss_after(*back) == MTU - 40
    with server.entered():
        clamp.remove()
    assert mss_after(*there) == mss_after(*back) == 1460


def rules(server: Namespace) -> str:
    try:
        return server.run("nft", "list", "ruleset")
    except Exception:  # noqa: BLE001 - a kernel without nftables
        saved = server.run("iptables-legacy-save").splitlines()
        return "\n".join(line for line in saved if line.startswith("-"))  # without times and counters


def test_rules_that_were_left_behind_are_replaced(namespaces, clamp):
    server, *_ = namespaces
    with server.entered():
        clamp.add()
        once = rules(server)
        again = MssClamp("poptrio0-")
        again.add()
        assert rules(server) == once
        again.remove()
    assert "poptrio" not in rules(server)


def test_rules_that_were_left_behind_go_where_no_new_ones_are_wanted(namespaces, clamp):
    server, *_ = namespaces
    with server.entered():
        clamp.add()
        assert "poptrio" in rules(server)
        MssClamp("poptrio0-").remove_left_behind()
        assert "poptrio" not in rules(server)
        MssClamp("poptrio0-").remove_left_behind()


def test_other_tables_stay_as_they_are(namespaces, clamp):
    server, *_ = namespaces
    other = MssClamp("other-")
    with server.entered():
        other.add()
        clamp.add()
        clamp.remove()
    assert "other" in rules(server)


def test_a_name_that_could_be_read_as_a_rule_is_refused():
    clamp = MssClamp('x" accept; "')
    assert "cannot be put into a rule" in (clamp.obstacle() or "")
    with pytest.raises(OSError, match="cannot be put into a rule"):
        clamp.add()
