"""The userspace data path on a real kernel: ping and TCP through raw GRE sockets and TUNs, and what must not pass.

    namespace server            namespace client                     namespace other
      poptrio0 10.90.0.1/32       poptrio0 10.90.0.2/32
      192.0.2.1/24 ── veth ────── 192.0.2.2/24
      198.51.100.1/24 ── veth ─────────────────────────────────────── 198.51.100.2/24

Both ends run in this process; the parameters that PPP would negotiate are written down here.
"""

import errno
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

import pytest
import trio
from structlog.testing import capture_logs

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint, NetworkParameters
from poptrio.datapath.userspace import gre_socket, tun_repair
from poptrio.datapath.userspace.gre_socket import GreSocket
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.datapath.userspace.routes import KernelRoutes
from poptrio.datapath.userspace.tun import Tun
from poptrio.errors import ConfigError
from poptrio.testing.namespaces import Namespace, join

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces, raw sockets and /dev/net/tun"),
]

POOL = IPv4Network("10.90.0.0/24")
TO_SERVER = MppeParameters(bits=128, stateless=True, start_key=bytes(16))
TO_CLIENT = MppeParameters(bits=128, stateless=False, start_key=bytes(range(16)))

AT_SERVER = CallEndpoint(
    call_id=0x5151, peer_call_id=0xC1C1, local=IPv4Address("192.0.2.1"), peer=IPv4Address("192.0.2.2")
)
AT_CLIENT = CallEndpoint(call_id=0xC1C1, peer_call_id=0x5151, local=AT_SERVER.peer, peer=AT_SERVER.local)

SERVER_NETWORK = NetworkParameters(
    our_address=IPv4Address("10.90.0.1"),
    peer_address=IPv4Address("10.90.0.2"),
    mtu=1400,
    pfc=True,
    acfc=True,
    encryption_required=False,
)
CLIENT_NETWORK = replace(
    SERVER_NETWORK,
    our_address=IPv4Address("10.90.0.2"),
    peer_address=None,
    routes=(IPv4Network("10.90.0.1/32"), IPv4Network("198.51.100.0/24")),
)


class Owner:
    def __init__(self) -> None:
        self.failures: list[str] = []

    def frame_arrived(self, frame, encrypted):
        pass

    def decryption_lost(self):
        pass

    def path_failed(self, reason):
        self.failures.append(reason)


@dataclass
class Host:
    namespace: Namespace
    data_path: UserspaceDataPath
    owner: Owner
    path: object

    async def run(self, *arguments: str, check: bool = True) -> str:
        """Run a command here while the data paths go on; returns what it printed."""
        command = self.namespace.command(*arguments)
        done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
        output = done.stdout.decode()
        assert done.returncode == 0 or not check, output
        return output

    def routes(self) -> str:
        return self.namespace.run("ip", "-4", "route", "show", "dev", "poptrio0")

    def addresses(self) -> str:
        return self.namespace.run("ip", "-4", "-brief", "address", "show", "dev", "poptrio0")


@dataclass
class Hosts:
    server: Host
    client: Host
    other: Namespace
    nursery: trio.Nursery

    def open(self, **changes: object) -> None:
        self.server.path.open_network(replace(SERVER_NETWORK, **changes))
        self.client.path.open_network(replace(CLIENT_NETWORK, **changes))

    def encrypt(self) -> None:
        self.server.path.set_encryption(TO_CLIENT, TO_SERVER)
        self.client.path.set_encryption(TO_SERVER, TO_CLIENT)


async def start(nursery, namespace, settings, endpoint) -> Host:
    data_path, owner = UserspaceDataPath(settings), Owner()
    with namespace.entered():
        await nursery.start(data_path.run)
        path = data_path.open_call(endpoint, owner)
    return Host(namespace, data_path, owner, path)


SERVER_SETTINGS = UserspaceSettings(
    listen=(IPv4Address(0), AT_SERVER.local),
    interface="poptrio0",
    mtu=1400,
    address=SERVER_NETWORK.our_address,
    routes=(POOL,),
)
CLIENT_SETTINGS = UserspaceSettings(listen=(AT_CLIENT.local,), interface="poptrio0", mtu=1400)


@pytest.fixture
async def hosts() -> AsyncIterator[Hosts]:
    with Namespace("s") as server, Namespace("c") as client, Namespace("o") as other:
        join(server, "192.0.2.1", client, "192.0.2.2")
        join(server, "198.51.100.1", other, "198.51.100.2")
        other.run("ip", "route", "add", "default", "via", "198.51.100.1")
        server.run("sysctl", "-q", "net.ipv4.ip_forward=1")
        async with trio.open_nursery() as nursery:
            server_host = await start(nursery, server, SERVER_SETTINGS, AT_SERVER)
            client_host = await start(nursery, client, CLIENT_SETTINGS, AT_CLIENT)
            yield Hosts(server_host, client_host, other, nursery)
            nursery.cancel_scope.cancel()


