"""What ends a call that is up by itself: session timeout, idle timeout, quota; and when its next interim record is due.

One alarm of the ticker for each call, set to whatever comes first. A packet costs nothing: idle time and octets are
read from the counters when the alarm rings. Where there is a quota, that is as soon as it can have been used up by the
fastest link there is, and every second or faster when little is left.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from poptrio.datapath.base import PathCounters
from poptrio.decisions import Accept, Quota
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.lcp import RandomBytes
from poptrio.runtime.ticker import Ticker

REAUTHENTICATION_WAIT = 20.0
"""Seconds from the session timeout of a call whose client may prove itself again, until that must have worked."""

FASTEST = 125_000_000.0
"""Octets per second that a call can move: 1 Gbit/s, more than one core encrypts."""

SOONEST_LOOK = 0.3
SOONEST_IDLE_LOOK = 1.0
"""Seconds between two looks at a quota that is nearly used up; the second while no packets come."""

log = structlog.get_logger("poptrio.call")


class LimitedCall(Protocol):
    """What the limits know of a call."""

    accept: Accept | None

    @property
    def counters(self) -> PathCounters:
        """What its path has counted until now."""

    def end(self, cause: CauseOfEnd, detail: str = "") -> None:
        """End the call."""


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Where a plugin does not decide: seconds, 0 for never; the jitter is the fraction by which intervals vary."""

    session_timeout: float = 0.0
    idle_timeout: float = 0.0
    interim_interval: float = 0.0
    interim_jitter: float = 0.0


class CallLimits:
    """The limits of one call; ``call.accept`` says them, and `changed` that it says something else now.

    ``reauthenticate`` asks the client to prove itself once more and tells whether its protocol can; ``interim_due``
    is called whenever an interim record shall be made.
    """

    def __init__(
        self,
        call: LimitedCall,
        ticker: Ticker,
        settings: LimitSettings,
        random: RandomBytes,
        reauthenticate: Callable[[], bool],
        interim_due: Callable[[], None],
    ) -> None:
        self._call = call
        self._settings = settings
        self._random = random
        self._reauthenticate = reauthenticate
        self._interim_due = interim_due
        self._alarm = ticker.alarm(self._rings)
        self._begun = self._session_begun = math.inf
        self._proof_deadline: float | None = None
        self._interim_interval = 0.0
        self._next_interim = math.inf

    @property
    def reauthenticating(self) -> bool:
        """Whether the session timeout is over and the client is to prove itself again."""
        return self._proof_deadline is not None

    def start(self, now: float) -> None:
        """The call is up."""
        self._begun = self._session_begun = now
        self.changed(now)

    def take_up(self, *, begun: float, session_begun: float, interim_interval: float, next_interim: float) -> None:
        """As `start`, of a call that was up in another process before; the next look is the first one of the ticker."""
        self._begun, self._session_begun = begun, session_begun
        self._interim_interval, self._next_interim = interim_interval, next_interim
        self._alarm.set(-math.inf)

    def changed(self, now: float) -> None:
        """``call.accept`` is another one."""
        if self._begun == math.inf:
            return
        interval = self._decided("interim_interval") or math.inf
        if interval != self._interim_interval:
            self._interim_interval = interval
            self._next_interim = now + self._jittered(interval)
        if now < self._session_end:
            self._proof_deadline = None
        self._rings(now)

    def reauthenticated(self, now: float) -> None:
        """The client has proved itself again: its session time starts anew."""
        self._session_begun = now
        self._proof_deadline = None
        self.changed(now)

    def close(self) -> None:
        """The call has ended."""
        self._alarm.close()

    def _rings(self, now: float) -> None:
        try:
            self._look(now)
        except Exception as error:  # a bug here ends this call, not the ticker and with it all calls
            log.exception("internal error", session=type(self).__name__)
            self._call.end(CauseOfEnd.INTERNAL_ERROR, repr(error))

    def _look(self, now: float) -> None:
        """End the call, or set the alarm to what comes first."""
        counters, quota = self._call.counters, self._accept.quota
        idle_timeout = self._decided("idle_timeout")
        last_packet = max(self._begun, counters.last_received, counters.last_sent)
        idle_end = last_packet + (idle_timeout or math.inf)
        if quota is not None and (used_up := quota_used_up(quota, counters)):
            self._call.end(CauseOfEnd.QUOTA_REACHED, used_up)
            return
        if now >= idle_end:
            self._call.end(CauseOfEnd.IDLE_TIMEOUT, f"{idle_timeout:.0f} seconds")
            return
        if now >= self._session_end and not self._may_go_on(now):
            self._call.end(CauseOfEnd.SESSION_TIMEOUT, f"{self._decided('session_timeout'):.0f} seconds")
            return
        if now >= self._next_interim:
            self._next_interim = now + self._jittered(self._interim_interval)
            self._interim_due()
        session_end = self._session_end if self._proof_deadline is None else self._proof_deadline
        quota_look = math.inf if quota is None else now + _until_next_look(quota, counters, now - last_packet)
        self._alarm.set(min(session_end, idle_end, self._next_interim, quota_look))

    def _may_go_on(self, now: float) -> bool:
        """Whether a call beyond its session timeout may be up: its client is proving itself again."""
        if self._proof_deadline is None and self._accept.reauthenticate and self._reauthenticate():
            self._proof_deadline = now + REAUTHENTICATION_WAIT
        return self._proof_deadline is not None and now < self._proof_deadline

    @property
    def _accept(self) -> Accept:
        assert self._call.accept is not None  # nothing is up without
        return self._call.accept

    @property
    def _session_end(self) -> float:
        return self._session_begun + (self._decided("session_timeout") or math.inf)

    def _decided(self, name: str) -> float:
        """What a plugin decided, else what is configured."""
        decided: float | None = getattr(self._accept, name)
        configured: float = getattr(self._settings, name)
        return configured if decided is None else decided

    def _jittered(self, interval: float) -> float:
        """``interval``, longer or shorter by chance (RFC 2869 §2.1): calls of one moment shall not stay together."""
        if not self._settings.interim_jitter or interval == math.inf:
            return interval
        chance = int.from_bytes(self._random(4), "big") / (1 << 31) - 1.0
        return interval * (1.0 + self._settings.interim_jitter * chance)


def quota_used_up(quota: Quota, counters: PathCounters) -> str:
    """Which part of a quota is used up, in words for the log; empty while none is."""
    for left, limit, what in _parts(quota, counters):
        if left <= 0:
            return f"{limit} octets {what}"
    return ""


def _until_next_look(quota: Quota, counters: PathCounters, idle: float) -> float:
    left = min((left for left, _, _ in _parts(quota, counters)), default=math.inf)
    return max(left / FASTEST, SOONEST_LOOK if idle < SOONEST_IDLE_LOOK else SOONEST_IDLE_LOOK)


def _parts(quota: Quota, counters: PathCounters) -> list[tuple[int, int, str]]:
    """What is left of each part of a quota, the part, and what it counts."""
    parts = (
        (quota.from_client, counters.bytes_in, "from the client"),
        (quota.to_client, counters.bytes_out, "to the client"),
        (quota.total, counters.bytes_in + counters.bytes_out, "in both directions"),
    )
    return [(limit - used, limit, what) for limit, used, what in parts if limit is not None]
