"""Accounting records of a call (RFC 2866 §5.1): Start when it has an address, Interim on the way, Stop at the end."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import trio

from poptrio.calls import AccountingKind, AccountingRecord
from poptrio.server.authority import KnownCall
from poptrio.server.sessions import traffic

Account = Callable[[AccountingRecord], Awaitable[None]]
"""Tells plugins of a record."""


class CallAccounting:
    """Tells ``account``, the plugins, of one call, one record after the other, so that each hears them in their order.

    None: there is no plugin that wants to hear of calls, and nothing is done.
    A call that never had an address is not told of. Where a Start was begun there is a Stop, whatever became of it.
    There is a task only while a record is being told: most calls have nothing to tell for hours. ``due`` is what is to
    be told next.
    """

    __slots__ = ("_account", "_call", "_nursery", "_telling", "due")

    def __init__(self, call: KnownCall, account: Account | None) -> None:
        self._call = call
        self._account = account
        self._nursery: trio.Nursery | None = None
        self.due: AccountingKind | None = None
        self._telling = False

    def begin(self, nursery: trio.Nursery) -> None:
        """The network is up: tell so, in a task of ``nursery``, as whatever follows before `stop`."""
        self._nursery = nursery
        self._is_due(AccountingKind.START)

    def go_on(self, nursery: trio.Nursery) -> None:
        """As `begin`, of a call that was up in another process before; what was ``due`` there is told."""
        self._nursery = nursery
        if self.due is not None:
            self._is_due(self.due)

    @property
    def is_telling(self) -> bool:
        """Whether a record is being told."""
        return self._telling

    def interim_due(self) -> None:
        """Make an interim record as soon as the one before it has been delivered; several are one."""
        self._is_due(AccountingKind.INTERIM)

    async def stop(self) -> None:
        """Stop, if there was a Start. The nursery must have ended."""
        if self._nursery is not None and self._account is not None:
            await self._account(self._record(AccountingKind.STOP))

    def _is_due(self, kind: AccountingKind) -> None:
        if self._account is None:
            return
        self.due = kind
        if self._nursery is not None and not self._telling:
            self._telling = True
            self._nursery.start_soon(self._tell_what_is_due, self._account)

    async def _tell_what_is_due(self, account: Account) -> None:
        while (kind := self.due) is not None:
            self.due = None
            await account(self._record(kind))
        self._telling = False

    def _record(self, kind: AccountingKind) -> AccountingRecord:
        call = self._call
        assert call.accept is not None
        assert call.lease is not None
        assert call.up_since is not None
        return AccountingRecord(
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
            interface=call.interface,
            mtu=call.mtu,
        )
