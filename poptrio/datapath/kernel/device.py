"""The network device of a call: its unit, its address and routes, and what it has counted."""

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network

from poptrio.datapath.base import CallEndpoint, PathCounters
from poptrio.datapath.kernel import sysfs
from poptrio.datapath.kernel.netlink import LinkCounts, Netlink
from poptrio.datapath.kernel.ppp_device import PppUnit

LONGEST_PREFIX = 9
"""Octets of the configured name in a device's: ``poptrio0-65535`` is as long as a name may be."""


def device_prefix(interface: str) -> str:
    """What the names of all devices of a data path begin with; behind it comes the Call ID."""
    return interface.encode()[:LONGEST_PREFIX].decode(errors="ignore") + "-"


class Device:
    """A new ppp device, down and without an address. Raises OSError when the kernel refuses."""

    def __init__(self, netlink: Netlink, prefix: str, group: int, endpoint: CallEndpoint) -> None:
        self.name = f"{prefix}{endpoint.call_id}"
        self.unit = PppUnit()
        try:
            self._index = netlink.add_ppp(self.name, self.unit.descriptor, group)
            self.unit.prepare()
        except OSError as error:
            self.unit.close()
            raise OSError(error.errno, f"the device {self.name} cannot be made: {error.strerror}") from error
        self._netlink = netlink
        self._address: IPv4Address | None = None
        self._routes: tuple[IPv4Network, ...] = ()
        # Control frames that the device counts among its packets: how many, and their octets.
        self._frames_in = self._octets_in = self._frames_out = self._octets_out = 0
        self._is_up = False
        self._counted = self._ignored = LinkCounts(0, 0, 0, 0)

    def set_up(self, address: IPv4Address, mtu: int, networks: Iterable[IPv4Network]) -> None:
        """``address`` is our end, ``networks`` are behind it. Raises OSError when the kernel refuses."""
        netlink, index = self._netlink, self._index
        netlink.set_up(index, mtu)
        if not self._is_up:
            # What came while nothing could pass is counted by the kernel, and was dropped.
            self._ignored = self._ip_counts().less(self._counted)
            self._is_up = True
        if address != self._address:
            if self._address is not None:
                netlink.remove_address(index, self._address)
            netlink.add_address(index, address)
            self._address = address
        wanted = tuple(dict.fromkeys(networks))
        for network in self._routes:
            if network not in wanted:
                netlink.remove_route(index, network)
        for network in wanted:
            if network not in self._routes:
                netlink.add_route(index, network)
        self._routes = wanted

    def set_down(self) -> None:
        """Let nothing pass; never raises.

        The routes stay until the device is set up again or removed, and lead nowhere: to remove them may take as long
        as another device that is being removed. A new call with the same address has the newer route, which counts.
        """
        self._is_up = False
        with suppress(OSError):  # the device may be gone
            self.unit.let_ipv4_pass(False)

    def write_frame(self, frame: bytes) -> None:
        """Send a control frame. Raises OSError when the kernel does not take it."""
        self.unit.write_frame(frame)
        self._frames_out += 1
        self._octets_out += len(frame) - 2

    def frame_read(self, frame: bytes) -> None:
        """A control frame came through the unit."""
        self._frames_in += 1
        self._octets_in += len(frame) - 2

    def count(self, counters: PathCounters, now: float) -> None:
        """Write into ``counters`` what has passed; nothing while the device is down or gone.

        The kernel tells in whole seconds how long ago the last packet was; what the ingress filter drops does not
        count there, but it does count as a packet.
        """
        if not self._is_up:
            return
        try:
            counts = self._ip_counts().less(self._ignored)
            sent_ago, received_ago = self.unit.idle_times()
        except OSError:
            return
        self._counted = counts
        if counts.packets_in > counters.packets_in:
            counters.packets_in, counters.bytes_in = counts.packets_in, max(counts.bytes_in, counters.bytes_in)
            counters.last_received = max(counters.last_received, now - received_ago)
        if counts.packets_out > counters.packets_out:
            counters.packets_out, counters.bytes_out = counts.packets_out, max(counts.bytes_out, counters.bytes_out)
            counters.last_sent = max(counters.last_sent, now - sent_ago)

    def _ip_counts(self) -> LinkCounts:
        """What the device has counted, without control frames."""
        control = LinkCounts(self._frames_in, self._frames_out, self._octets_in, self._octets_out)
        return (sysfs.counts(self.name, self._index) or self._netlink.counts(self._index)).less(control)
