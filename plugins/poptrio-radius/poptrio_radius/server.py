"""`Server`: one RADIUS server for one purpose: whether it is alive, and how it comes back.

A server is dead when a request went through all its tries and nothing was heard from it meanwhile. It is alive again
with the first reply that is verified: to a Status-Server (RFC 5997), one at a time, or to the one request that may try
it after ``dead_time``. A server that has just come back gets its share bit by bit, while others can do the work.
"""

import math
import random
from dataclasses import dataclass
from typing import Literal

import structlog
import trio

from poptrio_radius.attributes import Attributes
from poptrio_radius.channels import Answer, Channels
from poptrio_radius.counters import Counters
from poptrio_radius.packets import Code, Request
from poptrio_radius.seldom import Seldom

RECOVERY = 10.0
"""Seconds in which a server that came back goes from none of the requests to all that it should have."""

JITTER = 0.25
"""By how much, of itself, an interval is longer or shorter at random, so that many NASes do not probe at once."""

Purpose = Literal["authentication", "accounting"]

log = structlog.get_logger("poptrio.radius")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long servers are waited for, and left alone; all in seconds but ``tries``."""

    timeout: float = 3.0
    tries: int = 3
    dead_time: float = 60.0
    status_server: bool = True
    probe_interval: float = 10.0


class Server:
    """One server. ``name`` is its address and port, for the log; ``probe_attributes`` say who we are in probes."""

    def __init__(
        self,
        name: str,
        purpose: Purpose,
        channels: Channels,
        patience: Patience,
        rng: random.Random,
        *,
        weight: int = 1,
        probe_attributes: Attributes | None = None,
    ) -> None:
        self.name = name
        self.purpose = purpose
        self.weight = weight
        self.channels = channels
        channels.heard = self.heard
        channels.dropped = self.dropped
        self._patience = patience
        self._rng = rng
        self._probe_attributes = Attributes() if probe_attributes is None else probe_attributes
        self._probing = trio.CancelScope()
        self._died = trio.Event()
        self._dead = False
        self._retry_at = 0.0
        self._trial = False
        self._heard_at = -math.inf
        self._alive_since = -math.inf
        self._seldom = Seldom(trio.current_time)

    @property
    def counters(self) -> Counters:
        """What happened between us."""
        return self.channels.counters

    @property
    def secret(self) -> bytes:
        """What both of us know."""
        return self.channels.secret

    @property
    def dead(self) -> bool:
        """Whether it is passed over."""
        return self._dead

    def takes_a_request(self, now: float) -> bool:
        """Whether it may be asked: it is alive, or it is time that one request tries it."""
        return not self._dead or (now >= self._retry_at and not self._trial)

    def recovering(self, now: float) -> bool:
        """Whether this request should rather go to another server, because it came back only now."""
        if now >= self._alive_since + RECOVERY:
            return False
        return self._rng.random() * RECOVERY >= now - self._alive_since

    def trying(self, *, begins: bool) -> None:
        """A request goes to it, or has been through. While it is dead only one may."""
        self._trial = begins and self._dead

    def heard(self) -> None:
        """It sent a verified reply."""
        self._heard_at = trio.current_time()
        if self._dead:
            self._dead = False
            self._alive_since = self._heard_at
            self._died = trio.Event()
            log.info("radius server alive", server=self.name, purpose=self.purpose)

    def silent(self, since: float, reason: str) -> None:
        """A request that was first sent at ``since`` got no answer."""
        self.counters.timeouts += 1
        if self._heard_at >= since:
            return  # it lives, and has its reasons
        now = trio.current_time()
        self._retry_at = now + self._jittered(self._patience.dead_time)
        if not self._dead:
            self._dead = True
            self._died.set()
            log.warning("radius server dead", server=self.name, purpose=self.purpose, why=reason)

    def dropped(self, reason: str) -> None:
        """Something came that is not an answer of it: say so, but not as often as somebody likes."""
        count = self._seldom.due(reason)
        if count is not None:
            log.warning("radius reply dropped", server=self.name, purpose=self.purpose, why=reason, count=count)

    async def probe(self) -> None:
        """Whenever it is dead, ask by Status-Server until it answers; until `close`."""
        with self._probing:
            while True:
                await self._died.wait()
                await trio.sleep(self._jittered(self._patience.probe_interval))
                if self._dead:
                    await self._ask_for_status()

    def close(self) -> None:
        """It is not one of ours any more: probe it no more, and close all links."""
        self._probing.cancel()
        self.channels.close()

    async def _ask_for_status(self) -> None:
        answer = Answer()
        self.counters.probes += 1
        try:
            transmission = await self.channels.begin(Request(Code.STATUS_SERVER, self._probe_attributes), answer)
        except OSError:
            return
        try:
            await transmission.send()
            with trio.move_on_after(self._patience.timeout):
                await answer.wait(transmission)
        except OSError:
            pass  # the next probe will see
        finally:
            transmission.close()

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(1 - JITTER, 1 + JITTER)
