"""Identifiers: which reply belongs to which request (RFC 2865 §3). A link has 256; `Channels` opens more links.

One task per link reads it. A reply that nobody waits for, or that is not signed by our server, is dropped and counted,
and the wait goes on: an attacker cannot end it by guessing.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from poptrio_radius.counters import Counters
from poptrio_radius.links import Link, OpenLink
from poptrio_radius.packets import BadPacket, Packet, Request, verify_reply

IDENTIFIERS = 256

UNKNOWN = "nobody waits"
"""Why a reply is dropped that has the identifier of no request: it came late, or from somebody else."""


class Answer:
    """Where the answer to a request arrives, from whichever server sends it first."""

    __slots__ = ("_changed", "packet", "transmission")

    def __init__(self) -> None:
        self.packet: Packet | None = None
        self.transmission: Transmission | None = None
        self._changed = trio.Event()

    def arrived(self, packet: Packet, transmission: "Transmission") -> None:
        """Take the first answer; later ones are as good, and not needed."""
        if self.packet is None:
            self.packet, self.transmission = packet, transmission
        self._changed.set()

    def lost(self) -> None:
        """A link that could have brought it has gone."""
        self._changed.set()

    async def wait(self, transmission: "Transmission") -> None:
        """Wait until there is an answer, or none can come from ``transmission``."""
        while self.packet is None and not transmission.broken:
            await self._changed.wait()
            self._changed = trio.Event()


@dataclass(slots=True, eq=False)
class Channel:
    """One link with its identifiers; those that were free longest are used first, so that late replies find nobody."""

    link: Link
    free: deque[int] = field(default_factory=lambda: deque(range(IDENTIFIERS)))
    waiting: dict[int, "Transmission"] = field(default_factory=dict)
    broken: bool = False


@dataclass(slots=True, eq=False)
class Transmission:
    """One request on its way to one server, from its identifier to `close`. ``raw`` is the same at every try."""

    channel: Channel
    identifier: int
    raw: bytes = field(repr=False)
    answer: Answer
    counters: Counters
    sent: int = 0
    sent_at: float = 0.0

    @property
    def reliable(self) -> bool:
        """Whether it need not be sent twice."""
        return self.channel.link.reliable

    @property
    def broken(self) -> bool:
        """Whether the link has gone, so that no answer can come."""
        return self.channel.broken

    async def send(self) -> None:
        """Send it, or send it again. Raises OSError when the link does not take it."""
        if self.sent:
            self.counters.retransmissions += 1
        else:
            self.counters.requests += 1
            self.sent_at = trio.current_time()
        self.sent += 1
        await self.channel.link.send(self.raw)

    def close(self) -> None:
        """Give the identifier back. Whatever answer comes after that is dropped."""
        if self.channel.waiting.pop(self.identifier, None) is not None:
            self.channel.free.append(self.identifier)


class Channels:
    """All links to one server for one purpose. Readers run in ``nursery``, which outlives every request.

    ``heard`` is called with every reply that was verified, ``dropped`` with the reason for every one that was not.
    """

    def __init__(
        self,
        open_link: OpenLink,
        secret: bytes,
        nursery: trio.Nursery,
        *,
        require_message_authenticator: bool = True,
    ) -> None:
        self.counters = Counters()
        self.heard: Callable[[], None] = lambda: None
        self.dropped: Callable[[str], None] = lambda reason: None
        self._open_link = open_link
        self.secret = secret
        self._nursery = nursery
        self._require_message_authenticator = require_message_authenticator
        self._channels: list[Channel] = []
        self._opening = trio.Lock()
        self._failures = 0
        self._failure: OSError | None = None

    async def begin(self, request: Request, answer: Answer) -> Transmission:
        """Get an identifier for ``request``, opening a link if need be; the caller sends it, and closes it.

        Raises OSError when no link can be opened, ValueError when the request does not fit into a packet.
        """
        channel = self._with_room()
        if channel is None:
            channel = await self._open()
        identifier = channel.free.popleft()
        try:
            raw = request.encode(identifier, self.secret)
        except ValueError:
            channel.free.append(identifier)
            raise
        transmission = Transmission(channel, identifier, raw, answer, self.counters)
        channel.waiting[identifier] = transmission
        return transmission

    def close(self) -> None:
        """Close every link; the readers end."""
        for channel in tuple(self._channels):
            self._give_up(channel)

    def _with_room(self) -> Channel | None:
        return next((channel for channel in self._channels if channel.free), None)

    async def _open(self) -> Channel:
        """A channel with room: another that waited for the same may have opened it, or have failed to."""
        failures = self._failures
        async with self._opening:
            channel = self._with_room()
            if channel is not None:
                return channel
            if self._failures > failures and self._failure is not None:
                raise OSError(str(self._failure))
            try:
                channel = Channel(await self._open_link())
            except OSError as error:
                self._failures += 1
                self._failure = error
                raise
            self._channels.append(channel)
            self._nursery.start_soon(self._read, channel)
            return channel

    async def _read(self, channel: Channel) -> None:
        try:
            while True:
                self._take(channel, await channel.link.receive())
        except OSError:
            self._give_up(channel)
        finally:
            channel.link.close()

    def _take(self, channel: Channel, datagram: bytes) -> None:
        transmission = channel.waiting.get(datagram[1]) if len(datagram) > 1 else None
        if transmission is None:
            self._drop(UNKNOWN)
            return
        require = self._require_message_authenticator and not channel.link.reliable
        try:
            packet = verify_reply(datagram, transmission.raw, self.secret, require_message_authenticator=require)
        except BadPacket as bad:
            self._drop(bad.flaw.value)
            return
        self.counters.replies += 1
        self.counters.codes[packet.code] += 1
        self.counters.round_trip = round_trip = trio.current_time() - transmission.sent_at
        self.counters.round_trips.observe(round_trip)
        self.heard()
        transmission.answer.arrived(packet, transmission)
        transmission.close()

    def _drop(self, reason: str) -> None:
        self.counters.dropped[reason] += 1
        self.dropped(reason)

    def _give_up(self, channel: Channel) -> None:
        """The link has gone: nobody need wait for answers from it."""
        channel.broken = True
        if channel in self._channels:
            self._channels.remove(channel)
        channel.link.close()
        for transmission in channel.waiting.values():
            transmission.answer.lost()
