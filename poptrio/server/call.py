"""One call, from the accepted Outgoing-Call-Request to its last log line: the call nursery.

    run_call
    └─ call nursery            left by `Call.end`; whoever calls that first names the cause
       ├─ PPP session          the nursery's own body: questions to plugins (`ppp_task`)
       └─ GRE channel          idle and session limits, interim accounting
       (its part of the control connection is the reader of `connection`, which calls `Call.end`)

After the nursery, in a shielded scope with a deadline: goodbye to the client, accounting Stop. Then `_release`, which
is synchronous and cannot be cancelled: path, lease, Call ID.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
import trio

from poptrio.calls import Accept, AccountingKind, AddressLease, CallInfo
from poptrio.datapath.base import CallEndpoint, CallPath, PathCounters
from poptrio.errors import CauseOfEnd
from poptrio.observe.diagnosis import CallFacts, explain, human_bytes, human_seconds
from poptrio.protocols.pptp.events import CallRequested
from poptrio.runtime.exception_groups import leaves
from poptrio.server.accounting import account
from poptrio.server.ppp_task import PppTask

if TYPE_CHECKING:
    from poptrio.server.connection import Connection
    from poptrio.server.server import Server

SILENT_ENDS = frozenset(
    {
        CauseOfEnd.CLIENT_HUNG_UP,
        CauseOfEnd.CONTROL_CONNECTION_LOST,
        CauseOfEnd.CONTROL_ECHO_TIMEOUT,
        CauseOfEnd.LCP_ECHO_TIMEOUT,
        CauseOfEnd.NO_GRE,
    }
)
"""Ends after which nobody is there who could answer a Terminate-Request."""

GOODBYE_WAIT = 1.0
"""Seconds that a client has to answer the Terminate-Request before its call is cleared all the same."""


class Call:
    """One call as the server sees it; ``steps`` are the seconds from its beginning to each step that it passed."""

    def __init__(self, server: "Server", connection: "Connection", info: CallInfo) -> None:
        self.server = server
        self.connection = connection
        self.info = info
        self.stranger = server.registry.stranger(info.peer)
        self.begun = trio.current_time()
        self.steps: dict[str, float] = {}
        self.name = ""
        self.accept: Accept | None = None
        self.lease: AddressLease | None = None
        self.path: CallPath | None = None
        self.counters = PathCounters()
        self.encryption = "none"
        self.authentication = ""
        self.up_since: float | None = None
        self.network_is_up = trio.Event()
        self.accounting_started = False
        self.cause: CauseOfEnd | None = None
        self.detail = ""
        self.log = structlog.get_logger("poptrio.call").bind(call=info.call_id, peer=str(info.peer))
        self._ppp: PppTask | None = None
        self._scope = trio.CancelScope()

    @classmethod
    def begin(cls, server: "Server", connection: "Connection", request: CallRequested, call_id: int) -> "Call":
        """The call that answers an Outgoing-Call-Request."""
        started = connection.started
        info = CallInfo(
            session_id=uuid4().hex[:16],
            call_id=call_id,
            peer_call_id=request.peer_call_id,
            peer=connection.peer,
            server=connection.local,
            started=datetime.now(UTC),
            host_name=started.host_name if started else "",
            vendor=started.vendor_name if started else "",
            firmware=started.firmware_revision if started else 0,
            phone_number=request.phone_number,
        )
        return cls(server, connection, info)

    def authenticated(self, accept: Accept) -> None:
        """A plugin has accepted the client: from here on neither call nor connection is a stranger's."""
        self.accept = accept
        self.stranger.known()
        self.connection.stranger.known()

    def passed(self, step: str) -> None:
        """The call has got through this step."""
        self.steps.setdefault(step, trio.current_time() - self.begun)

    def came_up(self, accept: Accept, lease: AddressLease, mtu: int) -> None:
        """IPCP is up; the first time counts, later ones only change parameters."""
        if self.up_since is not None:
            return
        self.passed("network")
        self.up_since = trio.current_time()
        self.server.stats.up += 1
        self.network_is_up.set()
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

    def blame(self, cause: CauseOfEnd, detail: str = "") -> None:
        """The call is about to end for this reason; the first one counts."""
        if self.cause is None:
            self.cause, self.detail = cause, detail

    def end(self, cause: CauseOfEnd, detail: str = "") -> None:
        """End the call; the first cause counts. Returns at once; goodbye and release follow in the call's task."""
        self.blame(cause, detail)
        self._scope.cancel()

    async def run(self) -> None:
        """The whole life of the call. Raises nothing but Trio's own."""
        try:
            with self._contained(), self._scope:
                await self._talk()
        finally:
            if self.cause is None:  # cancelled from outside: the server stops at once
                self.end(CauseOfEnd.SERVER_SHUTDOWN)
            try:
                with self._contained(), self.server.goodbye():
                    await self._say_goodbye()
            finally:
                self._release()

    @contextmanager
    def _contained(self) -> Iterator[None]:
        """Whatever goes wrong inside is a bug, and ends this call only."""
        try:
            yield
        except* Exception as errors:
            self.log.error("internal error", exc_info=errors)
            self.end(CauseOfEnd.INTERNAL_ERROR, repr(next(leaves(errors))))

    async def _talk(self) -> None:
        info = self.info
        ppp = self._ppp = PppTask(self)
        endpoint = CallEndpoint(info.call_id, info.peer_call_id, local=info.server, peer=info.peer)
        # The path is open before the reply below invites the client to send LCP.
        path = self.path = self.server.datapath.open_call(endpoint, ppp.driver)
        self.counters = path.counters
        if not await self.connection.accept_call(info.call_id):
            self.end(CauseOfEnd.CLIENT_HUNG_UP, "before its request was answered")
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_limits)
            await ppp.run(path)
            nursery.cancel_scope.cancel()

    async def _watch_limits(self) -> None:
        """The GRE channel's task: accounting, session and idle limits once the call is up."""
        await self.network_is_up.wait()
        accept, ppp = self.accept, self.server.config.ppp
        assert accept is not None
        assert self.up_since is not None
        await account(self, AccountingKind.START, trio.current_time())
        up = self.up_since
        session_end = up + (_first(accept.session_timeout, ppp.session_timeout) or math.inf)
        idle_timeout = _first(accept.idle_timeout, ppp.idle_timeout) or math.inf
        interim_interval = accept.interim_interval or math.inf
        interim = up + interim_interval
        while True:
            now = trio.current_time()
            idle_end = max(up, self.counters.last_received, self.counters.last_sent) + idle_timeout
            if now >= session_end:
                self.end(CauseOfEnd.SESSION_TIMEOUT, f"{session_end - up:.0f} seconds")
            elif now >= idle_end:
                self.end(CauseOfEnd.IDLE_TIMEOUT, f"{idle_timeout:.0f} seconds")
            elif now >= interim:
                interim += interim_interval
                await account(self, AccountingKind.INTERIM, now)
                continue
            await trio.sleep_until(min(session_end, idle_end, interim))

    async def _say_goodbye(self) -> None:
        assert self.cause is not None
        try:
            if self._ppp is not None:
                await self._ppp.say_goodbye(self.cause, wait=0.0 if self.cause in SILENT_ENDS else GOODBYE_WAIT)
            await self.connection.end_call(self.info.call_id, self.cause)
        finally:  # when the time for goodbyes is over, plugins that need not wait get their Stop all the same
            await account(self, AccountingKind.STOP, trio.current_time())

    def _release(self) -> None:
        if self._ppp is not None:
            self._ppp.driver.close()
        if self.path is not None:
            self.path.close()
        if self.lease is not None:
            self.lease.release()
        self.stranger.known()
        self.server.registry.remove(self, trio.current_time())
        self.connection.forget_call(self)
        self._log_end()

    def _log_end(self) -> None:
        assert self.cause is not None
        counters, seconds = self.counters, trio.current_time() - self.begun
        self.server.stats.ended[self.cause] += 1
        facts = CallFacts(
            peer=self.info.peer,
            cause=self.cause,
            detail=self.detail,
            gre_received=counters.gre_received,
            gre_sent=counters.gre_sent,
            acknowledged=counters.acknowledged,
        )
        drops = {
            name: value
            for name in ("lost", "late", "duplicate", "clear_text", "foreign_source", "undecryptable", "too_big")
            if (value := getattr(counters, name))
        }
        self.log.info(
            "call ended",
            user=self.accept.user if self.accept else self.name,
            seen_as=self.name,
            address=str(self.lease.address) if self.lease else "",
            seconds=round(seconds, 3),
            duration=human_seconds(seconds),
            received=human_bytes(counters.bytes_in),
            sent=human_bytes(counters.bytes_out),
            cause=self.cause.label,
            why=explain(facts),
            **drops,
        )


def _first(decided: float | None, configured: float) -> float:
    """What a plugin decided, else what is configured."""
    return configured if decided is None else decided


def peer_address(text: str) -> IPv4Address:
    """An IPv4 address as the kernel names it, also in its IPv6 form."""
    return IPv4Address(text.removeprefix("::ffff:"))
