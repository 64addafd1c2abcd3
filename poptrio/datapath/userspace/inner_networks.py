"""Which call an inner address is behind. Hot path (`InnerNetworks.find`)."""

from collections.abc import Iterable
from ipaddress import IPv4Network

from poptrio.datapath.call_path import GreCallPath


class InnerNetworks:
    """The calls by inner address. Where two claim the same, the newer has it: the older is about to time out."""

    def __init__(self) -> None:
        self.hosts: dict[bytes, GreCallPath] = {}
        self._by_mask: dict[int, dict[int, GreCallPath]] = {}  # longest prefix first
        self._of_path: dict[GreCallPath, tuple[IPv4Network, ...]] = {}

    def replace(self, path: GreCallPath, networks: Iterable[IPv4Network]) -> None:
        """From now on ``networks`` are behind ``path``, and nothing else."""
        for network in self._of_path.pop(path, ()):
            self._remove(path, network)
        added = tuple(networks)
        if added:
            self._of_path[path] = added
        for network in added:
            if network.prefixlen == 32:
                self.hosts[network.network_address.packed] = path
            else:
                self._by_mask.setdefault(int(network.netmask), {})[int(network.network_address)] = path
        self._by_mask = dict(sorted(self._by_mask.items(), reverse=True))

    def find(self, address: bytes) -> GreCallPath | None:
        """The call with the longest prefix of ``address``."""
        path = self.hosts.get(address)
        if path is None and self._by_mask:
            number = int.from_bytes(address, "big")
            for mask, networks in self._by_mask.items():
                path = networks.get(number & mask)
                if path is not None:
                    break
        return path

    def _remove(self, path: GreCallPath, network: IPv4Network) -> None:
        """Unless a newer call has it."""
        if network.prefixlen == 32:
            if self.hosts.get(network.network_address.packed) is path:
                del self.hosts[network.network_address.packed]
            return
        mask = int(network.netmask)
        same_mask = self._by_mask.get(mask, {})
        if same_mask.get(int(network.network_address)) is path:
            del same_mask[int(network.network_address)]
            if not same_mask:
                del self._by_mask[mask]
