"""Ranges of IPv4 addresses as an operator writes them: ``a-b``, ``a.b.c.d-e``, CIDR, single, and comma lists of these.

Pure text to values; the configuration checks its pool with it and the ``ip-pool`` plugin hands addresses out of it.
"""

import itertools
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

AddressRange = tuple[IPv4Address, IPv4Address]
"""First and last address, both included."""


def parse_ranges(texts: Iterable[str]) -> tuple[AddressRange, ...]:
    """Return the ranges that ``texts`` name, in their order; each text may be a comma list.

    A network in CIDR notation stands for its hosts: without the network and broadcast address where it has them
    (up to /30). ``10.0.0.200-250`` is short for ``10.0.0.200-10.0.0.250``. Raises ValueError with a sentence when a
    text is none of these, a range runs backwards, or two ranges share an address.
    """
    ranges = tuple(_parse_range(part.strip()) for text in texts for part in text.split(","))
    _refuse_overlaps(ranges)
    return ranges


def address_count(ranges: Iterable[AddressRange]) -> int:
    """How many addresses ``ranges`` hold together."""
    return sum(int(last) - int(first) + 1 for first, last in ranges)


def range_text(addresses: AddressRange) -> str:
    """The range as a reader expects it: ``10.0.0.2-10.0.0.9``, or the one address it holds."""
    first, last = addresses
    return str(first) if first == last else f"{first}-{last}"


def _parse_range(text: str) -> AddressRange:
    if not text:
        raise ValueError("an empty entry; write an address, a range (10.0.0.2-10.0.0.9) or a network (10.0.0.0/24)")
    if "/" in text:
        return _parse_network(text)
    first_text, dash, last_text = (part.strip() for part in text.partition("-"))
    first = _parse_address(first_text, text)
    if not dash:
        return first, first
    if last_text.isdecimal():
        last_text = f"{first_text.rpartition('.')[0]}.{last_text}"
    last = _parse_address(last_text, text)
    if last < first:
        raise ValueError(f'"{text}" runs backwards: {last} comes before {first}')
    return first, last


def _parse_network(text: str) -> AddressRange:
    try:
        network = IPv4Network(text)
    except (AddressValueError, NetmaskValueError) as error:
        raise ValueError(f'"{text}" is not an IPv4 network: {error}') from None
    except ValueError:
        network = IPv4Network(text, strict=False)
        raise ValueError(f'"{text}" has bits set beyond its prefix; the network is written {network}') from None
    edge = 1 if network.prefixlen <= 30 else 0  # /31 (RFC 3021) and /32 have no network and broadcast address
    return network[edge], network[-1 - edge]


def _parse_address(text: str, whole: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        where = "" if text == whole else f' in "{whole}"'
        raise ValueError(f'"{text}"{where} is not an IPv4 address') from None


def _refuse_overlaps(ranges: tuple[AddressRange, ...]) -> None:
    in_order = sorted(ranges)
    for lower, upper in itertools.pairwise(in_order):
        if upper[0] <= lower[1]:
            raise ValueError(f"{range_text(lower)} and {range_text(upper)} share {upper[0]}")
