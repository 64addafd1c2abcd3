"""One call to a PPTP server: TCP, control connection, GRE, PPP, and a report of each step as it is passed."""

import functools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from poptrio.client.call import HUNG_UP, INTERRUPTED, CallSettings, ClientCall, Tunnel
from poptrio.client.steps import DialOutcome, Step, StepReport
from poptrio.client.tcp import Line, connect
from poptrio.datapath.base import DataPath
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.runtime.exception_groups import leaves
from poptrio.runtime.ticker import Ticker

__all__ = ["HUNG_UP", "INTERRUPTED", "DialSettings", "Tunnel", "dial", "hold_call"]

Hold = Callable[[Tunnel], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DialSettings(CallSettings):
    """Whom to call, as whom, and how. ``interface`` names the TUN, None makes none (nothing can then be sent).

    ``connect_timeout`` is for TCP, in seconds.
    """

    host: str
    port: int = 1723
    interface: str | None = "poptrio-dial"
    connect_timeout: float = 10.0


async def dial(
    settings: DialSettings,
    report: Callable[[StepReport], None],
    hold: Hold | None = None,
    stop: trio.Event | None = None,
) -> DialOutcome:
    """Make one call, tell ``report`` each step, stay while ``hold`` waits or until ``stop`` is set, hang up.

    Never raises for anything that the server or the network does; OSError, with the remedy in its text, when this
    machine does not let us open a raw socket or a TUN.
    """
    begun = trio.current_time()
    stop = trio.Event() if stop is None else stop
    try:
        line = await connect(settings.host, settings.port, settings.connect_timeout, stop)
    except OSError as error:
        why = str(error)
        report(StepReport(Step.TCP, False, trio.current_time() - begun, why))
        return DialOutcome(False, why)
    if line is None:
        return DialOutcome(False, INTERRUPTED)
    datapath = UserspaceDataPath(
        UserspaceSettings(listen=(line.local,), interface=settings.interface, mtu=settings.session.mru)
    )
    failures: list[OSError] = []
    try:
        async with line.stream, trio.open_nursery() as nursery:
            # GRE is open before the call is asked for: the server's first packet follows its reply at once.
            await nursery.start(datapath.run)
            outcome = await hold_call(settings, report, line, datapath, hold, stop)
            datapath.close()
    except* OSError as errors:
        failures += (error for error in leaves(errors) if isinstance(error, OSError))
    if failures:
        raise failures[0]
    return outcome


async def hold_call(
    settings: CallSettings,
    report: Callable[[StepReport], None],
    line: Line,
    datapath: DataPath,
    hold: Hold | None,
    stop: trio.Event | None = None,
) -> DialOutcome:
    """The part of `dial` over a TCP connection and a data path that are there already."""
    ticker = Ticker()

    def up(call: ClientCall, tunnel: Tunnel) -> None:
        if hold is None:
            call.hang_up()
        else:
            nursery.start_soon(_hold, call, functools.partial(hold, tunnel))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run)
        call = ClientCall(settings, report, up, line, datapath, ticker, secrets.randbelow(0xFFFF) + 1)
        if stop is not None:
            nursery.start_soon(_hold, call, stop.wait)
        outcome = await call.run()
        nursery.cancel_scope.cancel()
    return outcome


async def _hold(call: ClientCall, wait: Callable[[], Awaitable[None]]) -> None:
    """Hang up when ``wait`` has ended."""
    await wait()
    call.hang_up()
