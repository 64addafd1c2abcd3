"""Faults that no single key shows: settings that contradict each other."""

import difflib
import itertools
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from poptrio.address_ranges import AddressRange, address_count, parse_ranges, range_text
from poptrio.config.faults import Fault, KeyPath
from poptrio.config.sections import Addresses, Authentication, Ppp, Server

YIELDING_KEYS = ("mschap-v2", "mschap-v1", "eap")
"""The authentication protocols that yield MPPE keys (RFC 3079), EAP by some of its methods."""

LARGEST_POOL = 1 << 24
"""Addresses that clients can ever need: those of 10.0.0.0/8."""

_NOT_FOR_HOSTS = {
    IPv4Network("0.0.0.0/8"): 'of "this network"',
    IPv4Network("127.0.0.0/8"): "of the loopback",
    IPv4Network("224.0.0.0/3"): "for multicast and reserved ones",
}
"""Special-purpose addresses (RFC 6890 §2.2.2, RFC 5771)."""


def cross_faults(
    server: Server,
    ppp: Ppp,
    addresses: Addresses,
    authentication: Authentication,
    plugin_tables: Iterable[str],
    untrusted: set[KeyPath],
) -> list[Fault]:
    """Every contradiction in a configuration, except those about an ``untrusted`` key (its value is a stand-in)."""
    found = itertools.chain(
        _encryption(ppp),
        _listen(server),
        _server_address(addresses),
        _pool(addresses),
        _delays(authentication),
        _unused_tables(plugin_tables, [*authentication.plugins, *addresses.plugins]),
    )
    return [fault for involved, fault in found if not _touches(untrusted, involved)]


def _touches(untrusted: set[KeyPath], involved: tuple[KeyPath, ...]) -> bool:
    return any(path in untrusted or path[:1] in untrusted for path in involved)


_Found = Iterator[tuple[tuple[KeyPath, ...], Fault]]


def _encryption(ppp: Ppp) -> _Found:
    key = ("ppp", "authentication")
    keyless = [protocol for protocol in ppp.authentication if protocol not in YIELDING_KEYS]
    if not keyless:
        return
    without_keys = f"only MS-CHAP and EAP yield MPPE keys, so {' and '.join(keyless)} cannot"
    if ppp.encryption == "require":
        sentence = f'{without_keys} work with ppp.encryption = "require"; leave out what yields none, or set "prefer"'
    elif ppp.encryption == "prefer" and len(keyless) == len(ppp.authentication):
        sentence = f'{without_keys} work with ppp.encryption = "prefer"; add "mschap-v2", or set "refuse"'
    else:
        return
    yield (key, ("ppp", "encryption")), Fault(key, sentence)


def _listen(server: Server) -> _Found:
    everywhere = {listen.port: listen for listen in server.listen if listen.address == IPv4Address(0)}
    for listen in server.listen:
        covering = everywhere.get(listen.port)
        if covering is not None and listen is not covering:
            key = ("server", "listen")
            yield (key,), Fault(key, f"{covering} already takes connections for {listen}; name one of them only")


def _server_address(addresses: Addresses) -> _Found:
    key = ("addresses", "server")
    what = _not_for_hosts((addresses.server, addresses.server))
    if what:
        yield (key,), Fault(key, f"{addresses.server} is an address {what}; our end of the calls needs one of a host")


def _not_for_hosts(addresses: AddressRange) -> str:
    """Which kind of address in a range no host on a network can have; empty when there is none."""
    first, last = addresses
    for network, what in _NOT_FOR_HOSTS.items():
        if first <= network.broadcast_address and last >= network.network_address:
            return f"{what} ({network})"
    return ""


def _pool(addresses: Addresses) -> _Found:
    key = ("addresses", "pool")
    try:
        ranges = parse_ranges(addresses.pool)
    except ValueError as error:
        yield (key,), Fault(key, str(error))
        return
    for pool_range in ranges:
        what = _not_for_hosts(pool_range)
        if what:
            yield (key,), Fault(key, f"{range_text(pool_range)} holds addresses {what}, which no client can have")
    if address_count(ranges) > LARGEST_POOL:
        yield (key,), Fault(key, f"{address_count(ranges)} addresses are too many; at most {LARGEST_POOL}, as in a /8")
    if ranges and ranges[0][0] == addresses.server and address_count(ranges) == 1:
        sentence = f"{addresses.server} is our own end of every call (addresses.server), so nothing is left for clients"
        yield (key, ("addresses", "server")), Fault(key, sentence)


def _delays(authentication: Authentication) -> _Found:
    if authentication.failure_delay > authentication.failure_delay_max:
        keys = (("authentication", "failure_delay"), ("authentication", "failure_delay_max"))
        first, most = authentication.failure_delay, authentication.failure_delay_max
        yield keys, Fault(keys[0], f"{first} is more than authentication.failure_delay_max = {most}")


def _unused_tables(plugin_tables: Iterable[str], named: list[str]) -> _Found:
    lists = (("authentication", "plugins"), ("addresses", "plugins"))
    for name in plugin_tables:
        if name not in named:
            close = difflib.get_close_matches(name, named, n=1, cutoff=0.5)
            meant = f'; did you mean "{close[0]}"?' if close else ""
            key = ("plugins", name)
            sentence = f"neither authentication.plugins nor addresses.plugins names this plugin{meant}"
            yield (key, *lists), Fault(key, sentence)
