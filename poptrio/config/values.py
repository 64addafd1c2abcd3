"""The kinds of value a configuration key may have, and how their TOML text becomes them.

The models are strict, so that ``mtu = "1400"`` is a fault and not a number; what TOML cannot spell (an address, a
tuple) is made from what it can by the validators here. Their ValueErrors are sentences for the report.
"""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

PPTP_PORT = 1723
"""TCP port of the control connection (RFC 2637 §1.4)."""


@dataclass(frozen=True, slots=True, order=True)
class ListenAddress:
    """A local address and TCP port on which control connections are taken."""

    address: IPv4Address
    port: int = PPTP_PORT

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def _ipv4(value: object) -> IPv4Address:
    if not isinstance(value, str):
        raise ValueError(f'{value} is not text; write an IPv4 address as "10.90.0.1"')
    try:
        return IPv4Address(value)
    except AddressValueError:
        raise ValueError(f'"{value}" is not an IPv4 address') from None


def _listen_address(value: object) -> ListenAddress:
    if not isinstance(value, str):
        raise ValueError(f'{value} is not text; write "address:port" as "0.0.0.0:{PPTP_PORT}"')
    address, colon, port = value.partition(":")
    if not colon:
        return ListenAddress(_ipv4(address))
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError(f'"{value}" has no TCP port from 1 to 65535 after the colon')
    return ListenAddress(_ipv4(address), int(port))


def _address_with_port(value: object) -> ListenAddress:
    if isinstance(value, str) and ":" not in value:
        raise ValueError(f'"{value}" has no TCP port from 1 to 65535 after the colon')
    return _listen_address(value)


def interface_name(value: str) -> str:
    """``value``, if a network device can have this name. Raises ValueError with a sentence."""
    if not 1 <= len(value.encode()) <= 15:  # IFNAMSIZ is 16 with the terminating zero
        raise ValueError("an interface name has 1 to 15 octets")
    if value in (".", "..") or any(c in "/:%" or c.isspace() or not c.isprintable() for c in value):
        raise ValueError(f'"{value}" cannot be the name of an interface: no blanks, slash, colon or per cent sign')
    return value


def _host_name(value: str) -> str:
    if not 1 <= len(value) <= 63 or not all("!" <= c <= "~" for c in value):
        raise ValueError("a host name has 1 to 63 printable ASCII characters and no blanks")
    return value


def _account_name(value: str) -> str:
    if len(value) > 32 or value[:1] == "-" or any(c in ":/" or c.isspace() or not c.isprintable() for c in value):
        raise ValueError(f'"{value}" can be neither the name nor the number of a user or group')
    return value


T = TypeVar("T")


def _no_duplicates(values: tuple[T, ...]) -> tuple[T, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f'"{value}" is listed twice')
    return values


Unique = Annotated[tuple[T, ...], Strict(False), AfterValidator(_no_duplicates)]
Ipv4 = Annotated[IPv4Address, BeforeValidator(_ipv4)]
Listen = Annotated[
    ListenAddress, BeforeValidator(_listen_address), WithJsonSchema({"type": "string", "format": "address:port"})
]
ListenWithPort = Annotated[
    ListenAddress, BeforeValidator(_address_with_port), WithJsonSchema({"type": "string", "format": "address:port"})
]
InterfaceName = Annotated[str, AfterValidator(interface_name)]
AccountName = Annotated[str, AfterValidator(_account_name)]
HostName = Annotated[str, AfterValidator(_host_name)]
Count = Annotated[int, Field(ge=1)]
CountOrNoLimit = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrOff = Annotated[float, Field(ge=0, allow_inf_nan=False)]
