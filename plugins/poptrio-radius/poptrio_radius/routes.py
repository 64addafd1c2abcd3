"""Framed-Route (RFC 2865 §5.22) and Framed-IP-Netmask (§5.9): networks behind the client."""

from ipaddress import IPv4Address, IPv4Network


def parse_route(text: str) -> IPv4Network:
    """The network of a Framed-Route, as in ``192.168.1.0/24 192.168.1.1 1``.

    Gateway and metrics may follow, and mean nothing: behind a call there is one neighbour, the client. Without a
    length the class of the address says it, as the RFC wants. Raises ValueError with a sentence.
    """
    words = text.split()
    if not words:
        raise ValueError("is empty")
    address, slash, _length = words[0].partition("/")
    try:
        network = IPv4Network(words[0] if slash else f"{address}/{_class_length(IPv4Address(address))}", strict=False)
        if len(words) > 1:
            IPv4Address(words[1])
    except ValueError:
        raise ValueError(f"{text!r} is not a route as 192.168.1.0/24 0.0.0.0 1") from None
    return routable(network)


def routable(network: IPv4Network) -> IPv4Network:
    """``network``, if it may be behind a client. Raises ValueError: nobody gets the traffic of everybody."""
    if network.prefixlen == 0:
        raise ValueError("would lead everything to this client")
    address = network.network_address
    if address.is_multicast or address.is_loopback or address.is_unspecified:
        raise ValueError(f"{network} cannot be behind a client")
    return network


def network_of(address: IPv4Address, netmask: IPv4Address) -> IPv4Network | None:
    """The network that the client is the router of, None where ``netmask`` says only its own address.

    Raises ValueError when it is no netmask.
    """
    if netmask == IPv4Address("255.255.255.255"):
        return None
    try:
        return routable(IPv4Network(f"{address}/{netmask}", strict=False))
    except ValueError as error:
        raise ValueError(f"{netmask} with {address}: {error}") from None


def _class_length(address: IPv4Address) -> int:
    """8, 16 or 24: how long the network part was before RFC 1519."""
    first = int(address) >> 24
    return 8 if first < 128 else 16 if first < 192 else 24
