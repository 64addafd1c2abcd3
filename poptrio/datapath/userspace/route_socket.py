"""Routes through a device, each made and removed while all packets wait.

Where workers share a pool, each call has a route of its own.
"""

import errno
from ipaddress import IPv4Network

from poptrio.datapath.netlink import NLM_F_CREATE, NLM_F_EXCL, RTM_DELROUTE, RTM_NEWROUTE, NetlinkSocket, route


class RouteSocket:
    """A netlink socket for routes through the device with the number ``index``.

    Every method raises OSError with the kernel's number for what it refuses.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self._netlink = NetlinkSocket()

    def add(self, network: IPv4Network, metric: int = 0, *, before_others: bool = False) -> None:
        """Route ``network`` through the device; of several routes, the one with the smallest ``metric`` counts.

        Another route to the same network with the same metric is FileExistsError, unless this one shall stand
        ``before_others``: then it counts as long as it is there, and the other one after that.
        """
        flags = NLM_F_CREATE if before_others else NLM_F_CREATE | NLM_F_EXCL
        self._netlink.ask(RTM_NEWROUTE, flags, route(self._index, network, metric))

    def remove(self, network: IPv4Network, metric: int = 0) -> None:
        """Undo `add`."""
        self._netlink.ask(RTM_DELROUTE, 0, route(self._index, network, metric))

    def close(self) -> None:
        """Close the socket; the routes stay until their device goes."""
        self._netlink.close()


def explained(error: OSError) -> str:
    """Why a route was refused, in words."""
    if error.errno == errno.EEXIST:
        return "there is one already that leads elsewhere"
    return error.strerror or str(error)