async def test_ping_both_ways_and_through(hosts):
    hosts.open()
    for host, target in [(hosts.client, "10.90.0.1"), (hosts.server, "10.90.0.2"), (hosts.client, "198.51.100.2")]:
        output = await host.run("ping", "-c3", "-i0.01", "-W1", "-Mdo", "-s1372", target)
        assert " 0% packet loss" in output


async def test_forwarding_counts_ttl_down_once_per_hop(hosts):
    hosts.open()
    output = await hosts.client.run("ping", "-c1", "-W1", "-t1", "198.51.100.2", check=False)
    assert "From 10.90.0.1 icmp_seq=1 Time to live exceeded" in output
    await hosts.client.run("ping", "-c1", "-W1", "-t2", "198.51.100.2")


@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "MPPE"])
@pytest.mark.parametrize("upwards", [False, True], ids=["to the client", "to the server"])
async def test_a_megabyte_by_tcp(hosts, encrypted, upwards):
    if encrypted:
        hosts.encrypt()
    hosts.open(encryption_required=encrypted)
    content = os.urandom(1 << 20)
    with hosts.server.namespace.entered():
        listener = socket.create_server(("10.90.0.1", 5000))
        listener.setblocking(False)
    with hosts.client.namespace.entered():
        connection = socket.socket()
    connection.setblocking(False)
    near = trio.socket.from_stdlib_socket(connection)
    with trio.fail_after(20), listener:
        await near.connect(("10.90.0.1", 5000))
        far, _ = await trio.socket.from_stdlib_socket(listener).accept()
        sender, receiver = map(trio.SocketStream, (near, far) if upwards else (far, near))
        received = bytearray()
        async with trio.open_nursery() as nursery, sender, receiver:
            nursery.start_soon(send_all_and_close, sender, content)
            async for chunk in receiver:
                received += chunk
    assert received == content
    counters = hosts.server.path.counters
    assert (counters.clear_text, counters.undecryptable, counters.malformed) == (0, 0, 0)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - what the kernel does sets no event
            await trio.sleep(0.001)


async def send_all_and_close(stream: trio.SocketStream, content: bytes) -> None:
    await stream.send_all(content)
    await stream.send_eof()


async def test_a_packet_too_big_is_told_to_its_sender_near_and_far(hosts):
    hosts.server.path.open_network(replace(SERVER_NETWORK, mtu=1200))
    hosts.client.path.open_network(CLIENT_NETWORK)
    output = await hosts.server.run("ping", "-c2", "-i0.01", "-W1", "-Mdo", "-s1300", "10.90.0.2", check=False)
    assert "mtu=1200" in output.replace(" = ", "=")
    command = hosts.other.command("ping", "-c2", "-i0.01", "-W1", "-Mdo", "-s1300", "10.90.0.2")
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    assert b"From 10.90.0.1 icmp_seq=1 Frag needed and DF set (mtu = 1200)" in done.stdout
    assert hosts.server.path.counters.too_big >= 2
    output = await hosts.server.run("ping", "-c2", "-i0.01", "-W1", "-Mdont", "-s1300", "10.90.0.2")
    assert " 0% packet loss" in output


async def test_a_foreign_inner_source_is_dropped(hosts):
    hosts.open()
    hosts.client.namespace.run("ip", "address", "add", "10.90.0.77/32", "dev", "lo")
    output = await hosts.client.run("ping", "-c3", "-i0.01", "-W0.2", "-I10.90.0.77", "10.90.0.1", check=False)
    assert "100% packet loss" in output
    assert hosts.server.path.counters.foreign_source == 3
    assert hosts.server.path.counters.packets_in == 0


async def test_gre_from_another_address_and_to_nobody_is_counted(hosts):
    hosts.open()
    frame = bytes.fromhex("3001880b 0004 5151 00000000 ff03c021")
    with hosts.other.entered():
        stranger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
    with stranger:
        for packet in (b"\0\0\x08\0" + frame[4:], frame, frame[:6] + b"\x51\x52" + frame[8:], frame[:7]):
            stranger.sendto(packet, ("198.51.100.1", 0))
    await until(lambda: hosts.server.data_path.counters.malformed)
    counters = hosts.server.data_path.counters
    # The first, plain GRE, did not pass the socket's filter.
    assert (counters.wrong_source, counters.no_such_call, counters.malformed) == (1, 1, 1)
    assert hosts.server.path.counters.gre_received == 0


async def test_packets_for_free_addresses_are_counted(hosts):
    hosts.open()
    await hosts.server.run("ping", "-c2", "-i0.01", "-W0.2", "10.90.0.99", check=False)
    assert hosts.server.data_path.counters.no_such_address == 2


