"""What IPCP settled for a call, compiled for its packets: prefixes, and who may send. Hot path."""

from poptrio.datapath.base import NetworkParameters

# PPP in front of a packet: address and control (RFC 1662 §3.1), and the protocols that the data path itself looks at.
ADDRESS_AND_CONTROL = b"\xff\x03"
IPV4 = 0x0021
ENCRYPTED = 0x00FD


class OpenNetwork:
    """`NetworkParameters` in the form in which packets need them."""

    __slots__ = (
        "clamp_mss",
        "encrypted_prefix",
        "encryption_required",
        "mtu",
        "our_address",
        "parameters",
        "plain_prefix",
        "routes",
        "source",
    )

    def __init__(self, parameters: NetworkParameters) -> None:
        self.parameters = parameters
        self.mtu = parameters.mtu
        self.clamp_mss = parameters.clamp_mss
        self.encryption_required = parameters.encryption_required
        self.our_address = parameters.our_address.packed
        self.source = parameters.peer_address.packed if parameters.peer_address else None
        self.routes = tuple((int(route.network_address), int(route.netmask)) for route in parameters.routes)
        address_and_control = b"" if parameters.acfc else ADDRESS_AND_CONTROL
        size = 1 if parameters.pfc else 2
        self.plain_prefix = address_and_control + IPV4.to_bytes(size, "big")
        self.encrypted_prefix = address_and_control + ENCRYPTED.to_bytes(size, "big")

    def may_come_from(self, source: bytes) -> bool:
        """Whether the peer may send from this address, which is not its own: the networks behind it, or any."""
        if self.source is None:
            return True
        address = int.from_bytes(source, "big")
        return any(address & mask == network for network, mask in self.routes)
