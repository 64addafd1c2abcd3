"""What operators and signals act on: a server of one process, or the parent of several."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from poptrio.config import Config
from poptrio.datapath.base import DataPathCounters
from poptrio.runtime.loop_lag import LoopLag
from poptrio.server.call_events import ObservedCall
from poptrio.server.captures import Captures
from poptrio.server.drain import Drain
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.reload import Reloader
from poptrio.server.shared import Stats
from poptrio.server.tracing import Tracing


class Operated(Protocol):
    """A server that runs. ``authority`` has its plugins, sessions, and its journal.

    ``tracing`` changes what is logged of it, ``captures`` are the files that are made of its packets.
    """

    config: Config
    authority: LocalAuthority
    stats: Stats
    reloader: Reloader
    drain_state: Drain

    @property
    def tracing(self) -> Tracing:
        """What is logged of it."""

    @property
    def captures(self) -> Captures:
        """The files that are made of its packets."""

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""

    @property
    def call_count(self) -> int:
        """How many calls it has."""

    def calls(self) -> Sequence[ObservedCall]:
        """All calls, in whatever state, roughly in the order in which they began."""

    @property
    def connection_count(self) -> int:
        """How many control connections there are; of workers, up to 5 seconds ago."""

    @property
    def workers_running(self) -> int:
        """How many worker processes there are; 0 where one process does it all."""

    async def packets(self) -> Counter[str]:
        """What all calls' paths have counted, by the names of `PathCounters`; of workers, up to 5 seconds ago.

        Calls that have ended count as well, so that no later answer is less.
        """

    def strays(self) -> DataPathCounters:
        """Packets that belong to no call."""

    def lags(self) -> Mapping[str, LoopLag]:
        """How late the event loop is, by process."""

    async def drain(self, seconds: float | None = None) -> None:
        """Take no new calls, and stop when those that are left are over, or are ended after ``seconds``.

        Again: other ``seconds``, from now on. Nothing when it stops already.
        """

    async def cancel_drain(self) -> bool:
        """Take calls again; whether it was draining."""

    def stop(self) -> None:
        """Stop with goodbyes; the second time at once."""
