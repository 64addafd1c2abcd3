"""``ip-pool``: inner addresses for calls, out of the pools of ``[addresses]`` or as the authentication plugin says.

An address that comes back waits at the end of a queue under the name of its last user. The same user gets it again as
long as it is there; others get addresses that were never used, then the one that has waited longest.
"""

import functools
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from pydantic import BaseModel, ConfigDict

from poptrio.api import (
    Accept,
    AddressLease,
    AddressRange,
    CallInfo,
    ConfigError,
    ConfigFault,
    Health,
    NoAddress,
    PluginReload,
    PoolLease,
    PoolState,
    ServerInfo,
    address_count,
    hookimpl,
    parse_ranges,
    read_config,
)

POOL_NAME = "default"
"""What `Accept.framed_pool` may call ``[addresses] pool``; the others have their names in ``[addresses.pools]``."""

FROM_POOL = (IPv4Address("255.255.255.254"), IPv4Address("255.255.255.255"))
"""Framed-IP-Addresses that mean "the server selects" and "the client selects" (RFC 2865 §5.8); we select for both."""

NAMES_SHOWN = 10
"""How many users a full pool names."""


class IpPoolConfig(BaseModel):
    """``[plugins.ip-pool]`` has no keys: the pools are those of ``[addresses]``."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class IpPool:
    """The plugin."""

    def __init__(self) -> None:
        self._pools: dict[str, Pool] = {}
        self._held = Held()

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config: Mapping[str, object], server: ServerInfo) -> AsyncIterator[None]:
        """Make the pools; one that cannot be used keeps the server from starting."""
        read_config(IpPoolConfig, config, "plugins.ip-pool")
        self._held = Held()
        self._use(_new_pools(server, self._held))
        yield

    @hookimpl
    def poptrio_reload(self, config: Mapping[str, object], server: ServerInfo) -> PluginReload:
        """Make the pools larger or smaller; addresses that are in no pool any more stay with their calls."""
        read_config(IpPoolConfig, config, "plugins.ip-pool")
        pools = _new_pools(server, self._held)
        return PluginReload(lambda: self._use(pools))

    def _use(self, pools: "dict[str, Pool]") -> None:
        for name, pool in pools.items():
            if name in self._pools:
                pool.succeed(self._pools[name])
            pool.count_held()
        self._pools = self._held.pools = pools

    @hookimpl
    async def poptrio_allocate_address(self, call: CallInfo, user: Accept) -> AddressLease | None:
        """The address that the user must have, one from where it must come from, or any of the user's pool."""
        assert self._pools, "asked before the lifespan was entered"
        holder = Holder(user.user, call.session_id)
        if user.framed_address is not None and user.framed_address not in FROM_POOL:
            return self._pool_around(IPv4Network(user.framed_address)).allocate_static(user.framed_address, holder)
        pool = self._pools.get(user.framed_pool or POOL_NAME)
        if pool is None:
            return None
        if user.framed_networks:
            if user.framed_pool is None:
                pool = self._pool_around(*user.framed_networks)
            return pool.allocate_from(user.framed_networks, holder)
        return pool.allocate(holder)

    @hookimpl
    def poptrio_keep_address(self, call: CallInfo, user: Accept, address: IPv4Address) -> AddressLease:
        """The address again, also where a pool does not have it any more."""
        pools = (pool for pool in self._pools.values() if pool.has(int(address)))
        return next(pools, self._pools[POOL_NAME]).keep(address, Holder(user.user, call.session_id))

    @hookimpl
    def poptrio_pools(self) -> Iterable[PoolState]:
        """All pools. An address outside of them that a user must have is in none."""
        return [pool.state for pool in self._pools.values()]

    @hookimpl
    def poptrio_health(self) -> Health:
        """It is well unless a pool is full."""
        pools = [pool.state for pool in self._pools.values()]
        details = {pool.name: f"{pool.held} of {pool.size} addresses held" for pool in pools}
        full = [pool.name for pool in pools if pool.held >= pool.size]
        if full:
            which = f"pool {full[0]} is full" if len(full) == 1 else f"the pools {', '.join(full)} are full"
            remedy = "make the pool larger in [addresses], or end calls that nobody uses (idle_timeout)"
            return Health(ok=False, sentence=which, remedy=remedy, details=details)
        return Health(ok=True, sentence="every pool has free addresses", details=details)

    def _pool_around(self, *networks: IPv4Network) -> "Pool":
        """The pool that has an address of ``networks``, the first network first; the default one if none has."""
        pools = (pool for network in networks for pool in self._pools.values() if pool.overlaps(network))
        return next(pools, self._pools[POOL_NAME])


