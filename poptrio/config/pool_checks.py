"""Faults in the pools of inner addresses that no single entry shows."""

import itertools
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from poptrio.address_ranges import AddressRange, address_count, parse_ranges, range_text
from poptrio.config.faults import Fault, KeyPath
from poptrio.config.sections import DEFAULT_POOL, Addresses

LARGEST_POOL = 1 << 24
"""Addresses that clients can ever need: those of 10.0.0.0/8."""

_SERVER: KeyPath = ("addresses", "server")
_POOL: KeyPath = ("addresses", "pool")
_POOLS: KeyPath = ("addresses", "pools")

_NOT_FOR_HOSTS = {
    IPv4Network("0.0.0.0/8"): 'of "this network"',
    IPv4Network("127.0.0.0/8"): "of the loopback",
    IPv4Network("224.0.0.0/3"): "for multicast and reserved ones",
}
"""Special-purpose addresses (RFC 6890 §2.2.2, RFC 5771)."""

_Found = Iterator[tuple[tuple[KeyPath, ...], Fault]]


def pool_faults(addresses: Addresses) -> _Found:
    """Every contradiction in ``[addresses]``, each with the keys that it is about."""
    what = _not_for_hosts((addresses.server, addresses.server))
    if what:
        sentence = f"{addresses.server} is an address {what}; our end of the calls needs one of a host"
        yield (_SERVER,), Fault(_SERVER, sentence)
    yield from _pool(addresses.server, _POOL, addresses.pool)
    for name, texts in addresses.pools.items():
        if name == DEFAULT_POOL:
            yield (_POOLS,), Fault((*_POOLS, name), "is the name of addresses.pool; give this pool another one")
        yield from _pool(addresses.server, (*_POOLS, name), texts)
    yield from _shared(addresses)


def _pool(server: IPv4Address, key: KeyPath, texts: tuple[str, ...]) -> _Found:
    try:
        ranges = parse_ranges(texts)
    except ValueError as error:
        yield (key[:2],), Fault(key, str(error))
        return
    for pool_range in ranges:
        what = _not_for_hosts(pool_range)
        if what:
            sentence = f"{range_text(pool_range)} holds addresses {what}, which no client can have"
            yield (key[:2],), Fault(key, sentence)
    if address_count(ranges) > LARGEST_POOL:
        sentence = f"{address_count(ranges)} addresses are too many; at most {LARGEST_POOL}, as in a /8"
        yield (key[:2],), Fault(key, sentence)
    if ranges and ranges[0][0] == server and address_count(ranges) == 1:
        sentence = f"{server} is our own end of every call (addresses.server), so nothing is left for clients"
        yield (key[:2], _SERVER), Fault(key, sentence)


def _shared(addresses: Addresses) -> _Found:
    """Two pools may not share an address, or two users would have it."""
    try:
        pools = addresses.ranges_by_pool.items()
    except ValueError:
        return  # said already
    for (name, ranges), (other, other_ranges) in itertools.combinations(pools, 2):
        for (first, last), (other_first, other_last) in itertools.product(ranges, other_ranges):
            if first <= other_last and other_first <= last:
                sentence = f"{range_text((other_first, other_last))} shares addresses with the pool {name}"
                yield (_POOL, _POOLS), Fault((*_POOLS, other), sentence)


def _not_for_hosts(addresses: AddressRange) -> str:
    """Which kind of address in a range no host on a network can have; empty when there is none."""
    first, last = addresses
    for network, what in _NOT_FOR_HOSTS.items():
        if first <= network.broadcast_address and last >= network.network_address:
            return f"{what} ({network})"
    return ""
