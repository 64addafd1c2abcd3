"""The checks of ``poptrio check``, on machines that are described by a few files below a folder."""

import os
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from poptrio.cli import checks
from poptrio.cli.checks import Finding, Level, Machine
from poptrio.cli.checks.network import LocalNetwork
from poptrio.config import Config

DEFAULT = Config.parse("")
TCP_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


class FakeRoot:
    """A folder that looks like / to a `Machine`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.machine = Machine(root)

    def file(self, name: str, text: str = "") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def sockets(self, kind: str, *rows: tuple[str, str, int]) -> None:
        """Rows of /proc/net/KIND: local address and port as the kernel writes them, state, inode."""
        lines = [
            f"   {n}: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0\n"
            for n, (local, state, inode) in enumerate(rows)
        ]
        self.file(f"proc/net/{kind}", TCP_HEADER + "".join(lines))

    def process(self, pid: int, name: str, command: str, inode: int) -> None:
        self.file(f"proc/{pid}/comm", f"{name}\n")
        self.file(f"proc/{pid}/cmdline", command.replace(" ", "\0") + "\0")
        (self.root / f"proc/{pid}/fd").mkdir()
        os.symlink(f"socket:[{inode}]", self.root / f"proc/{pid}/fd/3")


@pytest.fixture
def root(tmp_path: Path) -> FakeRoot:
    return FakeRoot(tmp_path)


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    return {finding.subject: finding.level for finding in findings}


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize(
    ("effective", "admin", "raw"),
    [
        ("000001ffffffffff", Level.OK, Level.OK),
        ("0000000000003000", Level.OK, Level.OK),
        ("0000000000001000", Level.OK, Level.FAULT),
        ("0000000000002000", Level.FAULT, Level.OK),
        ("0000000000000000", Level.FAULT, Level.FAULT),
    ],
)
def test_capabilities(root: FakeRoot, effective: str, admin: Level, raw: Level):
    root.file("proc/self/status", f"Name:\tpoptrio\nCapPrm:\t000001ffffffffff\nCapEff:\t{effective}\n")
    assert levels(checks.capabilities(root.machine, DEFAULT)) == {"CAP_NET_ADMIN": admin, "CAP_NET_RAW": raw}


@pytest.mark.parametrize(("start", "wanted"), [("1024", True), ("0", False), (None, True)])
def test_a_low_port_needs_a_capability_unless_the_kernel_lets_everybody(
    root: FakeRoot, start: str | None, wanted: bool
):
    root.file("proc/self/status", "CapEff:\t0000000000003000\n")
    if start is not None:
        root.file("proc/sys/net/ipv4/ip_unprivileged_port_start", f"{start}\n")
    config = Config.parse('[server]\nlisten = ["0.0.0.0:723"]')
    found = levels(checks.capabilities(root.machine, config))
    assert found.get("CAP_NET_BIND_SERVICE") == (Level.FAULT if wanted else None)


def test_a_missing_capability_says_how_to_get_it(root: FakeRoot):
    finding = next(finding for finding in checks.capabilities(root.machine, DEFAULT))
    assert finding.sentence == "CAP_NET_ADMIN is missing, which the TUN and its route need"
    assert "--cap-add=NET_ADMIN" in finding.remedy


def test_tun(root: FakeRoot):
    missing = only(checks.tun(root.machine))
    assert missing.level is Level.FAULT
    assert "modprobe tun" in missing.remedy
    root.file("dev/net/tun")
    assert only(checks.tun(root.machine)).level is Level.OK


def test_interfaces_and_descriptors_of_workers(root: FakeRoot):
    config = Config.parse("[server]\nworkers = 2\nmax_calls = 1000\nmax_unauthenticated = 100")
    root.file("sys/class/net/poptrio1/flags")
    levels = [finding.level for finding in checks.interface(root.machine, config)]
    assert levels == [Level.OK, Level.FAULT]
    assert only(checks.descriptors(config, 650)).level is Level.OK
    assert "in each worker" in only(checks.descriptors(config, 649)).sentence


def test_interface(root: FakeRoot):
    assert only(checks.interface(root.machine, DEFAULT)).level is Level.OK
    root.file("sys/class/net/poptrio0/address")
    assert only(checks.interface(root.machine, DEFAULT)).level is Level.FAULT
    root.file("sys/class/net/poptrio0/tun_flags")
    assert only(checks.interface(root.machine, DEFAULT)).level is Level.WARNING


@pytest.mark.parametrize(
    ("kind", "local", "state", "listen", "level"),
    [
        ("tcp", "00000000:06BB", "0A", "0.0.0.0", Level.FAULT),
        ("tcp", "0100007F:06BB", "0A", "0.0.0.0", Level.FAULT),
        ("tcp", "0100007F:06BB", "0A", "127.0.0.1", Level.FAULT),
        ("tcp", "00000000:06BB", "0A", "127.0.0.1", Level.FAULT),
        ("tcp", "0100007F:06BB", "0A", "127.0.0.2", Level.OK),
        ("tcp", "00000000:06BC", "0A", "0.0.0.0", Level.OK),
        ("tcp", "00000000:06BB", "01", "0.0.0.0", Level.OK),
        ("tcp6", "0" * 32 + ":06BB", "0A", "0.0.0.0", Level.FAULT),
        ("tcp6", "0" * 24 + "01000000:06BB", "0A", "0.0.0.0", Level.OK),
    ],
)
def test_port(root: FakeRoot, kind: str, local: str, state: str, listen: str, level: Level):
    root.sockets(kind, (local, state, 77))
    assert only(checks.ports(root.machine, Config.parse(f'[server]\nlisten = ["{listen}"]'))).level is level


def test_a_port_that_is_taken_says_by_whom(root: FakeRoot):
    root.sockets("tcp", ("00000000:06BB", "0A", 77))
    unseen = only(checks.ports(root.machine, DEFAULT))
    assert unseen.sentence == "TCP 0.0.0.0:1723 is held by a process that only root can see"
    root.process(4, "other", "other", 76)
    root.process(12, "pptpd", "/usr/sbin/pptpd --fg", 77)
    seen = only(checks.ports(root.machine, DEFAULT))
    assert seen.sentence == "TCP 0.0.0.0:1723 is held by pptpd (process 12)"
    assert seen.level is Level.FAULT


def test_a_running_poptrio_is_no_fault(root: FakeRoot):
    root.sockets("tcp", ("00000000:06BB", "0A", 77))
    root.process(12, "python3", "/venv/bin/python3 /venv/bin/poptrio run config.toml", 77)
    finding = only(checks.ports(root.machine, DEFAULT))
    assert finding.level is Level.WARNING
    assert "held by poptrio (process 12)" in finding.sentence


def test_a_port_that_systemd_opened_may_be_for_us(root: FakeRoot):
    root.sockets("tcp", ("00000000:06BB", "0A", 77))
    root.process(1, "systemd", "/lib/systemd/systemd", 77)
    finding = only(checks.ports(root.machine, DEFAULT))
    assert finding.level is Level.WARNING
    assert "poptrio.socket" in finding.remedy


def test_other_readers_of_gre_are_named(root: FakeRoot):
    root.sockets("raw", ("00000000:0001", "07", 78), ("00000000:002F", "07", 77))
    root.process(11, "ping", "ping", 78)
    hidden = only(checks.gre_sockets(root.machine))
    assert hidden.level is Level.WARNING
    assert hidden.sentence == "GRE packets are also read by a process that only root can see"
    root.process(12, "pptpctrl", "pptpctrl", 77)
    finding = only(checks.gre_sockets(root.machine))
    assert finding.level is Level.WARNING
    assert finding.sentence == "GRE packets are also read by pptpctrl (process 12)"


def test_no_other_reader_of_gre(root: FakeRoot):
    root.sockets("raw", ("00000000:0001", "07", 78), ("00000000:002F", "07", 77))
    root.process(12, "python3", "python3 /usr/bin/poptrio run", 77)
    assert only(checks.gre_sockets(root.machine)).level is Level.OK


def test_file_descriptors_limit_the_calls():
    config = Config.parse("[server]\nmax_calls = 1000\nmax_unauthenticated = 100")
    assert only(checks.descriptors(config, 1400)).level is Level.OK
    finding = only(checks.descriptors(config, 1399))
    assert finding.level is Level.WARNING
    assert finding.sentence.startswith(
        "1399 file descriptors are too few for server.max_calls = 1000, which needs 1400"
    )
    assert "LimitNOFILE" in finding.remedy


def test_listen_addresses_must_be_local():
    config = Config.parse('[server]\nlisten = ["192.0.2.1", "192.0.2.2", "127.0.0.9"]')
    finding = only(checks.listen_addresses(config, [IPv4Address("192.0.2.1")]))
    assert finding.sentence == "192.0.2.2 is no address of this machine"
    assert list(checks.listen_addresses(DEFAULT, [])) == []


ETH0 = LocalNetwork(IPv4Network("10.90.4.0/24"), "eth0", IPv4Address("10.90.4.7"))
ETH1 = LocalNetwork(IPv4Network("192.0.2.0/24"), "eth1", IPv4Address("192.0.2.7"))


def test_a_pool_on_a_local_network_is_a_warning():
    finding = only(checks.overlaps(DEFAULT, [ETH1, ETH0]))
    assert finding.level is Level.WARNING
    assert finding.sentence == ("the pool 10.90.0.2-10.90.15.254 overlaps with the address 10.90.4.7 on eth0")


def test_a_pool_behind_a_route_is_a_warning():
    finding = only(checks.overlaps(DEFAULT, [LocalNetwork(IPv4Network("10.0.0.0/8"), "eth0")]))
    assert finding.sentence.endswith("overlaps with the route to 10.0.0.0/8 on eth0")


def test_an_inner_server_address_that_is_taken_is_a_fault():
    config = Config.parse('[addresses]\nserver = "192.0.2.7"')
    finding = only(checks.overlaps(config, [ETH1]))
    assert finding.level is Level.FAULT
    assert finding.sentence == "addresses.server is the address 192.0.2.7 on eth1 already"


def test_our_own_tun_does_not_count():
    own = LocalNetwork(IPv4Network("10.90.0.0/20"), "poptrio0", IPv4Address("10.90.0.1"))
    assert only(checks.overlaps(DEFAULT, [own, ETH1])).level is Level.OK


def test_local_networks_are_those_of_this_machine():
    addresses = {network.address for network in checks.local_networks()}
    assert IPv4Address("127.0.0.1") in addresses or not Path("/sys/class/net/lo").exists()


def test_the_kernel_agrees_about_a_listening_socket():
    """The parser is fed the real /proc: our own socket must be found, and be ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address, port = server.getsockname()
        found = [s for s in Machine().listening() if s.port == port and s.address == IPv4Address(address)]
        assert len(found) == 1
        holder = Machine().holder(found[0].inode)
    assert holder is not None
    assert holder.pid == os.getpid()


