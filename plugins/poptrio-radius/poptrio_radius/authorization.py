"""What an Access-Accept allows: one table of attributes, each with what it does, from which the reference page is made.

A value of the wrong length makes the whole Access-Accept a refusal, as RFC 2865 §5 wants. Text that cannot be
understood is logged and left out: a call without one of its routes is better than no call.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import structlog

from poptrio.api import Accept
from poptrio_radius.attributes import Attributes, BadAttribute
from poptrio_radius.config import RadiusConfig
from poptrio_radius.quotas import quota
from poptrio_radius.rates import rate_limit
from poptrio_radius.routes import network_of, parse_route

SERVER_SELECTS = IPv4Address("255.255.255.254")
CLIENT_SELECTS = IPv4Address("255.255.255.255")
"""Framed-IP-Addresses that are none (RFC 2865 §5.8)."""

ENCRYPTION_BITS = {0x2: 40, 0x8: 56, 0x4: 128}
"""Bits of MS-MPPE-Encryption-Types (RFC 2548 §2.4.5; 56 is what others made of it)."""

log = structlog.get_logger("poptrio.radius")


@dataclass(frozen=True, slots=True)
class Rule:
    """Attributes that belong together, ``does``, a phrase for the reference page, and the function that does it."""

    names: tuple[str, ...]
    does: str
    apply: Callable[[Accept, Attributes, RadiusConfig], Accept]


def authorize(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    """``accept`` with everything that ``attributes`` say about the call. Raises `BadAttribute`."""
    for rule in RULES:
        if any(name in attributes for name in rule.names):
            accept = rule.apply(accept, attributes, config)
    return accept


def _service(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    if attributes.number("Service-Type") not in (None, 2):
        raise BadAttribute("Service-Type", f"is {attributes.number('Service-Type')}, and we only serve Framed (2)")
    if attributes.number("Framed-Protocol") not in (None, 1):
        raise BadAttribute("Framed-Protocol", f"is {attributes.number('Framed-Protocol')}, and we only speak PPP (1)")
    return accept


def _address(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    address, netmask = attributes.address("Framed-IP-Address"), attributes.address("Framed-IP-Netmask")
    if address == CLIENT_SELECTS:
        return replace(accept, client_chooses_address=True)
    if address in (None, SERVER_SELECTS):
        return accept
    accept = replace(accept, framed_address=address)
    if netmask is None or not config.netmask_routes:
        return accept
    try:
        network = network_of(address, netmask)
    except ValueError as error:
        _ignored("Framed-IP-Netmask", error)
        return accept
    return accept if network is None else replace(accept, framed_routes=(*accept.framed_routes, network))


def _routes(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    routes = list(accept.framed_routes)
    for text in attributes.texts("Framed-Route"):
        try:
            route = parse_route(text)
        except ValueError as error:
            _ignored("Framed-Route", error)
            continue
        if route not in routes:
            routes.append(route)
    return replace(accept, framed_routes=tuple(routes))


def _pool(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, framed_pool=attributes.text("Framed-Pool"))


def _mtu(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, framed_mtu=attributes.number("Framed-MTU"))


def _session_timeout(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, session_timeout=_seconds(attributes, "Session-Timeout"))


def _idle_timeout(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, idle_timeout=_seconds(attributes, "Idle-Timeout"))


def _termination_action(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, reauthenticate=attributes.number("Termination-Action") == 1)


def _interim_interval(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    seconds = _seconds(attributes, "Acct-Interim-Interval")
    return replace(accept, interim_interval=max(seconds, config.min_interim_interval) if seconds else seconds)


def _class(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, classes=tuple(attributes.octets("Class")))


def _filter_id(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, filter_ids=tuple(attributes.texts("Filter-Id")))


def _port_limit(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, session_limit=attributes.number("Port-Limit") or None)


def _dns(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, dns=_two(attributes, "MS-Primary-DNS-Server", "MS-Secondary-DNS-Server"))


def _wins(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, wins=_two(attributes, "MS-Primary-NBNS-Server", "MS-Secondary-NBNS-Server"))


def _encryption(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    policy, types = attributes.number("MS-MPPE-Encryption-Policy"), attributes.number("MS-MPPE-Encryption-Types")
    if types is not None:
        bits = tuple(size for bit, size in sorted(ENCRYPTION_BITS.items(), reverse=True) if types & bit)
        accept = replace(accept, encryption_bits=tuple(sorted(bits, reverse=True)) or None)
    if policy == 2:
        return replace(accept, encryption="require")
    if policy == 1:
        return replace(accept, encryption="refuse" if types == 0 else "prefer")
    return accept


def _rate(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, rate=rate_limit(attributes))


def _quota(accept: Accept, attributes: Attributes, config: RadiusConfig) -> Accept:
    return replace(accept, quota=quota(attributes))


def _seconds(attributes: Attributes, name: str) -> float | None:
    seconds = attributes.number(name)
    return None if seconds is None else float(seconds)


def _two(attributes: Attributes, first: str, second: str) -> tuple[IPv4Address, ...]:
    """The addresses that are there; 0.0.0.0 is none."""
    addresses = (attributes.address(first), attributes.address(second))
    return tuple(address for address in addresses if address is not None and int(address))


def _ignored(name: str, error: ValueError) -> None:
    log.warning("radius attribute ignored", attribute=name, why=str(error))


RULES = (
    Rule(
        ("Service-Type", "Framed-Protocol"),
        "must be Framed and PPP if they are there; anything else refuses the call",
        _service,
    ),
    Rule(
        ("Framed-IP-Address", "Framed-IP-Netmask"),
        "the address of the client, 255.255.255.254 for one of the pool, 255.255.255.255 for the one that the client "
        "asks for; with a netmask other than 255.255.255.255, and `netmask_routes`, the network around a fixed address "
        "is behind the client",
        _address,
    ),
    Rule(
        ("Framed-Route",),
        "a network behind the client, for as long as the call is up; gateway and metric mean nothing; one without a "
        "length has that of its class; 0.0.0.0/0 is ignored",
        _routes,
    ),
    Rule(("Framed-Pool",), "name of the pool that the address comes from", _pool),
    Rule(("Framed-MTU",), "largest IP packet to the client, if the client takes one so large", _mtu),
    Rule(("Session-Timeout",), "seconds after which the call is ended; 0 is never", _session_timeout),
    Rule(("Idle-Timeout",), "seconds without IP traffic after which the call is ended; 0 is never", _idle_timeout),
    Rule(
        ("Termination-Action",),
        "RADIUS-Request: when Session-Timeout is over the client is authenticated again, with the State of the "
        "Access-Accept, and goes on if it can",
        _termination_action,
    ),
    Rule(
        ("Acct-Interim-Interval",),
        "seconds between interim accounting records, at least `min_interim_interval`; 0 is none",
        _interim_interval,
    ),
    Rule(("Class",), "sent back in every accounting record, all of them", _class),
    Rule(("Filter-Id",), "handed on to plugins and accounting hooks, all of them", _filter_id),
    Rule(("Port-Limit",), "how many sessions the user may have", _port_limit),
    Rule(("MS-Primary-DNS-Server", "MS-Secondary-DNS-Server"), "DNS servers for the client", _dns),
    Rule(("MS-Primary-NBNS-Server", "MS-Secondary-NBNS-Server"), "WINS servers for the client", _wins),
    Rule(
        ("MS-MPPE-Encryption-Policy", "MS-MPPE-Encryption-Types"),
        "Policy 2 requires MPPE, 1 allows it, and with Types 0 refuses it; in Types, 2 allows 40 bits, 4 allows 128, 8 "
        "allows 56, and their sums several",
        _encryption,
    ),
    Rule(
        (
            "Mikrotik-Rate-Limit",
            "WISPr-Bandwidth-Max-Up",
            "WISPr-Bandwidth-Max-Down",
            "WISPr-Bandwidth-Min-Up",
            "WISPr-Bandwidth-Min-Down",
            "Cisco-AVPair",
            "Ascend-Data-Rate",
            "Ascend-Xmit-Rate",
        ),
        "speed of the call, handed on as one value; the first vendor of this list that is there decides. Of "
        "Cisco-AVPair, `lcp:interface-config#1=rate-limit input` (from the client) and `output` are understood",
        _rate,
    ),
    Rule(
        (
            "Mikrotik-Recv-Limit",
            "Mikrotik-Recv-Limit-Gigawords",
            "Mikrotik-Xmit-Limit",
            "Mikrotik-Xmit-Limit-Gigawords",
            "Mikrotik-Total-Limit",
            "Mikrotik-Total-Limit-Gigawords",
            "Session-Octets-Limit",
            "Octets-Direction",
        ),
        "octets after which the call is ended: from the client (Recv), to it (Xmit), together (Total); of "
        "Session-Octets-Limit by Octets-Direction: 0 together, 1 from the client, 2 to it, 3 either",
        _quota,
    ),
)
"""In the order in which they are applied."""
