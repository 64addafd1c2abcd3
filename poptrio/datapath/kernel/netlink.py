"""rtnetlink (RFC 3549) for one device per call: made, addressed, counted and removed.

pyroute2 serves everywhere else. A call needs five messages while all others wait, and pyroute2 takes ten times as long
for each as the kernel does.
"""

import errno
import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from struct import Struct, pack, unpack_from

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_NLMSG_ERROR = 2
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RTM_NEWSTATS, _RTM_GETSTATS = 92, 94
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_GROUP = 3, 4, 18, 27
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_PPP_DEV_FD = 1, 2, 1
_IFLA_STATS_LINK_64 = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF = 1, 4
_RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_LINK, _RTN_UNICAST = 254, 4, 253, 1
_IFF_UP = 0x1

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_LINK = Struct("=BxHiII")
_STATS = Struct("=BxHiI")
_ADDRESS = Struct("=BBBBi")
_ROUTE = Struct("=BBBBBBBBI")
_COUNTS = Struct("=4Q")  # the first four of struct rtnl_link_stats64

_TIMEOUT = 5.0  # seconds; the kernel answers within the call that asks


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


class Netlink:
    """A netlink socket. Every method raises OSError when the kernel refuses."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_TIMEOUT)
        self._socket.bind((0, 0))
        self._sequence = 0

    def add_ppp(self, name: str, descriptor: int, group: int) -> int:
        """Make a ppp device called ``name`` of an open /dev/ppp; it goes with that. Returns its index."""
        data = _attribute(_IFLA_PPP_DEV_FD, pack("=i", descriptor))
        kind = _attribute(_IFLA_INFO_KIND, b"ppp\0") + _attribute(_IFLA_INFO_DATA, data)
        attributes = (
            _attribute(_IFLA_IFNAME, name.encode() + b"\0")
            + _attribute(_IFLA_GROUP, pack("=I", group))
            + _attribute(_IFLA_LINKINFO, kind)
        )
        self._ask(_RTM_NEWLINK, _NLM_F_CREATE | _NLM_F_EXCL, _LINK.pack(0, 0, 0, 0, 0) + attributes)
        return self.index_of(name)

    def index_of(self, name: str) -> int:
        """The index of a device."""
        request = _LINK.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        answer = self._ask(_RTM_GETLINK, 0, request, answer=True)
        index: int = _LINK.unpack_from(answer, _HEADER.size)[2]
        return index

    def set_up(self, index: int, mtu: int) -> None:
        """Set the MTU, in octets, and the device up."""
        self._ask(_RTM_NEWLINK, 0, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP) + _attribute(_IFLA_MTU, pack("=I", mtu)))

    def remove_group(self, group: int) -> None:
        """Remove all devices of a group at once, which costs hardly more than one; none is no error."""
        request = _LINK.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_GROUP, pack("=I", group))
        try:
            self._ask(_RTM_DELLINK, 0, request)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def add_address(self, index: int, address: IPv4Address) -> None:
        """Make ``address`` one of this host's, on this device; many devices may have the same."""
        self._ask(_RTM_NEWADDR, _NLM_F_CREATE | _NLM_F_EXCL, _address(index, address))

    def remove_address(self, index: int, address: IPv4Address) -> None:
        """Undo `add_address`."""
        self._ask(_RTM_DELADDR, 0, _address(index, address))

    def add_route(self, index: int, network: IPv4Network) -> None:
        """Route a network to the device. Where others have the same route, the newest one counts."""
        self._ask(_RTM_NEWROUTE, _NLM_F_CREATE, _route(index, network))

    def remove_route(self, index: int, network: IPv4Network) -> None:
        """Undo `add_route`."""
        self._ask(_RTM_DELROUTE, 0, _route(index, network))

    def counts(self, index: int) -> LinkCounts:
        """What the device has counted, in 64 bits."""
        answer = self._ask(_RTM_GETSTATS, 0, _STATS.pack(0, 0, index, 1 << (_IFLA_STATS_LINK_64 - 1)), answer=True)
        return LinkCounts(*_COUNTS.unpack_from(answer, _HEADER.size + _STATS.size + _ATTRIBUTE.size))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _ask(self, kind: int, flags: int, body: bytes, *, answer: bool = False) -> bytes:
        """Send a request; returns the message that answers it. Without ``answer`` that is an acknowledgement."""
        self._sequence += 1
        flags |= _NLM_F_REQUEST | (0 if answer else _NLM_F_ACK)
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
        while True:
            message = self._socket.recv(32768)
            _, kind, _, sequence, _ = _HEADER.unpack_from(message)
            if sequence != self._sequence:
                continue  # the answer to a request that was given up
            if kind == _NLMSG_ERROR and (number := -unpack_from("=i", message, _HEADER.size)[0]):
                raise OSError(number, os.strerror(number))
            return message


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _address(index: int, address: IPv4Address) -> bytes:
    header = _ADDRESS.pack(socket.AF_INET, 32, 0, 0, index)
    return header + _attribute(_IFA_LOCAL, address.packed) + _attribute(_IFA_ADDRESS, address.packed)


def _route(index: int, network: IPv4Network) -> bytes:
    header = _ROUTE.pack(
        *(socket.AF_INET, network.prefixlen, 0, 0),
        *(_RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_LINK, _RTN_UNICAST, 0),
    )
    return header + _attribute(_RTA_DST, network.network_address.packed) + _attribute(_RTA_OIF, pack("=i", index))
