"""What all calls of one server share: authority, data path, limits, settings, and how long a goodbye may take."""

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import trio

from poptrio.config import Config
from poptrio.datapath.base import DataPath, Preparation
from poptrio.errors import CauseOfEnd
from poptrio.observe.log_limit import LogLimit
from poptrio.protocols.ppp.lcp import RandomBytes
from poptrio.runtime.control_stream import echo_identifiers
from poptrio.runtime.loop_lag import LoopLag
from poptrio.runtime.octets import Readiness
from poptrio.runtime.ticker import Ticker
from poptrio.server.authority import Authority
from poptrio.server.captures import LocalCaptures
from poptrio.server.domains import DomainRule
from poptrio.server.goodbyes import Goodbyes
from poptrio.server.path_totals import PathTotals
from poptrio.server.refusals import STOPPING, UPGRADING, label_of
from poptrio.server.registry import CallIds, Registry
from poptrio.server.settings import control_settings, limit_settings, path_settings, session_settings
from poptrio.server.tracing import LocalTracing

if TYPE_CHECKING:
    from poptrio.server.connection import Connection

ENDS_AT_ONCE = 32
"""Control connections that end in one turn of the event loop: about 25 ms."""


@dataclass(slots=True)
class Stats:
    """What the server counts over all calls; numbers that only grow.

    ``failed`` are calls that ended without having been up, ``refusals`` are counted by the labels of `refusals`,
    ``left_out`` are log lines by event, ``reloads`` counts by whether they were good; ``reloaded_at`` is when the last
    good one was, in Unix seconds, 0.0 before. ``worker_restarts`` are by number of the worker. ``started`` is when this
    process began to be the server.
    """

    up: int = 0
    failed: int = 0
    internal_errors: int = 0
    ended: Counter[CauseOfEnd] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    reloads: Counter[bool] = field(default_factory=Counter)
    reloaded_at: float = 0.0
    worker_restarts: Counter[int] = field(default_factory=Counter)
    started: datetime = field(default_factory=partial(datetime.now, UTC))

    @property
    def refused(self) -> int:
        """Connections and calls that were refused."""
        return self.refusals.total()

    def refuse(self, why: str) -> None:
        """One more is refused."""
        self.refusals[label_of(why)] += 1

    def reloaded(self, *, good: bool) -> None:
        """The configuration was read again, and taken if it was ``good``."""
        self.reloads[good] += 1
        if good:
            self.reloaded_at = time.time()


class Shared:
    """What calls and control connections know of their server; it takes no more of either when ``stopping``, and for
    the moment when ``upgrading``; no more calls when ``draining``.

    ``random`` makes challenges and Magic-Numbers; like ``call_ids`` it is the system's unless a test says otherwise.
    """

    def __init__(
        self,
        config: Config,
        authority: Authority,
        datapath: DataPath,
        call_ids: CallIds | None = None,
        random: RandomBytes = os.urandom,
    ) -> None:
        self.random = random
        self.authority = authority
        self.datapath = datapath
        self.ticker = Ticker()
        self.readiness = Readiness()
        self.registry = Registry(config.server, call_ids)
        self.stats = Stats()
        self.log_limit = LogLimit(self.stats.left_out)
        self.path_totals = PathTotals()
        self.lag = LoopLag()
        self.echo_identifiers = echo_identifiers()
        self.ends = trio.CapacityLimiter(ENDS_AT_ONCE)
        self.goodbyes = Goodbyes(config.server.grace)
        self.stopping = False
        self.connections: set[Connection] = set()
        self.tracing = LocalTracing(config, self.ticker, partial(iter, self.connections))
        self.captures = LocalCaptures(config, self.ticker, self.registry.calls.values)
        self.draining = False
        self.upgrading = False
        self._use(config)

    @property
    def refuses(self) -> str | None:
        """Why there are no new calls and connections at all, None if there are."""
        if self.stopping:
            return STOPPING
        return UPGRADING if self.upgrading else None

    def call_over(self) -> None:
        """A call has given everything back."""

    def prepare(self, config: Config) -> Preparation:
        """Get ready for another configuration; calls that are up keep what was decided about them.

        Raises OSError, with nothing changed, when the kernel refuses something.
        """
        path = self.datapath.prepare(path_settings(config))

        def commit() -> None:
            self._use(config)
            path.commit()

        return Preparation(commit, path.undo)

    def _use(self, config: Config) -> None:
        self.config = config
        self.registry.limits = config.server
        self.domain_rule = DomainRule.configured(config.authentication)
        self.session_settings = session_settings(config)
        self.limit_settings = limit_settings(config)
        self.control_settings = control_settings(config)
        self.goodbyes.grace = config.server.grace
        self.captures.configure(config)
