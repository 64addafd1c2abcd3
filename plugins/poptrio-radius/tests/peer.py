"""A scripted RADIUS server over links in memory: what a good server sends, and what it never would.

`Peer` is one server. What it does with a request is a function from the request as it came to what it sends and when,
seconds later; `answers` makes the ordinary ones.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import md5

import trio

from poptrio_radius.attributes import Attributes
from poptrio_radius.packets import Code, Packet, parse, respond

SECRET = b"testing123"

Answers = Iterable[tuple[float, bytes]]
Script = Callable[[Packet], Answers]


def attributes(**values):
    """Attributes by name, with underscores for hyphens; a list is one name several times."""
    made = Attributes()
    for name, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            made.add(name.replace("_", "-"), each)
    return made


def answers(code=Code.ACCESS_ACCEPT, after=0.0, secret=SECRET, **values) -> Script:
    """Answer everything with ``code`` and these attributes, ``after`` seconds."""
    return lambda request: [(after, respond(request, code, attributes(**values), secret))]


def unsigned_reply(request, code=Code.ACCESS_ACCEPT, packed=b"", identifier=None, secret=SECRET) -> bytes:
    """A reply without a Message-Authenticator, as servers older than 2024 send it."""
    identifier = request[1] if identifier is None else identifier
    head = struct.pack("!BBH", code, identifier, 20 + len(packed))
    return head + md5(head + request[4:20] + packed + secret).digest() + packed


def silent(_request: Packet) -> Answers:
    """Answer nothing."""
    return ()


@dataclass(eq=False)
class Peer:
    """A server. ``script`` may be changed at any time; ``requests`` are all that came, on whichever ``links``."""

    nursery: trio.Nursery
    script: Script = field(default_factory=answers)
    reliable: bool = False
    refuses: OSError | None = None
    requests: list[Packet] = field(default_factory=list)
    links: list["PeerLink"] = field(default_factory=list)
    answered: trio.Event = field(default_factory=trio.Event)

    async def open_link(self) -> "PeerLink":
        """What `Channels` calls to get a link to this server."""
        await trio.lowlevel.checkpoint()
        if self.refuses is not None:
            raise self.refuses
        link = PeerLink(self, self.reliable)
        self.links.append(link)
        return link

    def at(self, *codes) -> list[Packet]:
        """The requests of these kinds."""
        return [request for request in self.requests if request.code in codes]


class PeerLink:
    """Our end of a link to a `Peer`."""

    def __init__(self, peer: Peer, reliable: bool) -> None:
        self.reliable = reliable
        self.closed = False
        self._peer = peer
        self._out, self._in = trio.open_memory_channel(float("inf"))

    async def send(self, packet: bytes) -> None:
        """Let the peer have it."""
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise OSError("the link is closed")
        request = parse(packet)
        self._peer.requests.append(request)
        for after, octets in self._peer.script(request):
            self._peer.nursery.start_soon(self._deliver, after, octets)

    async def receive(self) -> bytes:
        """What the peer sent next."""
        try:
            return await self._in.receive()
        except trio.EndOfChannel:
            raise OSError("the link is closed") from None

    def close(self) -> None:
        """From either end."""
        self.closed = True
        self._out.close()

    def inject(self, octets: bytes) -> None:
        """Something that nobody asked for."""
        self._out.send_nowait(octets)

    async def _deliver(self, after: float, octets: bytes) -> None:
        await trio.sleep(after)
        if not self.closed:
            self._out.send_nowait(octets)
            self._peer.answered.set()
