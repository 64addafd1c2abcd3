"""One call as the server sees it: who, how far it came, what it holds, and why it ends. It lives in `call_task`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog
import trio

from poptrio.calls import AddressLease, CallInfo
from poptrio.datapath.base import CallPath, PathCounters
from poptrio.decisions import Accept
from poptrio.errors import CauseOfEnd
from poptrio.observe.diagnosis import CallFacts, explain, human_bytes, human_seconds, refined
from poptrio.runtime.flag import Flag
from poptrio.server.call_counts import Stranger
from poptrio.server.domains import name_set
from poptrio.server.limits import CallLimits
from poptrio.server.sessions import SessionCall
from poptrio.server.shared import Shared

if TYPE_CHECKING:
    from poptrio.server.ppp_task import PppTask

DROPS = (
    "lost",
    "late",
    "duplicate",
    "clear_text",
    "foreign_source",
    "no_network",
    "undecryptable",
    "too_big",
    "malformed",
    "send_failed",
)
"""The counters that the last line of a call has where they are not zero."""

_NOTHING_COUNTED = PathCounters()

log = structlog.get_logger("poptrio.call")


def _nothing() -> None:
    """What a call does while it has no PPP session."""


class Call:
    """The state of one call.

    ``steps`` are the seconds from its beginning to each step that it passed; ``nursery`` is where its tasks live, left
    by `end`. ``cause`` is why it ends, as far as anybody is told, ``why`` the sentence about it. ``id_told``: the
    client may have heard its Call ID. ``connection_stranger`` counts its control connection until somebody on it is
    authenticated. ``limits`` are there while its path is; ``counted_names`` are the names by which its user's sessions
    are counted, ``replaced`` those that have to end for it; ``ppp`` is its PPP session, ``released`` is set when it
    holds nothing any more. ``names`` are those that its client is known by, folded; ``retrace`` decides anew whether
    its packets are traced.
    """

    # Of more than 30 attributes each object has a dictionary of 1.5 KiB: Python shares no more names in a class.
    __slots__ = (
        "__weakref__", "_client_is_gone", "_connection_stranger", "_farewell", "accept", "accounting",
        "authenticated_by", "authentication", "begun", "cause", "counted_names", "encryption", "id_told", "info",
        "interface", "lease", "limits", "mtu", "name", "names", "nursery", "path", "ppp", "released", "replaced",
        "retrace", "server", "steps", "stranger", "up_since", "why",
    )  # fmt: skip

    def __init__(self, server: Shared, info: CallInfo, connection_stranger: Stranger) -> None:
        self.server = server
        self.info = info
        self.accounting = server.authority.accounting(self)
        self.nursery: trio.Nursery | None = None
        self.stranger = server.registry.stranger(info.peer)
        self.begun = trio.current_time()
        self.steps: dict[str, float] = {}
        self.name = ""
        self.names: frozenset[str] = frozenset()
        self.retrace: Callable[[], None] = _nothing
        self.accept: Accept | None = None
        self.lease: AddressLease | None = None
        self.path: CallPath | None = None
        self.encryption = "none"
        self.authentication = ""
        self.authenticated_by = ""
        self.interface = ""
        self.mtu = 0
        self.counted_names: frozenset[str] = frozenset()
        self.replaced: Sequence[SessionCall] = ()
        self.ppp: PppTask | None = None
        self.limits: CallLimits | None = None
        self.up_since: float | None = None
        self.released = Flag()
        self.id_told = False
        self.cause: CauseOfEnd | None = None
        self.why = ""
        self._connection_stranger = connection_stranger
        self._farewell: trio.CancelScope | None = None
        self._client_is_gone = False

    @property
    def log(self) -> structlog.typing.FilteringBoundLogger:
        """A logger that says which call it is; made when it is needed, for most calls are silent for hours."""
        return self.bound(log)

    def bound(self, logger: structlog.typing.FilteringBoundLogger) -> structlog.typing.FilteringBoundLogger:
        """``logger``, which says from here on which call it is."""
        return logger.bind(call=self.info.call_id, peer=str(self.info.peer))

    @property
    def counters(self) -> PathCounters:
        """What the call's path has counted until now."""
        return _NOTHING_COUNTED if self.path is None else self.path.counters

    def authenticated(self, accept: Accept) -> None:
        """A plugin has accepted the client: from here on neither call nor connection is a stranger's."""
        self.accept = accept
        self.stranger.known()
        self._connection_stranger.known()
        self.known_as(accept.user)
        self.server.captures.call_authenticated(self)

    def known_as(self, *names: str) -> None:
        """The client calls itself, or is called, by these names; whoever waits for one of them hears of it."""
        known = name_set((*self.names, *names))
        if known != self.names:
            self.names = known
            self.server.tracing.call_named(self)

    def passed(self, step: str) -> None:
        """The call has got through this step."""
        self.steps.setdefault(step, trio.current_time() - self.begun)

    def came_up(self, accept: Accept, lease: AddressLease, mtu: int) -> None:
        """IPCP is up; the first time counts, later ones only change parameters."""
        if self.up_since is not None:
            return
        self.passed("network")
        self.up_since = trio.current_time()
        self.mtu = mtu
        self.interface = self.server.datapath.interface_of(self.info.call_id)
        self.server.stats.up += 1
        self.server.authority.came_up(self)
        if self.limits is not None:
            self.limits.start(self.up_since)
        if self.nursery is not None:
            self.accounting.begin(self.nursery)
        self.log.info(
            "call up",
            user=accept.user,
            seen_as=self.name,
            address=str(lease.address),
            authentication=self.authentication,
            encryption=self.encryption,
            mtu=mtu,
            steps_ms=" ".join(f"{step}={seconds * 1000:.1f}" for step, seconds in self.steps.items()),
        )

    def blame(self, cause: CauseOfEnd, detail: str = "", *, sentence: str = "") -> None:
        """The call is about to end for this reason; the first one counts.

        ``detail`` continues the sentence of the cause; ``sentence`` takes its place. What a client chose belongs into
        ``detail``.
        """
        if self.cause is not None:
            return
        facts = CallFacts(
            peer=self.info.peer,
            cause=cause,
            detail=detail,
            sentence=sentence,
            gre_received=self.counters.gre_received,
            gre_sent=self.counters.gre_sent,
            acknowledged=self.counters.acknowledged,
            link_up="lcp" in self.steps,
            seconds=trio.current_time() - self.begun,
        )
        self.cause, self.why = refined(facts), explain(facts)
        self.server.authority.ending(self)

    def end(self, cause: CauseOfEnd, detail: str = "", *, sentence: str = "") -> None:
        """End the call; the first cause counts. Returns at once; goodbye and release follow in the call's task."""
        self.blame(cause, detail, sentence=sentence)
        if self.nursery is not None:
            self.nursery.cancel_scope.cancel()

    def client_gone(self) -> None:
        """The client has given the call up itself: there is nobody to wait for with a goodbye."""
        self._client_is_gone = True
        if self._farewell is not None:
            self._farewell.cancel()

    def farewell(self) -> trio.CancelScope:
        """The time that the client has to answer our goodbye, left by `client_gone`."""
        self._farewell = trio.CancelScope()
        if self._client_is_gone:
            self._farewell.cancel()
        return self._farewell

    def log_end(self) -> None:
        """The one line that every call leaves in the log, and its place in the statistics."""
        assert self.cause is not None
        self.server.path_totals.call_ended(self.counters)
        if self.cause is CauseOfEnd.TOO_MANY_CALLS:
            self._log_refusal()
            return
        counters, seconds = self.counters, trio.current_time() - self.begun
        self.server.stats.ended[self.cause] += 1
        self.server.stats.failed += self.up_since is None
        self.log.info(
            "call ended",
            user=self.accept.user if self.accept else "",
            seen_as=self.name,
            address=str(self.lease.address) if self.lease else "",
            seconds=round(seconds, 3),
            duration=human_seconds(seconds),
            received=human_bytes(counters.bytes_in),
            sent=human_bytes(counters.bytes_out),
            cause=self.cause.label,
            why=self.why,
            **{name: value for name in DROPS if (value := getattr(counters, name))},
        )

    def _log_refusal(self) -> None:
        """A call that there may not be is refused like one of which that was known at once."""
        self.server.stats.refuse(self.why)
        if self.server.log_limit.allows("call refused"):
            self.log.warning("call refused", why=self.why)
            self.server.authority.refused(self.info.peer, self.why)
