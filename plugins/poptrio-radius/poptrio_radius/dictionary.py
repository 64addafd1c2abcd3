"""The names of attributes: pyrad's dictionary over our file ``dictionary``, and the one place that touches pyrad.

Everything about pyrad that is not typed ends here. Values pass as octets, by number and not by name, because pyrad
takes octets that happen to begin with ``0x`` for hexadecimal.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from pyrad.dictionary import Dictionary
from pyrad.packet import AuthPacket
from pyrad.tools import EncodeAttr

Key = int | tuple[int, int]
"""An attribute's number (RFC 2865 §5), or vendor and number (§5.26)."""

Value = str | bytes | int | IPv4Address | IPv6Address
"""What an attribute may be given as; text may be the name of a number, as in ``Framed-Protocol`` ``PPP``."""

NO_AUTHENTICATOR = bytes(16)


@cache
def dictionary() -> Any:
    """pyrad's dictionary over our file, read once."""
    with (files("poptrio_radius") / "dictionary").open("r", encoding="utf-8") as file:
        return Dictionary(file)


@cache
def key_of(name: str) -> Key:
    """The number of the attribute ``name``; KeyError when our dictionary has none, which is our bug."""
    attribute = dictionary()[name]
    if attribute.vendor:
        return (dictionary().vendors.GetForward(attribute.vendor), attribute.code)
    return int(attribute.code)


@cache
def name_of(key: Key) -> str | None:
    """The name of the attribute ``key``, or None where our dictionary has none."""
    index = dictionary().attrindex
    return str(index.GetBackward(key)) if index.HasBackward(key) else None


def encode(name: str, value: Value) -> bytes:
    """``value`` as the attribute ``name`` carries it. Raises ValueError when it does not fit."""
    attribute = dictionary()[name]
    match value:
        case bytes():
            return value
        case str() if attribute.type == "string":
            return value.encode("utf-8", "surrogateescape")
        case str():
            return bytes(attribute.values.GetForward(value))
        case int():
            return bytes(EncodeAttr(attribute.type, value))
        case IPv4Address() | IPv6Address():
            return value.packed


def number_named(name: str, value: str) -> int:
    """The number that the attribute ``name`` has for ``value``, as 1 for ``Framed-Protocol`` ``PPP``."""
    return int.from_bytes(dictionary()[name].values.GetForward(value), "big")


def pack(values: Mapping[Key, Sequence[bytes]]) -> bytes:
    """The attributes one after the other (RFC 2865 §5). Raises ValueError when a value has more than 253 octets."""
    packet = AuthPacket(id=0, authenticator=NO_AUTHENTICATOR, dict=dictionary())
    for key, octets in values.items():
        packet[key] = list(octets)
    return bytes(packet.RequestPacket()[20:])


def unpack(packet: bytes) -> dict[Key, list[bytes]]:
    """The attributes of a whole packet whose lengths have been checked (`poptrio_radius.packets.parse`)."""
    decoded = AuthPacket(packet=packet, dict=dictionary())
    return {key: list(decoded[key]) for key in dict.keys(decoded)}
