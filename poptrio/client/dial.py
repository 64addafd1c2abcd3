"""One call to a PPTP server: TCP, control connection, GRE, PPP, and a report of each step as it is passed."""

import errno
import functools
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

import trio

from poptrio.client.steps import DialOutcome, Step, StepReport
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
) -> DialOutcome:
    """Make one call, tell ``report`` each step, stay while ``hold`` waits, hang up.

    Never raises for anything that the server or the network does; OSError, with the remedy in its text, when this
    machine does not let us open a raw socket or a TUN.
    """
    begun = trio.current_time()
    try:
        with trio.fail_after(settings.connect_timeout):
            stream = await trio.open_tcp_stream(settings.host, settings.port)
    except (OSError, trio.TooSlowError) as error:
        why = _tcp_failure(settings, error)
        report(StepReport(Step.TCP, False, trio.current_time() - begun, why))
        return DialOutcome(False, why)
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
            outcome = await caller.run(hold)
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
        self._encryption = "none"
        self._pass(Step.TCP, f"{self._peer}:{settings.port}")

    async def run(self, hold: Callable[[Tunnel], Awaitable[None]] | None) -> DialOutcome:
        """Go through all steps; stay; hang up."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ticker.run)
            nursery.start_soon(self._wire.read)
            nursery.start_soon(self._cancel_when_over, nursery.cancel_scope)
            await self._call(hold)
            nursery.cancel_scope.cancel()
        return DialOutcome(self._up.is_set(), self._why)

    async def _call(self, hold: Callable[[Tunnel], Awaitable[None]] | None) -> None:
        try:
            self._control.start(trio.current_time())
            await self._wire.flush()
            await self._up.wait()
            assert self._tunnel is not None
            if hold is not None:
                await hold(self._tunnel)
            self._why = self._why or "hung up"
        finally:
            with trio.move_on_after(GOODBYE_WAIT, shield=True):
                await self._hang_up()
            self._driver.close()
            if self._path is not None:
                self._path.close()

    async def _hang_up(self) -> None:
        now = trio.current_time()
        terminate = functools.partial(self._session.terminate, CauseOfEnd.CLIENT_HUNG_UP, "", now)
        await self._driver.say_goodbye(terminate, GOODBYE_WAIT / 2)
        self._control.disconnect_call(self._call_id, CauseOfEnd.CLIENT_HUNG_UP.disconnect_result, trio.current_time())
        self._control.stop(StopReason.NONE, trio.current_time())
        await self._wire.flush()

    async def _cancel_when_over(self, scope: trio.CancelScope) -> None:
        await self._over.wait()
        scope.cancel()

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
                why = f"the server ended the call: {event.text or 'without a reason'}"
                trouble = self._gre_trouble()
                self._failed(f"{trouble}; {why}" if trouble else why)
            case pptp.ConnectionEnded():
                self._failed(event.text)
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
            case ppp.SessionEnding():
                # What the server says next on the control connection only follows from this.
                self._why = self._why or self._reason(event)
            case ppp.SessionEnded():
                self._failed(self._reason(event))
            case _:
                pass

    def _network_up(self, event: ppp.NetworkUp) -> None:
        assert self._path is not None
        self._pass(Step.ENCRYPTION, self._encryption)
        server = (IPv4Network(event.peer_address),) if event.peer_address else ()
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
        why = trouble or _as_client(event.cause)
        return f"{why}: {event.detail}" if event.detail else why

    def _pass(self, step: Step, detail: str, now: float | None = None) -> None:
        if step not in self._passed:
            self._passed.add(step)
            seconds = (trio.current_time() if now is None else now) - self._begun
            self._report(StepReport(step, True, seconds, detail))

    def _failed(self, why: str) -> None:
        """The call is over, for this reason; the first counts. A step that is still to come has failed now."""
        if self._over.is_set():
            return
        self._why = self._why or why
        self._over.set()
        if not self._up.is_set():
            step = next(step for step in Step if step not in self._passed)
            self._report(StepReport(step, False, trio.current_time() - self._begun, self._why))


def _tcp_failure(settings: DialSettings, error: OSError | trio.TooSlowError) -> str:
    where = f"{settings.host}, TCP port {settings.port}"
    if isinstance(error, trio.TooSlowError):
        return f"no answer from {where} in {settings.connect_timeout:g} s: a firewall drops it, or the host is down"
    cause = next(leaves(error.__cause__ or error))
    if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
        return f"{where}: connection refused, no PPTP server listens there"
    return f"{where}: {cause.strerror if isinstance(cause, OSError) and cause.strerror else cause}"


def _as_client(cause: CauseOfEnd) -> str:
    """The cause in the words of the other end."""
    words = {
        CauseOfEnd.CLIENT_HUNG_UP: "the server hung up",
        CauseOfEnd.LCP_ECHO_TIMEOUT: "the server stopped answering Echo-Requests",
        CauseOfEnd.AUTHENTICATION_FAILED: "the server refuses user name or password",
        CauseOfEnd.AUTHENTICATION_TIMEOUT: "the server does not go on with authentication",
        CauseOfEnd.AUTHENTICATION_NOT_AGREED: "the server wants an authentication protocol that is not allowed here",
        CauseOfEnd.NETWORK_TIMEOUT: "the server stopped answering before it assigned an address",
    }
    return words.get(cause, cause.sentence)
