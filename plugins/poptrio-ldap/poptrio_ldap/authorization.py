"""What a user's entry, and the groups he is in, say about his calls: address, routes, pool, times, limits."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from poptrio.api import Accept, Rate, RateLimit
from poptrio_ldap.directory import Entry
from poptrio_ldap.settings import GroupConfig

Fields = Mapping[str, Any]
"""Fields of `Accept` by name."""

_CLIENT_CHOOSES, _SERVER_CHOOSES = IPv4Address("255.255.255.255"), IPv4Address("255.255.255.254")


class BadValue(ValueError):
    """An attribute of the entry does not hold what it is for; the message names it."""


def from_entry(entry: Entry) -> dict[str, Any]:
    """The fields of `Accept` that the entry's own attributes decide. Raises `BadValue`."""
    fields: dict[str, Any] = {}
    for attribute, read in _ATTRIBUTES.items():
        values = entry.texts(attribute)
        if values:
            try:
                found = read(values)
            except ValueError as error:
                raise BadValue(f"{attribute} of {entry.dn}: {error}") from None
            for name, value in found.items():
                fields.setdefault(name, value)
    return fields


def from_groups(groups: Iterable[GroupConfig]) -> dict[str, Any]:
    """The fields of `Accept` that ``groups`` decide; of two that say the same the first."""
    fields: dict[str, Any] = {}
    for group in groups:
        for name, value in _from_group(group).items():
            fields.setdefault(name, value)
    return fields


def authorize(accept: Accept, entry: Entry, groups: Iterable[GroupConfig]) -> Accept:
    """``accept`` with what the entry and the groups decide; the entry counts more. Raises `BadValue`."""
    return replace(accept, **(from_groups(groups) | from_entry(entry)))


def _from_group(group: GroupConfig) -> Fields:
    from_client, to_client = group.rate_from_client, group.rate_to_client
    rate = RateLimit(
        from_client=None if from_client is None else Rate(bits_per_second=from_client),
        to_client=None if to_client is None else Rate(bits_per_second=to_client),
    )
    fields = {
        "framed_pool": group.pool,
        "session_timeout": group.session_timeout,
        "idle_timeout": group.idle_timeout,
        "session_limit": group.session_limit,
        "filter_ids": tuple(group.filter_ids) or None,
        "rate": None if rate == RateLimit() else rate,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _address(values: tuple[str, ...]) -> Fields:
    """Dotted, with the two special addresses of RFC 2865 §5.8."""
    try:
        address = IPv4Address(values[0])
    except ValueError:
        raise ValueError("no IPv4 address") from None
    if address == _CLIENT_CHOOSES:
        return {"client_chooses_address": True}
    return {} if address == _SERVER_CHOOSES else {"framed_address": address}


def _signed_address(values: tuple[str, ...]) -> Fields:
    """Active Directory's 32-bit integer, which is negative from 128.0.0.0 on."""
    number = _integer(values[0], -(2**31), 2**32 - 1)
    return _address((str(IPv4Address(number % 2**32)),))


def _routes(values: tuple[str, ...]) -> Fields:
    """``10.1.0.0/16``, with a gateway and metrics after it (RFC 2865 §5.22) which mean nothing on this side."""
    routes = []
    for value in values:
        words = value.split()
        try:
            routes.append(IPv4Network(words[0] if words else "", strict=False))
        except ValueError:
            raise ValueError("no IPv4 network") from None
    return {"framed_routes": tuple(routes)}


def _seconds(name: str) -> Callable[[tuple[str, ...]], Fields]:
    return lambda values: {name: float(_integer(values[0], 1, 2**32 - 1))}


def _integer(text: str, lowest: int, highest: int) -> int:
    if re.fullmatch(r"-?[0-9]{1,12}", text.strip()) and lowest <= int(text) <= highest:
        return int(text)
    raise ValueError(f"no integer from {lowest} to {highest}")


_ATTRIBUTES: dict[str, Callable[[tuple[str, ...]], Fields]] = {
    "radiusFramedIPAddress": _address,
    "msRADIUSFramedIPAddress": _signed_address,
    "radiusFramedRoute": _routes,
    "msRADIUSFramedRoute": _routes,
    "radiusFramedMTU": lambda values: {"framed_mtu": _integer(values[0], 64, 65535)},
    "radiusSessionTimeout": _seconds("session_timeout"),
    "radiusIdleTimeout": _seconds("idle_timeout"),
    "radiusPortLimit": lambda values: {"session_limit": _integer(values[0], 1, 2**32 - 1)},
    "radiusFilterId": lambda values: {"filter_ids": values},
}

ATTRIBUTES = tuple(_ATTRIBUTES)
"""What `from_entry` looks at: the schema of FreeRADIUS for OpenLDAP, and Active Directory's own."""
