"""One call to a PPTP server: TCP, control connection, GRE, PPP, and a report of each step as it is passed."""

import functools
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

import trio

from poptrio.client.steps import DialOutcome, Step, StepReport, failed_step
from poptrio.client.tcp import cancel_when, connect
from poptrio.client.words import as_client
from poptrio.datapath.base import CallEndpoint, CallPath, DataPath, NetworkParameters
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp import session_events as ppp
from poptrio.protocols.ppp.authenticator import Credentials
from poptrio.protocols.ppp.client_session import ClientSession
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.protocols.pptp import events as pptp
from poptrio.protocols.pptp.codes import StopReason, explained
from poptrio.protocols.pptp.control import ControlConnection, ControlSettings, Role
from poptrio.runtime.control_stream import ControlStream, echo_identifiers
from poptrio.runtime.exception_groups import leaves
from poptrio.runtime.ppp_driver import PppDriver
from poptrio.runtime.ticker import Ticker

CALL_TIMEOUT = 15.0
"""Seconds for the server's Outgoing-Call-Reply."""

GOODBYE_WAIT = 2.0
"""Seconds for the server to confirm that the call is over."""

REASON_WAIT = 1.0
"""Seconds from the server's LCP Terminate-Request to its Call-Disconnect-Notify, which says why."""

HUNG_UP = "hung up"
INTERRUPTED = "interrupted before the call was up"
"""`DialOutcome.why` where nothing is wrong: the call was ended here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialSettings:
    """Whom to call, as whom, and how. ``interface`` names the TUN, None makes none (nothing can then be sent).

    ``routes`` are led into the tunnel beside the server's inner address. ``connect_timeout`` is for TCP, in seconds.
    """

    host: str
    port: int = 1723
    credentials: Credentials
    session: SessionSettings = field(default_factory=SessionSettings)
    interface: str | None = "poptrio-dial"
    routes: tuple[IPv4Network, ...] = ()
    clamp_mss: bool = True
    connect_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A call that is up: the inner addresses, the largest inner packet in octets, and its path's counters."""

    address: IPv4Address
    server_address: IPv4Address | None
    dns: tuple[IPv4Address, ...]
    mtu: int
    path: CallPath


async def dial(
    settings: DialSettings,
    report: Callable[[StepReport], None],
    hold: Callable[[Tunnel], Awaitable[None]] | None = None,
    stop: trio.Event | None = None,
) -> DialOutcome:
    """Make one call, tell ``report`` each step, stay while ``hold`` waits or until ``stop`` is set, hang up.

    Never raises for anything that the server or the network does; OSError, with the remedy in its text, when this
    machine does not let us open a raw socket or a TUN.
    """
    begun = trio.current_time()
    stop = trio.Event() if stop is None else stop
    try:
        stream = await connect(settings.host, settings.port, settings.connect_timeout, stop)
    except OSError as error:
        why = str(error)
        report(StepReport(Step.TCP, False, trio.current_time() - begun, why))
        return DialOutcome(False, why)
    if stream is None:
        return DialOutcome(False, INTERRUPTED)
    local, peer = (IPv4Address(end[0]) for end in (stream.socket.getsockname(), stream.socket.getpeername()))
    datapath = UserspaceDataPath(
        UserspaceSettings(listen=(local,), interface=settings.interface, mtu=settings.session.mru)
    )
    caller = Caller(settings, report, stream, datapath, local=local, peer=peer, begun=begun)
    failures: list[OSError] = []
    try:
        async with stream, trio.open_nursery() as nursery:
            # GRE is open before the call is asked for: the server's first packet follows its reply at once.
            await nursery.start(datapath.run)
            outcome = await caller.run(hold, stop)
            datapath.close()
    except* OSError as errors:
        failures += (error for error in leaves(errors) if isinstance(error, OSError))
    if failures:
        raise failures[0]
    return outcome


