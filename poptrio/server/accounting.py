"""Accounting records of a call (RFC 2866 §5.1): Start when it has an address, Interim on the way, Stop at the end."""

from datetime import UTC, datetime

from poptrio.calls import AccountingKind, AccountingRecord, Traffic
from poptrio.datapath.base import PathCounters
from poptrio.server.call import Call


async def account(call: Call, kind: AccountingKind, now: float) -> None:
    """Tell the plugins; nothing for a call that never had an address, and no Stop without a Start."""
    accept, lease = call.accept, call.lease
    if accept is None or lease is None or call.up_since is None:
        return
    if kind is not AccountingKind.START and not call.accounting_started:
        return
    call.accounting_started = True
    record = AccountingRecord(
        kind=kind,
        call=call.info,
        accept=accept,
        address=lease.address,
        seconds=now - call.up_since,
        traffic=traffic(call.counters),
        timestamp=datetime.now(UTC),
        cause=call.cause if kind is AccountingKind.STOP else None,
        authenticated_by=call.authenticated_by,
        protocol=call.authentication,
        encryption=call.encryption,
    )
    await call.server.hooks.account(record)


def traffic(counters: PathCounters) -> Traffic:
    """The IP traffic of a call so far."""
    return Traffic(
        bytes_in=counters.bytes_in,
        bytes_out=counters.bytes_out,
        packets_in=counters.packets_in,
        packets_out=counters.packets_out,
    )
