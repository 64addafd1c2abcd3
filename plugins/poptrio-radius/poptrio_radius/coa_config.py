"""``[plugins.radius.coa]``: who may end and change calls (RFC 5176)."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, Strict, WithJsonSchema

from poptrio.api import Secret
from poptrio_radius.config_values import Address, IpAddress, Seconds, Section, parse_address

COA_PORT = 3799
"""UDP port (RFC 5176 §2.3)."""


@dataclass(frozen=True, slots=True)
class UdpAddress:
    """A local address and UDP port."""

    address: IpAddress
    port: int = COA_PORT

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.address.version == 4 else f"[{self.address}]:{self.port}"


def _udp_address(value: object) -> UdpAddress:
    if isinstance(value, UdpAddress):
        return value
    if not isinstance(value, str):
        raise ValueError(f'{value} is not text; write "address:port" as "127.0.0.1:{COA_PORT}" or "[::1]:{COA_PORT}"')
    if value.startswith("["):
        host, bracket, port = value[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f'"{value}" has no "]:" before its port')
        port = port[1:]
    elif value.count(":") == 1:
        host, _, port = value.partition(":")
    else:
        host, port = value, ""
    if port and not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f'"{value}" has no UDP port from 1 to 65535 after the colon')
    return UdpAddress(parse_address(host), int(port or COA_PORT))


Listen = Annotated[
    UdpAddress, BeforeValidator(_udp_address), WithJsonSchema({"type": "string", "format": "address:port"})
]


class CoaClientConfig(Section):
    """One entry of ``clients``."""

    address: Address
    """IPv4 or IPv6 address from which requests are taken."""

    secret: Secret
    """The secret that is shared with it."""


class CoaConfig(Section):
    """``[plugins.radius.coa]``: the Dynamic Authorization Server."""

    listen: Listen = UdpAddress(parse_address("127.0.0.1"))
    """UDP address and port. ``[::]:3799`` is IPv6 and IPv4."""

    clients: Annotated[tuple[CoaClientConfig, ...], Strict(False), Field(min_length=1)]
    """Who may send requests."""

    window: Seconds = 300.0
    """Seconds that an Event-Timestamp may be off. A request is remembered for twice as long, and obeyed once."""

    require_event_timestamp: bool = False
    """Drop requests without Event-Timestamp. Without it, a request that somebody recorded can be used again later."""

    require_message_authenticator: bool = False
    """Drop requests without Message-Authenticator. One that is there must be right in any case."""