class Caller:
    """The call while it lives, over a TCP connection and a data path that are there already."""

    def __init__(
        self,
        settings: DialSettings,
        report: Callable[[StepReport], None],
        stream: trio.abc.Stream,
        datapath: DataPath,
        *,
        local: IPv4Address,
        peer: IPv4Address,
        begun: float,
    ) -> None:
        self._settings = settings
        self._report = report
        self._begun = begun
        self._local = local
        self._peer = peer
        self._datapath = datapath
        self._ticker = Ticker()
        self._control = ControlConnection(
            Role.CLIENT,
            ControlSettings(call_timeout=CALL_TIMEOUT, stop_timeout=GOODBYE_WAIT),
            trio.current_time(),
            echo_identifiers(),
        )
        self._wire = ControlStream(stream, self._control, self._control_event)
        self._session = ClientSession(settings.session, settings.credentials, os.urandom)
        self._driver = PppDriver(self._session, self._ticker, self._ppp_event, self._failed)
        self._passed: set[Step] = set()
        self._call_id = secrets.randbelow(0xFFFF) + 1
        self._path: CallPath | None = None
        self._tunnel: Tunnel | None = None
        self._up = trio.Event()
        self._over = trio.Event()
        self._why = ""
        self._suspicion = ""  # why the server hung up, as far as we can guess
        self._reason_overdue = self._ticker.alarm(self._no_reason_came)
        self._encryption = "none"
        self._pass(Step.TCP, f"{self._peer}:{settings.port}")

    async def run(
        self, hold: Callable[[Tunnel], Awaitable[None]] | None, stop: trio.Event | None = None
    ) -> DialOutcome:
        """Go through all steps; stay; hang up."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ticker.run)
            nursery.start_soon(self._wire.read)
            nursery.start_soon(cancel_when, self._over, nursery.cancel_scope)
            if stop is not None:
                nursery.start_soon(self._obey, stop)
            await self._call(hold)
            nursery.cancel_scope.cancel()
        return DialOutcome(self._up.is_set(), self._why)

    async def _obey(self, stop: trio.Event) -> None:
        """Hang up when we are told to; that is no step's failure."""
        await stop.wait()
        self._why = self._why or (HUNG_UP if self._up.is_set() else INTERRUPTED)
        self._over.set()

    async def _call(self, hold: Callable[[Tunnel], Awaitable[None]] | None) -> None:
        try:
            self._control.start(trio.current_time())
            await self._wire.flush()
            await self._up.wait()
            assert self._tunnel is not None
            if hold is not None:
                await hold(self._tunnel)
            self._why = self._why or HUNG_UP
        finally:
            with trio.move_on_after(GOODBYE_WAIT, shield=True):
                await self._hang_up()
            self._driver.close()
            self._reason_overdue.close()
            if self._path is not None:
                self._path.close()

    async def _hang_up(self) -> None:
        now = trio.current_time()
        terminate = functools.partial(self._session.terminate, CauseOfEnd.CLIENT_HUNG_UP, "", now)
        await self._driver.say_goodbye(terminate, GOODBYE_WAIT / 2)
        self._control.disconnect_call(self._call_id, CauseOfEnd.CLIENT_HUNG_UP.disconnect_result, trio.current_time())
        self._control.stop(StopReason.NONE, trio.current_time())
        await self._wire.flush()

    # What happens, in the order of the steps.

    def _control_event(self, event: pptp.ControlEvent) -> None:
        match event:
            case pptp.ConnectionStarted():
                self._control.request_call(self._call_id, trio.current_time())
            case pptp.CallConnected():
                self._pass(Step.CONTROL, f"Call ID {event.call_id} here, {event.peer_call_id} there")
                endpoint = CallEndpoint(self._call_id, event.peer_call_id, self._local, self._peer)
                self._path = self._datapath.open_call(endpoint, self._driver)
                self._driver.start(self._path)
            case pptp.StartRefused():
                self._failed(f"the server refuses control connections: {explained(event.result, event.error)}")
            case pptp.CallRefused():
                self._failed(f"the server refuses the call: {explained(event.result, event.error)}")
            case pptp.CallEnded():
                self._call_ended(event.text)
            case pptp.ConnectionEnded():
                self._failed(self._suspicion or event.text)
            case _:
                pass

    def _ppp_event(self, event: ppp.SessionEvent) -> None:
        match event:
            case ppp.LinkUp():
                self._gre_passed()
                kind = event.authentication.label if event.authentication else "no authentication"
                self._pass(Step.LCP, f"MRU of the server {event.peer_mru}, {kind}")
            case ppp.Authenticated():
                self._pass(Step.AUTHENTICATION, f"as {self._settings.credentials.name}")
            case ppp.EncryptionUp():
                self._encryption = str(event.send) if event.send else "none"
                self._pass(Step.ENCRYPTION, self._encryption)
            case ppp.NetworkUp():
                self._network_up(event)
            case ppp.SessionEnding(cause=CauseOfEnd.NETWORK_NOT_AGREED):
                self._suspect(self._reason(event))  # a server without an address for us refuses IPCP, too
            case ppp.SessionEnding():
                self._failed(self._reason(event))
            case ppp.SessionEnded() if self._session.lcp.terminated_by_peer or self._suspicion:
                self._suspect(self._reason(event))
            case ppp.SessionEnded():
                self._failed(self._reason(event))
            case _:
                pass

    def _call_ended(self, text: str) -> None:
        """The server ended the call; ``text`` is all that it says, a label of `CauseOfEnd` where it is a poptrio."""
        cause = next((cause for cause in CauseOfEnd if cause.label == text), None)
        if cause is not None:
            why = f"the server ended the call: {cause.label}: {cause.sentence}"
        else:
            why = self._suspicion or f"the server ended the call: {text or 'without a reason'}"
        trouble = self._gre_trouble()
        self._failed(f"{trouble}; {why}" if trouble else why, None if cause is None or trouble else failed_step(cause))

    def _suspect(self, why: str) -> None:
        """The server hangs up; its Call-Disconnect-Notify may say why, which is more than we can guess."""
        if not self._suspicion:
            self._suspicion = why
            self._reason_overdue.set(trio.current_time() + REASON_WAIT)

    def _no_reason_came(self, now: float) -> None:
        self._failed(self._suspicion)

    def _network_up(self, event: ppp.NetworkUp) -> None:
        assert self._path is not None
        self._pass(Step.ENCRYPTION, self._encryption)
        around = next((route for route in self._settings.routes if self._peer in route), None)
        if around is not None:
            self._failed(f"the route {around} holds {self._peer}, the server itself: the tunnel would lead into itself")
            return
        # A server may use one address outside and inside; a route to it would cut the tunnel off.
        ours_only = event.peer_address in (None, self._peer)
        server = () if ours_only else (IPv4Network(event.peer_address),)
        self._path.open_network(
            NetworkParameters(
                our_address=event.our_address,
                peer_address=None,
                mtu=event.mtu,
                pfc=event.pfc,
                acfc=event.acfc,
                encryption_required=self._settings.session.encryption.required,
                clamp_mss=self._settings.clamp_mss,
                routes=server + self._settings.routes,
            )
        )
        if self._over.is_set():
            return  # the kernel refused the address or a route, and the path has said so
        dns = f", DNS {', '.join(map(str, event.dns))}" if event.dns else ""
        self._pass(Step.ADDRESSES, f"{event.our_address} here, {event.peer_address} there, MTU {event.mtu}{dns}")
        self._tunnel = Tunnel(event.our_address, event.peer_address, event.dns, event.mtu, self._path)
        self._up.set()

    def _gre_passed(self) -> None:
        heard = trio.current_time() if self._driver.heard is None else self._driver.heard
        self._pass(Step.GRE, f"the first packet came after {(heard - self._begun) * 1000:.0f} ms", heard)

    def _gre_trouble(self) -> str | None:
        """Which way GRE packets do not get through, as far as it shows; None once LCP was up."""
        path = self._path
        if path is None or Step.LCP in self._passed:
            return None
        if self._driver.heard is None:
            return f"no GRE packet came from {self._peer}: protocol 47 is blocked, or a firewall lacks its PPTP helper"
        if not path.counters.acknowledged:
            return (
                f"GRE packets come from {self._peer}, but it acknowledges none of ours: protocol 47 is blocked outwards"
            )
        return None

    def _reason(self, event: ppp.SessionEnding | ppp.SessionEnded) -> str:
        trouble = self._gre_trouble()
        if trouble is None and self._driver.heard is not None:
            self._gre_passed()  # whatever was wrong with LCP, its packets crossed both ways
        why = trouble or as_client(event.cause, self._session.error_code)
        return f"{why}: {event.detail}" if event.detail else why

    def _pass(self, step: Step, detail: str, now: float | None = None) -> None:
        if step not in self._passed:
            self._passed.add(step)
            seconds = (trio.current_time() if now is None else now) - self._begun
            self._report(StepReport(step, True, seconds, detail))

    def _failed(self, why: str, step: Step | None = None) -> None:
        """The call is over, for this reason; the first counts. ``step``, or else the next one, has failed with it."""
        if self._over.is_set():
            return
        self._why = self._why or why
        self._over.set()
        if not self._up.is_set():
            if step is None or step in self._passed:
                step = next(step for step in Step if step not in self._passed)
            self._report(StepReport(step, False, trio.current_time() - self._begun, self._why))
