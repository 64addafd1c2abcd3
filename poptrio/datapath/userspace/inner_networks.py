"""Which call an inner address is behind. Hot path (`InnerNetworks.find`)."""

from collections.abc import Iterable
from ipaddress import IPv4Network

from poptrio.datapath.call_path import GreCallPath


class InnerNetworks:
    """The calls by inner address.

    Where several claim the same, the newest claim has it: the older call is usually about to time out. When the newest
    ends first, the one before it has the network again.
    """

    def __init__(self) -> None:
        self.hosts: dict[bytes, GreCallPath] = {}
        self._by_mask: dict[int, dict[int, GreCallPath]] = {}  # longest prefix first
        self._of_path: dict[GreCallPath, tuple[IPv4Network, ...]] = {}
        self._claims: dict[IPv4Network, list[GreCallPath]] = {}  # newest last

    def replace(self, path: GreCallPath, networks: Iterable[IPv4Network]) -> None:
        """From now on ``networks`` are behind ``path``, and nothing else. What it had already is no new claim."""
        wanted = tuple(dict.fromkeys(networks))
        had = self._of_path.pop(path, ())
        for network in had:
            if network not in wanted:
                self._give_up(path, network)
        for network in wanted:
            if network not in had:
                self._claims.setdefault(network, []).append(path)
                self._show(network, path)
        if wanted:
            self._of_path[path] = wanted
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

    def _give_up(self, path: GreCallPath, network: IPv4Network) -> None:
        claimants = self._claims[network]
        was_newest = claimants[-1] is path
        claimants.remove(path)
        if not claimants:
            del self._claims[network]
            self._hide(network)
        elif was_newest:
            self._show(network, claimants[-1])

    def _show(self, network: IPv4Network, path: GreCallPath) -> None:
        """``network`` is found behind ``path``."""
        if network.prefixlen == 32:
            self.hosts[network.network_address.packed] = path
        else:
            self._by_mask.setdefault(int(network.netmask), {})[int(network.network_address)] = path

    def _hide(self, network: IPv4Network) -> None:
        """``network`` is found behind nobody."""
        if network.prefixlen == 32:
            del self.hosts[network.network_address.packed]
            return
        mask = int(network.netmask)
        del self._by_mask[mask][int(network.network_address)]
        if not self._by_mask[mask]:
            del self._by_mask[mask]
