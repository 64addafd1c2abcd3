"""The life of one call, from the accepted Outgoing-Call-Request to its last log line: the call nursery.

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
from typing import Protocol

import trio

from poptrio.calls import AccountingKind
from poptrio.datapath.base import CallEndpoint
from poptrio.errors import CauseOfEnd
from poptrio.runtime.exception_groups import leaves
from poptrio.server.accounting import account
from poptrio.server.call import Call
from poptrio.server.ppp_task import PppTask

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


class ControlPart(Protocol):
    """A call's part of its control connection."""

    async def accept_call(self, call_id: int) -> bool:
        """Send the Outgoing-Call-Reply that connects the call; False when the client has given it up meanwhile."""

    async def end_call(self, call_id: int, cause: CauseOfEnd) -> None:
        """Tell the client that the call is over, unless it has said so itself."""

    def forget_call(self, call: Call) -> None:
        """The call is released."""


async def run_call(call: Call, control: ControlPart) -> None:
    """The whole life of a call. Raises nothing but Trio's own."""
    await _CallTask(call, control).run()


class _CallTask:
    def __init__(self, call: Call, control: ControlPart) -> None:
        self._call = call
        self._control = control
        self._ppp: PppTask | None = None

    async def run(self) -> None:
        call = self._call
        try:
            with self._contained(), call.scope:
                await self._talk()
        finally:
            if call.cause is None:  # cancelled from outside: the server stops at once
                call.end(CauseOfEnd.SERVER_SHUTDOWN)
            try:
                with self._contained(), call.server.goodbye():
                    await self._say_goodbye()
            finally:
                self._release()

    @contextmanager
    def _contained(self) -> Iterator[None]:
        """Whatever goes wrong inside is a bug, and ends this call only."""
        try:
            yield
        except* Exception as errors:
            self._call.log.error("internal error", exc_info=errors)
            self._call.end(CauseOfEnd.INTERNAL_ERROR, repr(next(leaves(errors))))

    async def _talk(self) -> None:
        call, info = self._call, self._call.info
        ppp = self._ppp = PppTask(call)
        endpoint = CallEndpoint(info.call_id, info.peer_call_id, local=info.server, peer=info.peer)
        # The path is open before the reply below invites the client to send LCP.
        path = call.path = call.server.datapath.open_call(endpoint, ppp.driver)
        call.counters = path.counters
        call.id_told = True
        if not await self._control.accept_call(info.call_id):
            call.id_told = False
            call.end(CauseOfEnd.CLIENT_HUNG_UP, "before its request was answered")
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_limits)
            await ppp.run(path)
            nursery.cancel_scope.cancel()

    async def _watch_limits(self) -> None:
        """The GRE channel's task: accounting, session and idle limits once the call is up."""
        call = self._call
        await call.network_is_up.wait()
        accept, ppp = call.accept, call.server.config.ppp
        assert accept is not None
        assert call.up_since is not None
        await account(call, AccountingKind.START, trio.current_time())
        up = call.up_since
        session_end = up + (_first(accept.session_timeout, ppp.session_timeout) or math.inf)
        idle_timeout = _first(accept.idle_timeout, ppp.idle_timeout) or math.inf
        interim_interval = accept.interim_interval or math.inf
        interim = up + interim_interval
        while True:
            now = trio.current_time()
            idle_end = max(up, call.counters.last_received, call.counters.last_sent) + idle_timeout
            if now >= session_end:
                call.end(CauseOfEnd.SESSION_TIMEOUT, f"{session_end - up:.0f} seconds")
            elif now >= idle_end:
                call.end(CauseOfEnd.IDLE_TIMEOUT, f"{idle_timeout:.0f} seconds")
            elif now >= interim:
                interim += interim_interval
                await account(call, AccountingKind.INTERIM, now)
                continue
            await trio.sleep_until(min(session_end, idle_end, interim))

    async def _say_goodbye(self) -> None:
        call = self._call
        assert call.cause is not None
        try:
            if self._ppp is not None:
                with call.farewell:
                    await self._ppp.say_goodbye(call.cause, wait=0.0 if call.cause in SILENT_ENDS else GOODBYE_WAIT)
            await self._control.end_call(call.info.call_id, call.cause)
        finally:  # when the time for goodbyes is over, plugins that need not wait get their Stop all the same
            await account(call, AccountingKind.STOP, trio.current_time())

    def _release(self) -> None:
        call = self._call
        if self._ppp is not None:
            self._ppp.driver.close()
        if call.path is not None:
            call.path.close()
        if call.lease is not None:
            call.lease.release()
        call.stranger.known()
        call.server.registry.remove(call, trio.current_time())
        self._control.forget_call(call)
        call.log_end()


def _first(decided: float | None, configured: float) -> float:
    """What a plugin decided, else what is configured."""
    return configured if decided is None else decided
