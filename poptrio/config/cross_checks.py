"""Faults that no single key shows: settings that contradict each other."""

import difflib
import itertools
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from poptrio.config.domain_checks import domain_faults
from poptrio.config.faults import Fault, KeyPath
from poptrio.config.observation import Log
from poptrio.config.pool_checks import pool_faults
from poptrio.config.sections import Accounting, Addresses, Authentication, Ppp, Server
from poptrio.config.values import interface_name
from poptrio.observe.areas import all_areas

YIELDING_KEYS = ("mschap-v2", "mschap-v1", "eap")
"""The authentication protocols that yield MPPE keys (RFC 3079), EAP by some of its methods."""


def cross_faults(
    server: Server,
    ppp: Ppp,
    addresses: Addresses,
    authentication: Authentication,
    accounting: Accounting,
    plugin_tables: Iterable[str],
    log: Log,
    untrusted: set[KeyPath],
) -> list[Fault]:
    """Every contradiction in a configuration, except those about an ``untrusted`` key (its value is a stand-in)."""
    found = itertools.chain(
        _encryption(ppp),
        _listen(server),
        _interfaces(server),
        _kernel(server, ppp),
        _group(server),
        pool_faults(addresses),
        domain_faults(authentication),
        _delays(authentication),
        _unused_tables(plugin_tables, named_plugins(authentication, addresses, accounting)),
        _areas(log, all_areas(named_plugins(authentication, addresses, accounting))),
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


def _interfaces(server: Server) -> _Found:
    for name in server.interfaces:
        try:
            interface_name(name)
        except ValueError as error:
            key = ("server", "interface")
            sentence = f"the TUN of the last worker would be called {name}, but {error}"
            yield (key, ("server", "workers")), Fault(key, sentence)
            return


def _kernel(server: Server, ppp: Ppp) -> _Found:
    """What the kernel data path cannot, on any machine."""
    if server.datapath != "kernel":
        return
    datapath = ("server", "datapath")
    if server.worker_count > 1:
        sentence = (
            f"workers make {server.worker_count} processes, and the kernel uses all cores from one; set them to 1"
        )
        yield (datapath, ("server", "workers")), Fault(("server", "workers"), sentence)
    if ppp.encryption != "refuse" and 56 in ppp.encryption_bits:
        key = ("ppp", "encryption_bits")
        yield (datapath, key), Fault(key, 'Linux\' MPPE has no 56 bits (server.datapath = "kernel"); take it out')


def _group(server: Server) -> _Found:
    if server.group and not server.user:
        key = ("server", "group")
        yield (
            (key, ("server", "user")),
            Fault(key, "it counts only along with server.user; set that, too"),
        )


def _delays(authentication: Authentication) -> _Found:
    if authentication.failure_delay > authentication.failure_delay_max:
        keys = (("authentication", "failure_delay"), ("authentication", "failure_delay_max"))
        first, most = authentication.failure_delay, authentication.failure_delay_max
        yield keys, Fault(keys[0], f"{first} is more than authentication.failure_delay_max = {most}")


def named_plugins(authentication: Authentication, addresses: Addresses, accounting: Accounting) -> list[str]:
    """The plugins that are loaded, some more than once."""
    of_domains = itertools.chain.from_iterable(authentication.plugins_by_domain.values())
    return [*authentication.plugins, *of_domains, *addresses.plugins, *accounting.plugins]


_PLUGIN_LISTS = (
    ("authentication", "plugins"),
    ("authentication", "domains"),
    ("addresses", "plugins"),
    ("accounting", "plugins"),
)


def _areas(log: Log, areas: tuple[str, ...]) -> _Found:
    for name in log.areas:
        if name not in areas:
            key = ("log", "areas", name)
            yield (key, *_PLUGIN_LISTS), Fault(key, f"there is no such area; there are {', '.join(areas)}")


def _unused_tables(plugin_tables: Iterable[str], named: list[str]) -> _Found:
    for name in plugin_tables:
        if name not in named:
            close = difflib.get_close_matches(name, named, n=1, cutoff=0.5)
            meant = f'; did you mean "{close[0]}"?' if close else ""
            key = ("plugins", name)
            sentence = f"no list of plugins (of authentication, addresses, accounting) names this one{meant}"
            yield (key, *_PLUGIN_LISTS), Fault(key, sentence)
