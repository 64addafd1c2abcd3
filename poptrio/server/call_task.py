"""The life of one call, from the accepted Outgoing-Call-Request to its last log line: the call nursery.

    run_call
    └─ call nursery            left by `Call.end`; whoever calls that first names the cause
       ├─ PPP session          the nursery's own body: questions to plugins (`ppp_task`)
       └─ accounting           Start and interim records, in their order
       (session and idle limits and quotas are an alarm of the ticker: `limits`)
       (its part of the control connection is the reader of `connection`, which calls `Call.end`)

After the nursery, in a shielded scope with a deadline: goodbye to the client, accounting Stop. Then `_release`, which
is synchronous and cannot be cancelled: path, lease, Call ID.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

import trio

from poptrio.datapath.base import CallEndpoint
from poptrio.errors import CauseOfEnd
from poptrio.runtime.dismantle import dismantle
from poptrio.runtime.exception_groups import leaves
from poptrio.server.accounting import CallAccounting
from poptrio.server.call import Call
from poptrio.server.limits import CallLimits
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


@dataclass(frozen=True, slots=True)
class UpBefore:
    """What a call has that was up in another process before."""

    ppp: PppTask
    accounting: CallAccounting


def run_call(call: Call, control: ControlPart, up_before: UpBefore | None = None) -> Awaitable[None]:
    """The whole life of a call, or the rest of it. Raises nothing but Trio's own."""
    return _CallTask(call, control, up_before).run()


class _CallTask:
    __slots__ = ("_call", "_control", "_ppp", "_up_before")

    def __init__(self, call: Call, control: ControlPart, up_before: UpBefore | None) -> None:
        self._call = call
        self._control = control
        self._up_before = up_before
        self._ppp: PppTask | None = up_before.ppp if up_before is not None else None

    async def run(self) -> None:
        call = self._call
        try:
            async with trio.open_nursery() as call.nursery:
                if self._up_before is not None:  # whatever happens to it now, it has had its Start
                    self._up_before.accounting.go_on(call.nursery)
                if call.cause is None:  # not ended before it began
                    if self._up_before is None:
                        await self._begin()
                    if self._ppp is not None:
                        await self._ppp.attend()
                call.nursery.cancel_scope.cancel()
        except* Exception as errors:  # noqa: BLE001 - a bug in one call ends that call only
            self._contain(errors)
        finally:
            if call.cause is None:  # cancelled from outside: the server stops at once
                call.end(CauseOfEnd.SERVER_SHUTDOWN)
            try:
                with call.server.goodbyes.one():
                    await self._say_goodbye()
            except* Exception as errors:  # noqa: BLE001 - a bug in one call ends that call only
                self._contain(errors)
            finally:
                self._release()

    def _contain(self, errors: BaseExceptionGroup[Exception]) -> None:
        """Whatever went wrong is a bug, and ends this call only."""
        self._call.log.error("internal error", exc_info=errors)
        self._call.end(CauseOfEnd.INTERNAL_ERROR, repr(next(leaves(errors))))

    async def _begin(self) -> None:
        """Accept the call, and begin with PPP."""
        call, info = self._call, self._call.info
        server = call.server
        if (why := await server.authority.admit_call(call)) is not None:
            call.end(CauseOfEnd.TOO_MANY_CALLS, sentence=why)
            return
        ppp = self._ppp = PppTask(call)
        call.limits = CallLimits(
            call, server.ticker, server.limit_settings, server.random, ppp.reauthenticate, call.accounting.interim_due
        )
        endpoint = CallEndpoint(info.call_id, info.peer_call_id, local=info.server, peer=info.peer)
        # The path is open before the reply below invites the client to send LCP.
        try:
            path = call.path = server.datapath.open_call(endpoint, ppp.driver)
        except OSError as error:
            call.end(CauseOfEnd.DATA_PATH_FAILED, error.strerror or str(error))
            return
        call.id_told = True
        if not await self._control.accept_call(info.call_id):
            call.id_told = False
            call.end(CauseOfEnd.CLIENT_HUNG_UP, "before its request was answered")
            return
        ppp.start(path)

    async def _say_goodbye(self) -> None:
        call = self._call
        assert call.cause is not None
        try:
            if self._ppp is not None:
                with call.farewell():
                    await self._ppp.say_goodbye(call.cause, wait=0.0 if call.cause in SILENT_ENDS else GOODBYE_WAIT)
            await self._control.end_call(call.info.call_id, call.cause)
        finally:  # when the time for goodbyes is over, plugins that need not wait get their Stop all the same
            await call.accounting.stop()

    def _release(self) -> None:
        call = self._call
        if self._ppp is not None:
            self._ppp.driver.close()
        if call.limits is not None:
            call.limits.close()
        if call.path is not None:
            call.path.close()
        call.stranger.known()
        call.server.authority.leave(call)
        call.server.registry.remove(call, trio.current_time())
        call.server.call_over()
        self._control.forget_call(call)
        call.log_end()
        call.limits = call.nursery = call.ppp = None
        del call.retrace
        dismantle(call.accounting)
        if self._ppp is not None:
            self._ppp.dismantle()