@pytest.fixture
def most_senders(request, monkeypatch):
    monkeypatch.setattr(gre_socket, "MOST_SENDERS", request.param)


@pytest.mark.parametrize("most_senders", [gre_socket.MOST_SENDERS, 0], indirect=True)
async def test_gre_leaves_from_the_address_of_the_control_connection(most_senders, hosts):
    """The server listens on 0.0.0.0 here, and its routing table would choose another source."""
    hosts.server.namespace.run("ip", "address", "add", "192.0.2.200/32", "dev", "lo")
    hosts.open()
    hosts.server.namespace.run(
        "ip", "route", "change", "192.0.2.0/24", "dev", veth_of(hosts.server.namespace), "src", "192.0.2.200"
    )
    output = await hosts.client.run("ping", "-c2", "-i0.01", "-W1", "10.90.0.1")
    assert " 0% packet loss" in output
    assert hosts.client.data_path.counters.wrong_source == 0


def veth_of(namespace: Namespace) -> str:
    line = namespace.run("ip", "-4", "route", "show", "192.0.2.0/24")
    return line.split(" dev ")[1].split()[0]


async def test_routes_and_addresses_come_and_go_with_the_call(hosts):
    assert hosts.server.routes().split()[:1] == ["10.90.0.0/24"]
    assert "10.90.0.1/32" in hosts.server.addresses()
    assert "10.90.0.2" not in hosts.client.addresses()
    static = replace(SERVER_NETWORK, peer_address=IPv4Address("172.16.9.9"), routes=(IPv4Network("192.168.44.0/24"),))
    hosts.server.path.open_network(static)
    hosts.client.path.open_network(CLIENT_NETWORK)
    assert {line.split()[0] for line in hosts.server.routes().splitlines()} == {
        "10.90.0.0/24",
        "172.16.9.9",
        "192.168.44.0/24",
    }
    assert "10.90.0.2/32" in hosts.client.addresses()
    assert "198.51.100.0/24" in hosts.client.routes()
    hosts.server.path.close()
    hosts.client.path.close_network()
    assert [line.split()[0] for line in hosts.server.routes().splitlines()] == ["10.90.0.0/24"]
    assert hosts.client.routes() == ""
    assert "10.90.0.2" not in hosts.client.addresses()


async def test_a_route_that_the_kernel_refuses_ends_the_call_and_says_why(hosts):
    hosts.server.namespace.run("ip", "route", "add", "blackhole", "192.168.44.0/24")
    hosts.server.path.open_network(replace(SERVER_NETWORK, routes=(IPv4Network("192.168.44.0/24"),)))
    [reason] = hosts.server.owner.failures
    assert reason == "poptrio0: route 192.168.44.0/24 was refused: there is one already that leads elsewhere"
    assert [line.split()[0] for line in hosts.server.routes().splitlines()] == ["10.90.0.0/24"]


async def test_nothing_is_left_after_close(hosts):
    hosts.open()
    hosts.server.data_path.close()
    hosts.client.data_path.close()
    await until(lambda: not hosts.nursery.child_tasks)
    for host in (hosts.server, hosts.client):
        assert "poptrio0" not in host.namespace.run("ip", "link")
    hosts.server.path.send_frame(b"\xc0\x21")
    assert hosts.server.owner.failures == []


