"""rtnetlink for one device per call: made, addressed, counted and removed."""

import errno
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from struct import Struct, pack

from poptrio.datapath.netlink import (
    ATTRIBUTE,
    HEADER,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    NetlinkSocket,
    attribute,
    route,
)

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_RTM_NEWSTATS, _RTM_GETSTATS = 92, 94
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_GROUP = 3, 4, 18, 27
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_PPP_DEV_FD = 1, 2, 1
_IFLA_STATS_LINK_64 = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFF_UP = 0x1

_LINK = Struct("=BxHiII")
_STATS = Struct("=BxHiI")
_ADDRESS = Struct("=BBBBi")
_COUNTS = Struct("=4Q")  # the first four of struct rtnl_link_stats64


@dataclass(frozen=True, slots=True)
class LinkCounts:
    """What a device has received and sent."""

    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int

    def less(self, other: "LinkCounts") -> "LinkCounts":
        """The difference, where it is not below zero."""
        return LinkCounts(
            max(self.packets_in - other.packets_in, 0),
            max(self.packets_out - other.packets_out, 0),
            max(self.bytes_in - other.bytes_in, 0),
            max(self.bytes_out - other.bytes_out, 0),
        )


class Netlink(NetlinkSocket):
    """A netlink socket for devices. Every method raises OSError when the kernel refuses."""

    def add_ppp(self, name: str, descriptor: int, group: int) -> int:
        """Make a ppp device called ``name`` of an open /dev/ppp; it goes with that. Returns its index."""
        data = attribute(_IFLA_PPP_DEV_FD, pack("=i", descriptor))
        kind = attribute(_IFLA_INFO_KIND, b"ppp\0") + attribute(_IFLA_INFO_DATA, data)
        attributes = (
            attribute(_IFLA_IFNAME, name.encode() + b"\0")
            + attribute(_IFLA_GROUP, pack("=I", group))
            + attribute(_IFLA_LINKINFO, kind)
        )
        self.ask(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _LINK.pack(0, 0, 0, 0, 0) + attributes)
        return self.index_of(name)

    def index_of(self, name: str) -> int:
        """The index of a device."""
        request = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        answer = self.ask(_RTM_GETLINK, 0, request, answer=True)
        index: int = _LINK.unpack_from(answer, HEADER.size)[2]
        return index

    def set_up(self, index: int, mtu: int) -> None:
        """Set the MTU, in octets, and the device up."""
        self.ask(_RTM_NEWLINK, 0, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP) + attribute(_IFLA_MTU, pack("=I", mtu)))

    def remove_group(self, group: int) -> None:
        """Remove all devices of a group at once, which costs hardly more than one; none is no error."""
        request = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_GROUP, pack("=I", group))
        try:
            self.ask(_RTM_DELLINK, 0, request)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def add_address(self, index: int, address: IPv4Address) -> None:
        """Make ``address`` one of this host's, on this device; many devices may have the same."""
        self.ask(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _address(index, address))

    def remove_address(self, index: int, address: IPv4Address) -> None:
        """Undo `add_address`."""
        self.ask(_RTM_DELADDR, 0, _address(index, address))

    def add_route(self, index: int, network: IPv4Network) -> None:
        """Route a network to the device. Where others have the same route, the newest one counts."""
        self.ask(RTM_NEWROUTE, NLM_F_CREATE, route(index, network))

    def remove_route(self, index: int, network: IPv4Network) -> None:
        """Undo `add_route`."""
        self.ask(RTM_DELROUTE, 0, route(index, network))

    def counts(self, index: int) -> LinkCounts:
        """What the device has counted, in 64 bits."""
        answer = self.ask(_RTM_GETSTATS, 0, _STATS.pack(0, 0, index, 1 << (_IFLA_STATS_LINK_64 - 1)), answer=True)
        return LinkCounts(*_COUNTS.unpack_from(answer, HEADER.size + _STATS.size + ATTRIBUTE.size))


def _address(index: int, address: IPv4Address) -> bytes:
    header = _ADDRESS.pack(socket.AF_INET, 32, 0, 0, index)
    return header + attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)
