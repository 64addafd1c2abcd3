"""The TUN: one network device through which the inner packets of all calls pass between us and the kernel.

It exists as long as its descriptor is open; its addresses and routes go with it, however we end.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from struct import Struct

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from poptrio.datapath.userspace.route_socket import RouteSocket, explained
from poptrio.errors import ConfigError, ConfigFault

_DEVICE = "/dev/net/tun"

# linux/if_tun.h: name the device and say what kind; a TUN (IP packets) without packet information before each.
_TUNSETIFF = 0x400454CA
_TUNGETIFF = 0x800454D2
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFREQ = Struct("16sH22x")
_NAME_LENGTH = 15
_IFF_UP = 0x0001  # linux/if.h

_REMEDIES = {
    errno.ENOENT: f"there is no {_DEVICE}; load the module (modprobe tun), or give the container the device "
    f"(--device {_DEVICE})",
    errno.ENODEV: "the kernel has no TUN; load the module (modprobe tun)",
    errno.ENXIO: "the kernel has no TUN; load the module (modprobe tun)",
    errno.EPERM: "not allowed; run as root, or with the capability NET_ADMIN (in a container: --cap-add NET_ADMIN)",
    errno.EACCES: f"not allowed to open {_DEVICE}; run as root",
    errno.EBUSY: "another process has a TUN of this name; end it, or choose another name (server.interface, or "
    "--interface of dial)",
    errno.EINVAL: "a network device of this name that is no TUN exists already; choose another name "
    "(server.interface, or --interface of dial)",
}


class Tun:
    """A new TUN called ``name`` (``%d`` in it becomes the first free number), not up yet.

    Raises ConfigError when ``name`` cannot be a device's, and OSError with the remedy in its text when the kernel
    refuses. Every method raises OSError when the kernel refuses, unless it says otherwise. ``inherited`` is the
    descriptor of such a TUN of another process, with the packets that wait in it, its addresses and routes.
    """

    def __init__(self, name: str, inherited: int | None = None) -> None:
        if not 0 < len(os.fsencode(name)) <= _NAME_LENGTH or "/" in name or any(map(str.isspace, name)):
            message = f'"{name}" cannot name a network device; use 1 to {_NAME_LENGTH} octets without slash and space'
            raise ConfigError(ConfigFault("server.interface", message))
        try:
            self.fd = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC) if inherited is None else inherited
        except OSError as error:
            raise _explained(name, error) from error
        try:
            ask = _TUNSETIFF if inherited is None else _TUNGETIFF
            request = fcntl.ioctl(self.fd, ask, _IFREQ.pack(os.fsencode(name), _IFF_TUN | _IFF_NO_PI))
            self.name = os.fsdecode(_IFREQ.unpack(request)[0].rstrip(b"\0"))
            self._netlink = IPRoute()
            self._index: int = self._netlink.link_lookup(ifname=self.name)[0]
            self._routes = RouteSocket(self._index)
        except OSError as error:
            os.close(self.fd)
            raise _explained(name, error) from error
        self._mtu: int | None = None  # not set up yet

    def set_up(self, mtu: int) -> None:
        """Set the MTU, in octets, and let packets pass."""
        with self._kernel_asked(f"MTU {mtu}"):
            self._netlink.link("set", index=self._index, mtu=mtu, state="up")
        self._mtu = mtu

    def restore(self) -> bool:
        """Set the device up again if somebody has set it down; returns whether that was so."""
        with self._kernel_asked("a look at it"):
            (link,) = self._netlink.link("get", index=self._index)
        if self._mtu is None or link["flags"] & _IFF_UP:
            return False
        self.set_up(self._mtu)
        return True

    def add_address(self, address: IPv4Address) -> None:
        """Make ``address`` one of this host's."""
        with self._kernel_asked(f"address {address}"):
            self._netlink.addr("add", index=self._index, address=str(address), prefixlen=32)

    def remove_address(self, address: IPv4Address) -> None:
        """Undo `add_address`; never raises."""
        with suppress(OSError), self._kernel_asked(f"address {address}"):
            self._netlink.addr("del", index=self._index, address=str(address), prefixlen=32)

    def add_route(self, network: IPv4Network, metric: int = 0, *, before_others: bool = False) -> None:
        """Have the kernel send packets for ``network`` to us; as `RouteSocket.add`."""
        try:
            self._routes.add(network, metric, before_others=before_others)
        except OSError as error:
            why = f"{self.name}: route {network} was refused: {explained(error)}"
            raise OSError(error.errno, why) from error

    def remove_route(self, network: IPv4Network, metric: int = 0) -> None:
        """Undo `add_route`; never raises."""
        with suppress(OSError):
            self._routes.remove(network, metric)

    def close(self) -> None:
        """Remove the device, and with it its addresses and routes."""
        self._netlink.close()
        self._routes.close()
        os.close(self.fd)

    @contextmanager
    def _kernel_asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except NetlinkError as error:
            raise OSError(error.code, f"{self.name}: {what} was refused: {os.strerror(error.code)}") from error


def _explained(name: str, error: OSError) -> OSError:
    number = error.errno or 0
    return OSError(number, f"the TUN {name} cannot be made: {_REMEDIES.get(number, error.strerror)}")
