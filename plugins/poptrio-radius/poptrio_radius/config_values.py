"""The kinds of value that a key of ``[plugins.radius]`` may have, and what its tables have in common."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

IpAddress = IPv4Address | IPv6Address


def parse_address(value: object) -> IpAddress:
    """``value``, if it is an address or the text of one. Raises ValueError with a sentence."""
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    if not isinstance(value, str):
        raise ValueError(f'{value} is not text; write an address as "192.0.2.1" or "2001:db8::1"')
    try:
        return ip_address(value)
    except ValueError:
        raise ValueError(f'"{value}" is not an IPv4 or IPv6 address; names are not looked up') from None


def _ipv4(value: object) -> IPv4Address:
    address = parse_address(value)
    if not isinstance(address, IPv4Address):
        raise ValueError(f'"{value}" is not an IPv4 address')
    return address


def _attribute_text(value: str) -> str:
    if not 1 <= len(value.encode("utf-8", "surrogateescape")) <= 253:
        raise ValueError("a RADIUS attribute has 1 to 253 octets")
    return value


Address = Annotated[IpAddress, BeforeValidator(parse_address)]
Ipv4 = Annotated[IPv4Address, BeforeValidator(_ipv4)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
AttributeText = Annotated[str, AfterValidator(_attribute_text)]


class Section(BaseModel):
    """What every table has in common: nothing is converted, nothing unknown is accepted, nothing changes later."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True)