async def test_every_call_is_told_when_the_tun_disappears(hosts):
    hosts.open()
    settings = replace(SERVER_SETTINGS, interface="doomed0", address=None, routes=(), listen=(AT_SERVER.local,))
    doomed, owner = UserspaceDataPath(settings), Owner()

    async def lose_the_tun(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.fail_after(5):
            await doomed.run(task_status=task_status)

    async def run_and_delete() -> None:
        async with trio.open_nursery() as nursery:
            with hosts.server.namespace.entered():
                await nursery.start(lose_the_tun)
            doomed.open_call(AT_SERVER, owner)
            hosts.server.namespace.run("ip", "link", "delete", "doomed0")

    with pytest.raises(ExceptionGroup) as raised:
        await run_and_delete()
    assert raised.group_contains(OSError, match="the TUN doomed0 cannot be read any more", depth=2)
    assert len(owner.failures) == 1
    assert hosts.server.owner.failures == []


async def test_a_tun_that_was_set_down_and_up_is_repaired(hosts, monkeypatch):
    """The kernel forgets the routes through a device that is set down."""
    monkeypatch.setattr(tun_repair, "INTERVAL", 0.05)
    with capture_logs() as entries:
        settings = replace(SERVER_SETTINGS, interface="poptrio7", address=None, routes=(IPv4Network("10.91.0.0/24"),))
        run = hosts.server.namespace.run
        show = ("ip", "-4", "route", "show", "dev", "poptrio7")
        with hosts.server.namespace.entered():
            await hosts.nursery.start(UserspaceDataPath(replace(settings, listen=())).run)
        run("ip", "link", "set", "poptrio7", "down", "mtu", "600")
        assert run(*show) == ""
        await until(lambda: run(*show).startswith("10.91.0.0/24"))
        assert "mtu 1400" in run("ip", "link", "show", "poptrio7")
        run("ip", "route", "flush", "dev", "poptrio7")
        await until(lambda: run(*show).startswith("10.91.0.0/24"))
    said = [entry for entry in entries if entry["event"] == "tun repaired"]
    assert [(entry["was_down"], entry["routes"]) for entry in said] == [
        (True, ["10.91.0.0/24"]),
        (False, ["10.91.0.0/24"]),
    ]
    assert len(entries) == 2


async def test_a_repair_that_fails_is_logged_once(hosts, monkeypatch):
    monkeypatch.setattr(tun_repair, "INTERVAL", 0.01)

    def refuse(network: IPv4Network) -> None:
        raise OSError(errno.EPERM, f"route {network} was refused")

    routes = KernelRoutes([IPv4Network("10.92.0.0/24")], refuse, refuse)
    with hosts.server.namespace.entered():
        tun = Tun("poptrio8")
    with capture_logs() as entries, trio.move_on_after(0.1):
        await tun_repair.keep_repaired(tun, routes)
    tun.close()
    assert [entry["event"] for entry in entries] == ["tun cannot be repaired"]


async def test_without_a_tun_calls_come_up_and_packets_go_nowhere(hosts):
    hosts.client.data_path.close()
    await until(lambda: "poptrio0" not in hosts.client.namespace.run("ip", "link"))
    settings = replace(CLIENT_SETTINGS, interface=None)
    hosts.client = await start(hosts.nursery, hosts.client.namespace, settings, AT_CLIENT)
    hosts.open()
    hosts.client.path.send_frame(b"\xc0\x21")
    await hosts.server.run("ping", "-c1", "-W0.1", "10.90.0.2", check=False)
    await until(lambda: hosts.server.path.counters.gre_received)
    assert hosts.client.path.counters.packets_in == 1
    assert "poptrio0" not in hosts.client.namespace.run("ip", "link")


# What cannot be opened


async def test_a_name_in_use(hosts):
    settings = replace(SERVER_SETTINGS, listen=(IPv4Address("127.0.0.1"),))
    with hosts.server.namespace.entered(), pytest.raises(OSError, match="another process has a TUN of this name"):
        await UserspaceDataPath(settings).run()


async def test_an_address_that_is_not_ours(hosts):
    settings = replace(SERVER_SETTINGS, interface="poptrio1", listen=(IPv4Address("203.0.113.1"),))
    with hosts.server.namespace.entered(), pytest.raises(OSError, match=r"203\.0\.113\.1 cannot be used for GRE"):
        await UserspaceDataPath(settings).run()
    assert "poptrio1" not in hosts.server.namespace.run("ip", "link")


async def test_a_route_that_exists_already(hosts):
    settings = replace(SERVER_SETTINGS, interface="poptrio1", address=None)
    with hosts.server.namespace.entered(), pytest.raises(OSError, match=r"route 10\.90\.0\.0/24 was refused"):
        await UserspaceDataPath(settings).run()
    assert "poptrio1" not in hosts.server.namespace.run("ip", "link")


async def test_a_call_on_an_address_without_a_socket(hosts):
    with pytest.raises(OSError, match=r"no GRE socket for 192\.0\.2\.9") as raised:
        hosts.client.data_path.open_call(replace(AT_CLIENT, call_id=9, local=IPv4Address("192.0.2.9")), Owner())
    assert raised.value.errno == errno.EADDRNOTAVAIL


@pytest.fixture
def unprivileged() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_without_privileges_the_remedy_is_named(unprivileged):
    with pytest.raises(PermissionError, match="--cap-add NET_RAW"):
        GreSocket(AT_SERVER.local)
    with pytest.raises(PermissionError, match="run as root"):
        Tun("poptrio0")


def test_a_device_that_is_no_tun():
    with Namespace("t") as namespace, namespace.entered(), pytest.raises(OSError, match="is no TUN"):
        Tun("lo")


@pytest.mark.parametrize("name", ["", "sixteen-letters-", "with space", "a/b"])
def test_a_name_that_no_device_can_have(name):
    with pytest.raises(ConfigError, match=r"server\.interface"):
        Tun(name)


def test_the_kernel_chooses_a_free_number():
    with Namespace("t") as namespace, namespace.entered():
        first, second = Tun("poptrio%d"), Tun("poptrio%d")
        first.close()
        second.close()
        assert (first.name, second.name) == ("poptrio0", "poptrio1")