def test_forwarding(root: FakeRoot):
    root.file("proc/sys/net/ipv4/ip_forward", "0\n")
    assert only(checks.forwarding(root.machine)).level is Level.WARNING
    root.file("proc/sys/net/ipv4/ip_forward", "1\n")
    assert only(checks.forwarding(root.machine)).level is Level.OK


@pytest.mark.parametrize(("value", "level"), [("0", Level.OK), ("1", Level.WARNING), ("2", Level.OK)])
def test_reverse_path_filter(root: FakeRoot, value: str, level: Level):
    root.file("proc/sys/net/ipv4/conf/all/rp_filter", f"{value}\n")
    assert only(checks.reverse_path_filter(root.machine)).level is level


def test_connection_tracking_without_its_helper_is_a_warning(root: FakeRoot):
    assert only(checks.helpers(root.machine)).level is Level.OK
    root.file("proc/sys/net/netfilter/nf_conntrack_max", "65536\n")
    finding = only(checks.helpers(root.machine))
    assert finding.level is Level.WARNING
    assert "protocol 47" in finding.remedy
    root.file("sys/module/nf_conntrack_pptp/refcnt", "0\n")
    assert only(checks.helpers(root.machine)).level is Level.OK


@pytest.mark.parametrize(
    ("server", "mode", "level", "says"),
    [
        ('user = "nobody"', 0o666, Level.OK, "may open /dev/net/tun"),
        ('user = "nobody"', 0o600, Level.FAULT, "nobody, whom the server becomes, may not open /dev/net/tun"),
        ('user = "poptrio-nobody"', 0o666, Level.FAULT, 'there is no user "poptrio-nobody"'),
        ('user = "nobody"\ngroup = "poptrio-nobody"', 0o666, Level.FAULT, 'there is no group "poptrio-nobody"'),
    ],
)
def test_the_user_exists_and_may_open_the_tun(root, server, mode, level, says):
    root.file("dev/net/tun")
    (root.root / "dev/net/tun").chmod(mode)
    finding = only(checks.account(Config.parse(f"[server]\n{server}"), root.machine))
    assert (finding.subject, finding.level) == ("user", level)
    assert says in finding.sentence
    assert bool(finding.remedy) == (level is Level.FAULT)


def test_who_stays_who_he_is_needs_no_user(root):
    assert list(checks.account(DEFAULT, root.machine)) == []
