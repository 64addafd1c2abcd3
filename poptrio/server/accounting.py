"""Accounting records of a call (RFC 2866 §5.1): Start when it has an address, Interim on the way, Stop at the end."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import trio

from poptrio.calls import AccountingKind, AccountingRecord
from poptrio.server.authority import KnownCall
from poptrio.server.sessions import traffic


class CallAccounting:
    """Tells ``account``, the plugins, of one call, one record after the other, so that each hears them in their order.

    A call that never had an address is not told of. Where a Start was begun there is a Stop, whatever became of it.
    """

    def __init__(self, call: KnownCall, account: Callable[[AccountingRecord], Awaitable[None]]) -> None:
        self._call = call
        self._account = account
        self._started = False
        self._interim_due = trio.Event()

    async def run(self) -> None:
        """Start, as soon as the network is up, then an interim record whenever one is due; until cancelled."""
        await self._call.network_is_up.wait()
        self._started = True
        await self._tell(AccountingKind.START)
        while True:
            await self._interim_due.wait()
            self._interim_due = trio.Event()
            await self._tell(AccountingKind.INTERIM)

    def interim_due(self) -> None:
        """Make an interim record as soon as the one before it has been delivered; several are one."""
        self._interim_due.set()

    async def stop(self) -> None:
        """Stop, if there was a Start. `run` must have ended."""
        if self._started:
            await self._tell(AccountingKind.STOP)

    async def _tell(self, kind: AccountingKind) -> None:
        call = self._call
        assert call.accept is not None
        assert call.lease is not None
        assert call.up_since is not None
        await self._account(
            AccountingRecord(
                kind=kind,
                call=call.info,
                accept=call.accept,
                address=call.lease.address,
                seconds=trio.current_time() - call.up_since,
                traffic=traffic(call.counters),
                timestamp=datetime.now(UTC),
                cause=call.cause if kind is AccountingKind.STOP else None,
                authenticated_by=call.authenticated_by,
                protocol=call.authentication,
                encryption=call.encryption,
            )
        )