def _new_pools(server: ServerInfo, held: "Held") -> "dict[str, Pool]":
    """The pools of ``server``, by name. Raises `ConfigError` for all that cannot be used."""
    pools, faults = {}, []
    for name, texts in {POOL_NAME: server.pool, **server.pools}.items():
        try:
            pools[name] = Pool(parse_ranges(texts), server.address, name, held)
        except ValueError as error:
            place = "addresses.pool" if name == POOL_NAME else f"addresses.pools.{name}"
            faults.append(ConfigFault(place, str(error)))
    if faults:
        raise ConfigError(*faults)
    return pools


@dataclass(frozen=True, slots=True, eq=False)
class Holder:
    """The call that has an address."""

    user: str
    session_id: str


class Held:
    """Who holds which address, in a pool or outside of all ``pools``, which change while addresses are held."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        self.holders: dict[int, list[Holder]] = {}  # several only where calls of one user share a static address

    def __contains__(self, number: int) -> bool:
        return number in self.holders

    def lease(self, number: int, holder: Holder) -> AddressLease:
        """``holder`` has the address from now on."""
        holders = self.holders.setdefault(number, [])
        if not holders and (pool := self._pool_of(number)) is not None:
            pool.is_held(number)
        holders.append(holder)
        return AddressLease(IPv4Address(number), holder.user, functools.partial(self._release, number, holder))

    def _release(self, number: int, holder: Holder) -> None:
        """``holder`` gives the address back, unless it has before; it is free when the last one has."""
        holders = self.holders.get(number, [])
        if holder not in holders:
            return
        holders.remove(holder)
        if holders:
            return
        del self.holders[number]
        if (pool := self._pool_of(number)) is not None:
            pool.comes_back(number, holder.user)

    def _pool_of(self, number: int) -> "Pool | None":
        return next((pool for pool in self.pools.values() if pool.has(number)), None)


class Pool:
    """Which address belongs to whom. Every operation but `allocate_from` takes constant time, whatever the size.

    Addresses are kept as numbers, and only those that were ever used: nothing is built up for a large pool beforehand.
    ``server``, our own inner address, is never given away; ValueError when ``ranges`` leave nothing besides it.
    ``held`` is shared by the pools of one server: who holds an address, in a pool or outside of all of them.
    """

    def __init__(
        self,
        ranges: tuple[AddressRange, ...],
        server: IPv4Address,
        name: str = POOL_NAME,
        held: Held | None = None,
    ) -> None:
        self._name = name
        self._ranges = [(int(first), int(last)) for first, last in ranges]
        self._server = int(server)
        self._size = address_count(ranges) - self.has(self._server)
        if self._size == 0:
            raise ValueError(f"holds no address besides {server}, which is the server's own")
        self._fresh = itertools.chain.from_iterable(range(first, last + 1) for first, last in self._ranges)
        if held is None:
            held = Held()
            held.pools[name] = self
        self._held = held
        self._held_of_pool = 0
        self._waiting: OrderedDict[int, str] = OrderedDict()  # released address → its last user, longest wait first
        self._last: dict[str, int] = {}  # user → the waiting address that it had last

    @property
    def state(self) -> PoolState:
        """How full it is, for whoever wants to see it."""
        return PoolState(name=self._name, size=self._size, held=self._held_of_pool, leases=self._leases)

    def allocate(self, holder: Holder) -> AddressLease:
        """Any address of the pool. Raises `NoAddress` when all are held."""
        number = self._last.get(holder.user)
        if number is None:
            number = next(self._never_used(), None)
        if number is None:
            number = next(iter(self._waiting), None)
        if number is None:
            raise NoAddress(self._full())
        return self._held.lease(number, holder)

    def allocate_static(self, address: IPv4Address, holder: Holder) -> AddressLease:
        """Exactly ``address``, in the pool or not. Raises `NoAddress` when another user has it.

        Calls of one user share it: the older call is usually one whose client lost its line and dials again.
        """
        number = int(address)
        if number == self._server:
            raise NoAddress(f"address {address} of {holder.user} is the server's own")
        if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_reserved:
            raise NoAddress(f"address {address} of {holder.user} is none that a client can have")
        for other in self._held.holders.get(number, ()):
            if other.user != holder.user:
                by = f"call {other.session_id} of {other.user}"
                raise NoAddress(f"address {address} of {holder.user} is in use by {by}")
        return self._held.lease(number, holder)

    def keep(self, address: IPv4Address, holder: Holder) -> AddressLease:
        """Exactly ``address``, whoever else has it: the call has it already."""
        return self._held.lease(int(address), holder)

    def allocate_from(self, networks: tuple[IPv4Network, ...], holder: Holder) -> AddressLease:
        """An address in ``networks``, the first network first; the user's last one if it can be.

        Of a network that overlaps with the pool, an address of the pool; of another, any that a host can have. Raises
        `NoAddress` when all are held. Takes time in proportion to the addresses held.
        """
        last = self._last.get(holder.user)
        if last is not None and any(IPv4Address(last) in network for network in networks):
            return self._held.lease(last, holder)
        candidates = (number for network in networks for number in self._candidates(network))
        for number in candidates:
            if number not in self._held and number != self._server:
                return self._held.lease(number, holder)
        shown = ", ".join(str(network) for network in networks[:NAMES_SHOWN])
        raise NoAddress(f"no address of {shown}, to which {holder.user} is restricted, is free")

    # What `Held` and a reload tell.

    def is_held(self, number: int) -> None:
        """Somebody has this address of the pool, whom nobody shares it with yet."""
        self._held_of_pool += 1
        last_user = self._waiting.pop(number, None)
        if last_user is not None and self._last.get(last_user) == number:
            del self._last[last_user]

    def comes_back(self, number: int, user: str) -> None:
        """Nobody has this address of the pool any more; ``user`` had it last."""
        self._held_of_pool -= 1
        self._waiting[number] = user
        self._last[user] = number

    def succeed(self, other: "Pool") -> None:
        """Take the place of ``other``: remember who had which address, as far as they are in this pool."""
        for number, user in other._waiting.items():
            if self.has(number) and number != self._server:
                self._waiting[number] = user
                self._last[user] = number

    def count_held(self) -> None:
        """Look which addresses of the pool are held already."""
        self._held_of_pool = sum(1 for number in self._held.holders if self.has(number))

    def overlaps(self, network: IPv4Network) -> bool:
        """Whether an address of ``network`` is in the pool."""
        low, high = int(network.network_address), int(network.broadcast_address)
        return any(first <= high and low <= last for first, last in self._ranges)

    def _candidates(self, network: IPv4Network) -> Iterator[int]:
        low, high = int(network.network_address), int(network.broadcast_address)
        parts = [range(max(first, low), min(last, high) + 1) for first, last in self._ranges]
        if any(parts):
            return itertools.chain.from_iterable(parts)
        edge = 1 if network.prefixlen <= 30 else 0
        return iter(range(low + edge, high + 1 - edge))

    def _never_used(self) -> Iterator[int]:
        """The addresses of the pool that nobody had yet; each is looked at once in the life of the pool."""
        return (n for n in self._fresh if n != self._server and n not in self._held and n not in self._waiting)

    def _leases(self) -> Iterator[PoolLease]:
        """Who holds what, in the order in which addresses were taken; one that calls share comes once for each."""
        for number, holders in self._held.holders.items():
            if self.has(number):
                for holder in holders:
                    yield PoolLease(address=IPv4Address(number), user=holder.user, session_id=holder.session_id)

    def has(self, number: int) -> bool:
        """Whether the address is in the pool."""
        return any(first <= number <= last for first, last in self._ranges)

    def _full(self) -> str:
        """The pool and the first users on it, in the order in which their calls came."""
        users = (holders[0].user for number, holders in self._held.holders.items() if self.has(number))
        names = list(itertools.islice(users, NAMES_SHOWN))
        more = self._held_of_pool - len(names)
        held_by = ", ".join(names) + (f" and {more} more" if more else "")
        return f"pool {self._name} is full: {self._held_of_pool} of {self._size} addresses, held by {held_by}"
