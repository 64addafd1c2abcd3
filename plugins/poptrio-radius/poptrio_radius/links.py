"""Links: what carries whole RADIUS packets to one server and back. UDP is here, TLS in `poptrio_radius.radsec`."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from poptrio_radius.config_values import IpAddress
from poptrio_radius.packets import LONGEST_PACKET


class Link(Protocol):
    """A way to one server. Every method but ``close`` may raise OSError, and means then that the link is of no use."""

    reliable: bool
    """Whether packets arrive, or the link breaks: nothing is sent twice then (RFC 6614 §2.6)."""

    async def send(self, packet: bytes) -> None:
        """Send one packet."""

    async def receive(self) -> bytes:
        """The next packet, whatever it is."""

    def close(self) -> None:
        """Close it at once; `receive` raises OSError from then on."""


OpenLink = Callable[[], Awaitable[Link]]
"""Makes a link. Raises OSError when there is no way."""


class UdpLink:
    """A connected UDP socket: the kernel drops what comes from elsewhere."""

    reliable = False

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket

    async def send(self, packet: bytes) -> None:
        """Send one datagram; that the server's port was closed when the last one came is no reason not to try."""
        try:
            await self._socket.send(packet)
        except ConnectionRefusedError:
            await self._socket.send(packet)

    async def receive(self) -> bytes:
        """The next datagram. ICMP errors are passed over: anybody can send those."""
        while True:
            try:
                return await self._socket.recv(LONGEST_PACKET + 1)
            except ConnectionRefusedError:
                continue
            except trio.ClosedResourceError as error:
                raise OSError("the socket was closed") from error

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


async def open_udp(address: IpAddress, port: int) -> UdpLink:
    """A link over UDP, IPv4 or IPv6."""
    family = trio.socket.AF_INET if address.version == 4 else trio.socket.AF_INET6
    socket = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
    try:
        await socket.connect((str(address), port))
    except OSError:
        socket.close()
        raise
    return UdpLink(socket)
