"""What the machine does with packets once they are out of the tunnel: forwarding, filters, overlapping networks."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from pyroute2 import IPRoute

from poptrio.address_ranges import range_text
from poptrio.cli.checks.finding import Finding
from poptrio.cli.checks.machine import Machine
from poptrio.config import Config

_RT_TABLE_LOCAL = 255


@dataclass(frozen=True, slots=True)
class LocalNetwork:
    """A network that this machine has an address in or a route to; ``interface`` is empty for routes without one.

    ``address`` is the machine's own address there, None for a route.
    """

    network: IPv4Network
    interface: str
    address: IPv4Address | None = None

    def __str__(self) -> str:
        way = f" on {self.interface}" if self.interface else ""
        return f"the address {self.address}{way}" if self.address else f"the route to {self.network}{way}"


def local_networks() -> list[LocalNetwork]:
    """The addresses and routes of this machine (in this network namespace), without default routes."""
    found = []
    with IPRoute() as netlink:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
        for row in netlink.get_addr(family=2):
            address = IPv4Address(row.get_attr("IFA_LOCAL") or row.get_attr("IFA_ADDRESS"))
            network = IPv4Network((address, row["prefixlen"]), strict=False)
            found.append(LocalNetwork(network, names.get(row["index"], ""), address))
        for row in netlink.get_routes(family=2):
            if row["dst_len"] and (row.get_attr("RTA_TABLE") or row["table"]) != _RT_TABLE_LOCAL:
                network = IPv4Network((row.get_attr("RTA_DST"), row["dst_len"]))
                found.append(LocalNetwork(network, names.get(row.get_attr("RTA_OIF"), "")))
    return found


def overlaps(config: Config, networks: Iterable[LocalNetwork]) -> Iterator[Finding]:
    """Whether the inner addresses are somebody else's on this machine; the TUN's own are not counted."""
    foreign = [network for network in networks if network.interface not in config.server.interfaces]
    found = False
    for first, last in config.addresses.all_ranges:
        blocks = list(ipaddress.summarize_address_range(first, last))
        rivals = [rival for rival in foreign if any(block.overlaps(rival.network) for block in blocks)]
        if rivals:
            found = True
            named = " and ".join(dict.fromkeys(map(str, rivals)))
            remedy = "Give the pool a network of its own; clients on the same network would need proxy ARP"
            yield Finding.warning("addresses", f"the pool {range_text((first, last))} overlaps with {named}", remedy)
    server = config.addresses.server
    if any(rival.address == server for rival in foreign):
        found = True
        owner = next(str(rival) for rival in foreign if rival.address == server)
        yield Finding.fault("addresses", f"addresses.server is {owner} already", "Set addresses.server to a free one")
    if not found:
        yield Finding.ok("addresses", f"{server} and the pool overlap with no address or route of this machine")


def forwarding(machine: Machine) -> Iterator[Finding]:
    """Whether the kernel passes packets on between interfaces."""
    if machine.sysctl("net.ipv4.ip_forward") == 1:
        yield Finding.ok("ip_forward", "packets are forwarded between interfaces")
    else:
        remedy = "sysctl -w net.ipv4.ip_forward=1, and the same in /etc/sysctl.d/ to keep it"
        yield Finding.warning(
            "ip_forward", "forwarding is off: clients reach this machine and nothing behind it", remedy
        )


def reverse_path_filter(machine: Machine) -> Iterator[Finding]:
    """Whether the kernel drops packets that come in through another interface than the answer would take."""
    if machine.sysctl("net.ipv4.conf.all.rp_filter") == 1:
        remedy = "Nothing on a machine with one uplink; with several, set net.ipv4.conf.all.rp_filter=2"
        sentence = "the reverse path filter is strict: GRE of a client is dropped where its answer takes another way"
        yield Finding.warning("rp_filter", sentence, remedy)
    else:
        yield Finding.ok("rp_filter", "the reverse path filter is not strict for all interfaces")


def helpers(machine: Machine) -> Iterator[Finding]:
    """Whether connection tracking knows that the GRE of a call belongs to its control connection."""
    if not machine.path("proc/sys/net/netfilter/nf_conntrack_max").exists():
        yield Finding.ok("conntrack", "no connection tracking, so nothing that would need its PPTP helper")
    elif machine.path("sys/module/nf_conntrack_pptp").exists():
        yield Finding.ok("conntrack", "the PPTP helper of the connection tracking is loaded")
    else:
        sentence = (
            "connection tracking runs without its PPTP helper: a firewall here must let GRE in by a rule of its own"
        )
        remedy = "Accept IP protocol 47 beside TCP 1723: nft add rule inet filter input ip protocol gre accept"
        yield Finding.warning("conntrack", sentence, remedy)
