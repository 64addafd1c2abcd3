"""One capture of a call: packets come in as they pass, a file in pcapng goes out as fast as its reader takes it.

Nobody waits for the reader: what it is too slow for is left out of the file and counted, and the file says so at its
end. A capture ends by itself, when it has lasted long enough, or has enough octets, or the call is over.
"""

import time
from collections.abc import Callable
from importlib.metadata import version

import trio

from poptrio.datapath.tap import Layer
from poptrio.observe import pcapng

MOST_WAITING = 1 << 20
"""Octets that may wait for the reader; more are dropped."""

INTERFACES = {
    Layer.GRE: pcapng.Interface(pcapng.LINKTYPE_RAW, "gre", "GRE as on the wire"),
    Layer.PPP: pcapng.Interface(pcapng.LINKTYPE_PPP, "ppp", "PPP, decrypted and not compressed"),
    Layer.IP: pcapng.Interface(pcapng.LINKTYPE_RAW, "ip", "IP inside the tunnel"),
}

STATISTICS = 512
"""Octets that the end of a file has room for; they count to its size before they are written."""


class Capture:
    """A capture, about which the file says ``comment``. `record` fills it, `next_chunk` empties it, `end` ends it.

    ``ended`` hears why, once.
    """

    def __init__(self, comment: str, octets: int, ended: Callable[["Capture"], None]) -> None:
        self.why = ""
        self.received = dict.fromkeys(Layer, 0)
        self.dropped = dict.fromkeys(Layer, 0)
        self.octets = 0
        self._most = octets - STATISTICS
        self._ended = ended
        self._begun = time.time_ns()
        self._blocks: list[bytes] = []
        self._waiting = 0
        self._news = trio.Event()
        self._put(pcapng.begin(f"poptrio {version('poptrio')}", comment, list(INTERFACES.values())))

    def record(self, layer: Layer, inward: bool, packet: bytes) -> None:
        """A packet; ``inward`` is from the client."""
        if self.why:
            return
        self.received[layer] += 1
        block = pcapng.packet_block(layer, time.time_ns(), packet, inbound=inward)
        if self.octets + len(block) > self._most:
            self.dropped[layer] += 1
            self.end("it is as large as it may be")
        elif self._waiting + len(block) > MOST_WAITING:
            self.dropped[layer] += 1
        else:
            self._put(block)

    def end(self, why: str) -> None:
        """Nothing more is recorded; the first ``why`` counts."""
        if self.why:
            return
        self.why = why
        now = time.time_ns()
        for layer in Layer:
            counts = self.received[layer], self.dropped[layer]
            self._put(pcapng.statistics_block(layer, self._begun, now, *counts, f"the capture ended: {why}"))
        self._ended(self)

    async def next_chunk(self) -> bytes:
        """What has come since the last time, at least an octet; nothing when all is said."""
        while not self._blocks and not self.why:
            self._news = trio.Event()
            await self._news.wait()
        await trio.lowlevel.checkpoint()
        chunk, self._blocks, self._waiting = b"".join(self._blocks), [], 0
        return chunk

    def abandon(self) -> None:
        """The reader is gone."""
        self.end("its reader is gone")
        self._blocks, self._waiting = [], 0

    def _put(self, block: bytes) -> None:
        self._blocks.append(block)
        self._waiting += len(block)
        self.octets += len(block)
        self._news.set()
