"""ICMP Echo through many tunnels, to the inner address of the server: loss and round trips. Hot path.

A request carries the time at which it left, so that nothing has to be remembered until its reply comes. Requests leave
in small batches, evenly over the calls that are up.
"""

import secrets
from collections import deque
from ipaddress import IPv4Address
from struct import Struct
from typing import Protocol

import trio

from poptrio.client.histogram import Histogram
from poptrio.datapath.packets import checksum

SMALLEST = 44
"""Octets of the smallest request: IP header, ICMP header, and the stamp of 16."""

BATCH = 64
"""Requests that leave at once; the reader of the replies must have its turn."""

PACE = 0.005
"""Seconds between batches at least: waking up costs as much as some packets."""

ANSWER_WAIT = 2.0
"""Seconds that replies may be behind the last request."""

_ICMP = 1
_ECHO_REQUEST = 8
_ECHO_REPLY = 0

_IP_HEADER = Struct(">BBHHHBBH4s4s")
_ECHO = Struct(">BBHHH8sd")  # type, code, checksum, identifier, sequence number; stamp: which run, when it left
_STAMP = Struct(">8sd")


class InnerPath(Protocol):
    """Where inner packets enter a call."""

    def packet_from_network(self, packet: bytes, now: float) -> None:
        """Take one for the peer."""


class Pinger:
    """One call's end of the traffic."""

    __slots__ = ("_header", "_path", "closed")

    def __init__(self, path: InnerPath, source: IPv4Address, destination: IPv4Address, size: int) -> None:
        self.closed = False
        self._path = path
        ends = source.packed, destination.packed
        header = _IP_HEADER.pack(0x45, 0, size, 0, 0, 64, _ICMP, 0, *ends)
        self._header = _IP_HEADER.pack(0x45, 0, size, 0, 0, 64, _ICMP, checksum(header), *ends)

    def send(self, message: bytes, now: float) -> None:
        """One Echo Request, whose ICMP part is ``message``."""
        self._path.packet_from_network(self._header + message, now)


class Traffic:
    """Sends ``rate`` requests of ``size`` octets per second, together for all calls, and counts the replies."""

    def __init__(self, rate: float, size: int) -> None:
        self.sent = 0
        self.received = 0
        self.received_in_time = 0  # while requests were being sent
        self.seconds = 0.0
        self.round_trips = Histogram()
        self._rate = rate
        self._run = secrets.token_bytes(8)
        self._identifier = secrets.randbits(16)
        self._padding = bytes(size - SMALLEST)
        self._pingers: deque[Pinger] = deque()
        self._all_answered = trio.Event()

    async def run(self, pingers: list[Pinger], seconds: float) -> None:
        """Send for so many seconds, as long as a call is open, then wait for the last replies."""
        self._pingers.extend(pingers)
        begun = trio.current_time()
        try:
            with trio.move_on_after(seconds):
                await self._send()
        finally:
            self.seconds = trio.current_time() - begun
            self.received_in_time = self.received
            self._all_answered = trio.Event()
        if self.received < self.sent:
            with trio.move_on_after(ANSWER_WAIT):
                await self._all_answered.wait()

    async def _send(self) -> None:
        """What is due, in batches. What cannot be sent in time is not made up for beyond a few batches."""
        allowance = 0.0
        before = trio.current_time()
        while self._pingers:
            now = trio.current_time()
            allowance = min(allowance + (now - before) * self._rate, 4.0 * BATCH)
            before = now
            number = min(int(allowance), BATCH)
            allowance -= number
            for _ in range(number):
                self._send_one()
            if number == BATCH:
                await trio.lowlevel.checkpoint()
            else:
                await trio.sleep(max(PACE, (1.0 - allowance) / self._rate))

    def _send_one(self) -> None:
        pingers = self._pingers
        while pingers and pingers[0].closed:
            pingers.popleft()
        if pingers:
            now = trio.current_time()
            pingers[0].send(self._message(now), now)
            pingers.rotate(-1)
            self.sent += 1

    def _message(self, now: float) -> bytes:
        number = self.sent & 0xFFFF
        # The padding is zeros, which a checksum does not see.
        total = checksum(_ECHO.pack(_ECHO_REQUEST, 0, 0, self._identifier, number, self._run, now))
        return _ECHO.pack(_ECHO_REQUEST, 0, total, self._identifier, number, self._run, now) + self._padding

    def packet_arrived(self, packet: bytes) -> None:
        """An inner packet for one of the calls; what is no reply to us is none of our business."""
        if len(packet) < SMALLEST or packet[9] != _ICMP or packet[20] != _ECHO_REPLY:
            return
        run, left = _STAMP.unpack_from(packet, 28)
        if run != self._run:
            return
        self.received += 1
        self.round_trips.add(trio.current_time() - left)
        if self.received == self.sent:
            self._all_answered.set()
