"""Which inner networks the kernel routes to the TUN: the pool for all calls together, others while a call has them."""

import ipaddress
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv4Network

from poptrio.address_ranges import AddressRange
from poptrio.datapath.base import Preparation


def covering_routes(pool: Iterable[AddressRange], server: IPv4Address) -> tuple[IPv4Network, ...]:
    """The routes to the TUN for ``pool``: as few as possible without taking addresses that may be somebody else's.

    A range becomes the one network around it if all that this adds are its network address, its broadcast address and
    the ``server``'s own; otherwise the networks that it consists of. The usual pool is one route.
    """
    networks: list[IPv4Network] = []
    for first, last in pool:
        around = _network_around(first, last)
        added = around.num_addresses - (int(last) - int(first) + 1)
        ours = {around.network_address, around.broadcast_address, server}
        if added == sum(1 for address in ours if address in around and not first <= address <= last):
            networks.append(around)
        else:
            networks.extend(ipaddress.summarize_address_range(first, last))
    return tuple(ipaddress.collapse_addresses(networks))


class KernelRoutes:
    """Routes to the TUN for single calls, on top of the standing ones, each there as long as some call needs it.

    With ``every`` a call has its own routes also where a standing one covers them: other TUNs share the pool. The
    newest route counts then, as the newest of several calls with one address does within one TUN.
    """

    def __init__(
        self,
        standing: Iterable[IPv4Network],
        add: Callable[[IPv4Network], None],
        remove: Callable[[IPv4Network], None],
        *,
        add_standing: Callable[[IPv4Network], None] | None = None,
        remove_standing: Callable[[IPv4Network], None] | None = None,
        every: bool = False,
    ) -> None:
        self._standing = tuple(standing)
        self._add = add
        self._add_standing = add_standing or add
        self._remove = remove
        self._remove_standing = remove_standing or remove
        self._every = every
        self._users: Counter[IPv4Network] = Counter()
        self._of_user: dict[Hashable, set[IPv4Network]] = {}
        self._covered: dict[Hashable, tuple[IPv4Network, ...]] = {}  # what standing routes do for whom
        self._retired: dict[IPv4Network, set[Hashable]] = {}  # standing once, and who still needs it

        self._inherited = False

    @property
    def _covering(self) -> tuple[IPv4Network, ...]:
        return () if self._every else self._standing

    @property
    def standing(self) -> tuple[IPv4Network, ...]:
        """Those that do not depend on calls, and those that were so before a reload and that some call needs."""
        return (*self._standing, *self._retired)

    def add_standing(self, *, inherited: bool = False) -> None:
        """Add the standing routes. Raises OSError when the kernel refuses one.

        ``inherited``: another process has made routes through this device, and those that are there already are right.
        """
        self._inherited = inherited
        for network in self._standing:
            self._make(self._add_standing, network)

    def settled(self) -> None:
        """Everything that was inherited is known: what is there already is somebody else's from now on."""
        self._inherited = False

    def _make(self, add: Callable[[IPv4Network], None], network: IPv4Network) -> None:
        try:
            add(network)
        except FileExistsError:
            if not self._inherited:
                raise

    def prepare_standing(self, standing: Iterable[IPv4Network]) -> Preparation:
        """Add what is new in ``standing``; what is in it no more goes after `Preparation.commit`, when nobody needs it.

        Raises OSError, with nothing changed, when the kernel refuses one.
        """
        wanted = tuple(standing)
        added: list[IPv4Network] = []

        def undo() -> None:
            for network in added:
                self._remove_standing(network)

        try:
            for network in wanted:
                if not self._is_there(network):
                    self._add_standing(network)
                    added.append(network)
        except OSError:
            undo()
            raise
        return Preparation(partial(self._stand, wanted), undo)

    def restore(self) -> list[IPv4Network]:
        """Add the routes again that should be there; returns those that were not. Raises OSError as `replace`.

        Only the first is asked for while it is there: a device that was down, or a flush, has lost them all, and ten
        thousand questions would stop all calls meanwhile.
        """
        missing: list[IPv4Network] = []
        additions = [(self._add_standing, network) for network in (*self._standing, *self._retired)]
        for add, network in additions + [(self._add, network) for network in self._users]:
            try:
                add(network)
            except FileExistsError:
                if not missing:
                    break
                continue
            missing.append(network)
        return missing

    def replace(self, user: Hashable, networks: Iterable[IPv4Network]) -> None:
        """From now on ``user`` needs routes to ``networks``, and to nothing else.

        Raises OSError when the kernel refuses one; ``user`` then has those before it, until it asks for none.
        """
        networks = tuple(networks)
        has = self._of_user.setdefault(user, set())
        covered = tuple(network for network in networks if _is_inside(network, self._covering))
        wanted = [network for network in networks if network not in covered]
        for network in wanted:
            if network not in has:
                if self._every and self._users[network]:
                    self._remove(network)  # to become the newest
                if self._every or not (self._users[network] or network in self._retired):
                    self._make(self._add, network)
                self._users[network] += 1
                has.add(network)
        for network in has.difference(wanted):
            has.remove(network)
            self._users[network] -= 1
            if not self._users[network]:
                del self._users[network]
                if self._every or not self._is_standing(network):
                    self._remove(network)
        if not has:
            del self._of_user[user]
        if covered:
            self._covered[user] = covered
        else:
            self._covered.pop(user, None)
        if self._retired:
            self._needs_no_more(user, networks)

    # Standing routes that come and go.

    def _is_standing(self, network: IPv4Network) -> bool:
        return network in self._standing or network in self._retired

    def _is_there(self, network: IPv4Network) -> bool:
        """Whether the kernel has this very route: a standing one, or with one TUN that of a call."""
        return self._is_standing(network) or (not self._every and network in self._users)

    def _stand(self, standing: tuple[IPv4Network, ...]) -> None:
        retiring = set(self._standing).difference(standing)
        self._standing = standing
        for network in self._retired.keys() & set(standing):
            del self._retired[network]
        for network in retiring:
            self._retired[network] = set()
        for user, covered in tuple(self._covered.items()):
            for network in covered:
                if not _is_inside(network, standing):
                    for retired, users in self._retired.items():
                        if network.subnet_of(retired):
                            users.add(user)
        for network in retiring:
            self._let_go(network)

    def _needs_no_more(self, user: Hashable, networks: tuple[IPv4Network, ...]) -> None:
        """``user`` needs only ``networks`` now: a retired route that led to it for others may go."""
        for retired, users in tuple(self._retired.items()):
            if user in users and not any(network.subnet_of(retired) for network in networks):
                users.remove(user)
                self._let_go(retired)

    def _let_go(self, network: IPv4Network) -> None:
        """Remove a retired route that nobody needs."""
        if not self._retired[network]:
            del self._retired[network]
            if self._every or network not in self._users:
                self._remove_standing(network)


def _is_inside(network: IPv4Network, others: Iterable[IPv4Network]) -> bool:
    return any(network.prefixlen >= other.prefixlen and network.network_address in other for other in others)


def _network_around(first: IPv4Address, last: IPv4Address) -> IPv4Network:
    """The smallest network that holds both."""
    prefix_length = 32 - (int(first) ^ int(last)).bit_length()
    return IPv4Network((int(first), prefix_length), strict=False)
