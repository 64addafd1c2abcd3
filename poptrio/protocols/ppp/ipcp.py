"""The Internet Protocol Control Protocol (RFC 1332) with DNS and NBNS addresses (RFC 1877).

Van Jacobson compression and the old IP-Addresses option are rejected by the generic exchange.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address

from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.control_protocol import ControlProtocol, NegotiationSettings
from poptrio.protocols.ppp.frames import Code, Packet, Protocol
from poptrio.protocols.ppp.options import Ack, Insistence, Nak, Option, Reject, Verdict
from poptrio.protocols.wire import type_length_values

UNSPECIFIED = IPv4Address(0)

NAME_SERVER_KINDS = {
    129: "Primary-DNS-Address",
    130: "Primary-NBNS-Address",
    131: "Secondary-DNS-Address",
    132: "Secondary-NBNS-Address",
}


class IpAddressOption(Option):
    """IP-Address (RFC 1332 §3.3).

    ``ours`` is what we request: an address, or 0.0.0.0 to be told one. ``assigned`` is what the peer must take; None
    accepts whatever it says (client role). ``peers`` is what was agreed for it.
    """

    __slots__ = ("_assigned", "_fixed", "_insistence", "_requesting", "mandatory", "ours", "peers")

    kind = 3
    name = "IP-Address"

    def __init__(self, ours: IPv4Address, assigned: IPv4Address | None) -> None:
        super().__init__()
        self.ours = ours
        self.peers: IPv4Address | None = None
        self.mandatory = True
        self._assigned = assigned
        self._fixed = ours != UNSPECIFIED
        self._requesting = True
        self._insistence = Insistence()

    def request(self) -> bytes | None:
        return self.ours.packed if self._requesting else None

    def naked(self, value: bytes) -> None:
        if len(value) != 4:
            return
        suggested = IPv4Address(value)
        if not self._fixed and suggested != UNSPECIFIED:
            self.ours = suggested
        elif self._insistence.exhausted():
            self.rejected()

    def rejected(self) -> None:
        if self._fixed:
            # The client need not know our address: it has a route into the tunnel all the same.
            self._requesting = False
        else:
            self.failure = "the server assigns no address"

    def judge(self, value: bytes) -> Verdict:
        if self._assigned is not None:
            right = value == self._assigned.packed
            insists = any(value) and not right
            self.disagreement = f"the peer insists on {_shown(value)} instead of {self._assigned}" if insists else None
            return Ack() if right else Nak(self._assigned.packed)
        return Ack() if len(value) == 4 and any(value) else Reject()

    def missing(self) -> bytes | None:
        # A Yamaha router leaves the option out and needs a Nak to be told its address.
        return None if self._assigned is None else self._assigned.packed

    def agreed(self, value: bytes | None) -> None:
        assigned = self._assigned
        if value is None:
            self.peers = None
        else:
            self.peers = assigned if assigned is not None and value == assigned.packed else IPv4Address(value)


class NameServerOption(Option):
    """One of the four name server options (RFC 1877 §1), as server: ``address`` is pushed, None is a Reject.

    It never changes, so that calls with the same name servers share one: `name_server_options`.
    """

    __slots__ = ("address", "kind", "name")

    def __init__(self, kind: int, address: IPv4Address | None) -> None:
        super().__init__()
        self.kind = kind
        self.name = NAME_SERVER_KINDS[kind]
        self.address = address

    def judge(self, value: bytes) -> Verdict:
        if self.address is None:
            return Reject()
        return Ack() if value == self.address.packed else Nak(self.address.packed)


@lru_cache(maxsize=1024)
def name_server_options(addresses: frozenset[tuple[int, IPv4Address]]) -> tuple[NameServerOption, ...]:
    """The options that push ``addresses``, by the number of their option."""
    pushed = dict(addresses)
    return tuple(NameServerOption(kind, pushed.get(kind)) for kind in NAME_SERVER_KINDS)


class AskNameServerOption(Option):
    """One of the four name server options, as client: ask with 0.0.0.0 and take what the server says."""

    __slots__ = ("_requesting", "address", "kind", "name")

    def __init__(self, kind: int) -> None:
        super().__init__()
        self.kind = kind
        self.name = NAME_SERVER_KINDS[kind]
        self.address = UNSPECIFIED
        self._requesting = True

    def request(self) -> bytes | None:
        return self.address.packed if self._requesting else None

    def naked(self, value: bytes) -> None:
        if len(value) == 4 and any(value):
            self.address = IPv4Address(value)
        else:
            self._requesting = False

    def rejected(self) -> None:
        self._requesting = False


class Ipcp(ControlProtocol):
    """The Internet Protocol Control Protocol of one session; build it by `as_server` or `as_client`."""

    __slots__ = ("address", "name_servers")

    protocol = Protocol.IPCP

    def __init__(self, address: IpAddressOption, name_servers: Sequence[Option], settings: NegotiationSettings) -> None:
        self.address = address
        self.name_servers = name_servers
        super().__init__([address, *name_servers], settings)

    @classmethod
    def as_server(
        cls,
        ours: IPv4Address,
        assigned: IPv4Address,
        dns: Sequence[IPv4Address],
        wins: Sequence[IPv4Address],
        settings: NegotiationSettings,
    ) -> "Ipcp":
        """Assign ``assigned`` to the client; at most two ``dns`` and two ``wins`` are pushed."""
        pushed = frozenset((*zip((129, 131), dns, strict=False), *zip((130, 132), wins, strict=False)))
        return cls(IpAddressOption(ours, assigned), name_server_options(pushed), settings)

    @classmethod
    def as_client(cls, settings: NegotiationSettings) -> "Ipcp":
        """Ask the server for our address and for its DNS servers."""
        return cls(IpAddressOption(UNSPECIFIED, None), [AskNameServerOption(129), AskNameServerOption(131)], settings)

    @property
    def dns(self) -> tuple[IPv4Address, ...]:
        """The DNS servers that the server told us (client role)."""
        asked = (option for option in self.name_servers if isinstance(option, AskNameServerOption))
        return tuple(option.address for option in asked if option.address != UNSPECIFIED)


def requested_address(packet: Packet) -> IPv4Address | None:
    """The address that a Configure-Request asks for; None if it asks for none, or makes no sense."""
    try:
        value = dict(type_length_values(packet.data, "IPCP")).get(IpAddressOption.kind, b"")
    except MalformedPacket:
        return None
    known = packet.code == Code.CONFIGURE_REQUEST and len(value) == 4 and any(value)
    return IPv4Address(value) if known else None


def _shown(value: bytes) -> str:
    return str(IPv4Address(value)) if len(value) == 4 else f"0x{value.hex()}"
