"""Many clients at once: calls that come up, carry pings, stay a while, hang up, and come again.

Run as a program in a namespace of its own: ``callers.py SERVER USER PASSWORD CALLERS SECONDS SEED``. It prints one JSON
object: how many calls failed, and for each that came up its inner address and the octets of both directions as the
client counted them.
"""

import json
import random
import struct
import sys
from dataclasses import asdict, dataclass

import trio

from poptrio.client.dial import DialSettings, Tunnel, dial
from poptrio.datapath.call_path import GreCallPath
from poptrio.datapath.packets import checksum
from poptrio.protocols.ppp.authenticator import Credentials
from poptrio.testing.inner_packets import ipv4_packet

LONGEST_HOLD = 1.5  # seconds that a call stays up
ANSWER_TIMEOUT = 5.0  # seconds for the replies to a call's pings
PAUSE = 0.2  # seconds before a caller dials again


@dataclass(frozen=True, slots=True)
class CallOctets:
    """What one call carried, as its client counted it."""

    address: str
    sent: int
    received: int


class Callers:
    """So many clients that dial again and again until time is up."""

    def __init__(self, server: str, credentials: Credentials, seed: int) -> None:
        self.calls: list[CallOctets] = []
        self.failures = 0
        self._settings = DialSettings(host=server, credentials=credentials, interface=None)
        self._dice = random.Random(seed)

    async def run(self, callers: int, seconds: float) -> None:
        """Dial with ``callers`` at once; a call that is up when ``seconds`` are over ends in its own time."""
        end = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(self._dial_until, end)

    async def _dial_until(self, end: float) -> None:
        await trio.sleep(self._dice.uniform(0.0, LONGEST_HOLD))
        while trio.current_time() < end:
            outcome = await dial(self._settings, lambda step: None, self._use)
            self.failures += not outcome.reached
            await trio.sleep(PAUSE)

    async def _use(self, tunnel: Tunnel) -> None:
        """Send pings of random sizes, wait for every reply, stay a while, and note down the octets."""
        path = tunnel.path
        assert isinstance(path, GreCallPath)
        assert tunnel.server_address is not None
        counters = path.counters
        sent = 0
        for number in range(self._dice.randint(1, 8)):
            payload = self._dice.randbytes(self._dice.randint(8, 1000))
            packet = ipv4_packet(tunnel.address, tunnel.server_address, _echo_request(number, payload), protocol=1)
            path.packet_from_network(packet, trio.current_time())
            sent += len(packet)
        with trio.move_on_after(ANSWER_TIMEOUT):
            while counters.bytes_in < sent:  # noqa: ASYNC110 - plain counters, which nobody signals
                await trio.sleep(0.02)
        await trio.sleep(self._dice.uniform(0.0, LONGEST_HOLD))
        self.calls.append(CallOctets(str(tunnel.address), counters.bytes_out, counters.bytes_in))


def _echo_request(number: int, payload: bytes) -> bytes:
    """ICMP Echo (RFC 792)."""
    total = checksum(struct.pack(">BBHHH", 8, 0, 0, 1, number) + payload)
    return struct.pack(">BBHHH", 8, 0, total, 1, number) + payload


async def main(server: str, user: str, password: str, callers: int, seconds: float, seed: int) -> None:
    """Run, and print what became of it."""
    crowd = Callers(server, Credentials(user, password), seed)
    await crowd.run(callers, seconds)
    print(json.dumps({"failures": crowd.failures, "calls": [asdict(call) for call in crowd.calls]}))


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]))
