"""One call as its client sees it: control connection, GRE and PPP over a TCP connection that is there, step by step.

A call is one task: it reads the control connection. PPP runs where its frames arrive, in the reader of the data path,
and its timers are alarms of a `Ticker` that all calls of a program share.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

import trio

from poptrio.client.steps import DialOutcome, Step, StepReport, failed_step
from poptrio.client.tcp import Line
from poptrio.client.words import as_client
from poptrio.datapath.base import CallEndpoint, CallPath, DataPath, NetworkParameters
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp import session_events as ppp
from poptrio.protocols.ppp.authenticator import Credentials
from poptrio.protocols.ppp.client_session import ClientSession
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.protocols.pptp import events as pptp
from poptrio.protocols.pptp.codes import StopReason, explained
from poptrio.protocols.pptp.control import ControlConnection, ControlSettings, Role
from poptrio.runtime.control_stream import ControlStream, echo_identifiers
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
class CallSettings:
    """As whom a call is made, and how. ``routes`` are led into the tunnel beside the server's inner address."""

    credentials: Credentials
    session: SessionSettings = field(default_factory=SessionSettings)
    routes: tuple[IPv4Network, ...] = ()
    clamp_mss: bool = True


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A call that is up: the inner addresses, the largest inner packet in octets, and its path's counters."""

    address: IPv4Address
    server_address: IPv4Address | None
    dns: tuple[IPv4Address, ...]
    mtu: int
    path: CallPath


class ClientCall:
    """The call while it lives. ``call_id`` is ours, which no other call of ``datapath`` has.

    ``report`` hears each step, the failed one last. ``up`` hears that the call is up; it returns at once and may hang
    up. The data path and the ticker must be running, and whoever made ``line`` closes it.
    """

    __slots__ = (
        "_call_id",
        "_control",
        "_datapath",
        "_driver",
        "_encryption",
        "_goodbye",
        "_line",
        "_living",
        "_over",
        "_passed",
        "_path",
        "_reason_overdue",
        "_report",
        "_session",
        "_settings",
        "_suspicion",
        "_up",
        "_why",
        "_wire",
        "tunnel",
    )

    def __init__(
        self,
        settings: CallSettings,
        report: Callable[[StepReport], None],
        up: "Callable[[ClientCall, Tunnel], None]",
        line: Line,
        datapath: DataPath,
        ticker: Ticker,
        call_id: int,
    ) -> None:
        self.tunnel: Tunnel | None = None
        self._settings = settings
        self._report = report
        self._up = up
        self._line = line
        self._datapath = datapath
        self._call_id = call_id
        self._control = ControlConnection(
            Role.CLIENT,
            ControlSettings(call_timeout=CALL_TIMEOUT, stop_timeout=GOODBYE_WAIT),
            trio.current_time(),
            echo_identifiers(),
        )
        self._wire = ControlStream(line.stream, self._control, self._control_event)
        self._session = ClientSession(settings.session, settings.credentials, os.urandom)
        self._driver = PppDriver(self._session, ticker, self._ppp_event, self.fail)
        self._passed: set[Step] = set()
        self._path: CallPath | None = None
        self._living = trio.CancelScope()
        self._over = False
        self._goodbye = trio.CancelScope(shield=True)
        self._why = ""
        self._suspicion = ""  # why the server hung up, as far as we can guess
        self._reason_overdue = ticker.alarm(self._no_reason_came)
        self._encryption = "none"
        self._pass(Step.TCP, f"{line.peer}:{line.port}")

    async def run(self) -> DialOutcome:
        """Go through all steps; stay until the server ends the call or we hang up; say goodbye."""
        try:
            with self._living:
                self._control.start(trio.current_time())
                await self._wire.flush()
                await self._wire.read()
        finally:
            self._goodbye.deadline = trio.current_time() + GOODBYE_WAIT
            with self._goodbye:
                await self._say_goodbye()
            self._driver.close()
            self._reason_overdue.close()
            if self._path is not None:
                self._path.close()
        return DialOutcome(self.tunnel is not None, self._why)

    def hang_up(self) -> None:
        """End the call, with a goodbye; that is no step's failure. Nothing when it is over already."""
        self._end(HUNG_UP if self.tunnel is not None else INTERRUPTED)

    def vanish(self) -> None:
        """End the call without a goodbye, as a client does whose power is gone, or cut one short that is being said."""
        self._goodbye.cancel()
        self.hang_up()

    def fail(self, why: str, step: Step | None = None) -> None:
        """The call is over, for this reason; the first counts. ``step``, or else the next one, has failed with it."""
        if self._over:
            return
        self._end(why)
        if self.tunnel is None:
            if step is None or step in self._passed:
                step = next(step for step in Step if step not in self._passed)
            self._report(StepReport(step, False, trio.current_time() - self._line.begun, why))

    def give_up(self, why: str) -> None:
        """Fail if the call is not up yet: because GRE does not get through, if it is that, else with ``why``."""
        if self.tunnel is None:
            self.fail(self._gre_trouble() or why)

    def _end(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._why = why
            self._living.cancel()

    async def _say_goodbye(self) -> None:
        """Terminate-Request, Call-Clear-Request, Stop-Control-Connection-Request, and wait for the server's reply.

        TCP that is closed with something unread becomes a reset, which some servers call a lost connection.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        now = trio.current_time()
        terminate = functools.partial(self._session.terminate, CauseOfEnd.CLIENT_HUNG_UP, "", now)
        await self._driver.say_goodbye(terminate, GOODBYE_WAIT / 2)
        self._control.disconnect_call(self._call_id, CauseOfEnd.CLIENT_HUNG_UP.disconnect_result, trio.current_time())
        self._control.stop(StopReason.NONE, trio.current_time())
        await self._wire.flush()
        await self._wire.read()

    # What happens, in the order of the steps.

    def _control_event(self, event: pptp.ControlEvent) -> None:
        match event:
            case pptp.ConnectionStarted():
                self._control.request_call(self._call_id, trio.current_time())
            case pptp.CallConnected():
                self._pass(Step.CONTROL, f"Call ID {event.call_id} here, {event.peer_call_id} there")
                endpoint = CallEndpoint(self._call_id, event.peer_call_id, self._line.local, self._line.peer)
                self._path = self._datapath.open_call(endpoint, self._driver)
                self._driver.start(self._path)
            case pptp.StartRefused():
                self.fail(f"the server refuses control connections: {explained(event.result, event.error)}")
            case pptp.CallRefused():
                self.fail(f"the server refuses the call: {explained(event.result, event.error)}")
            case pptp.CallEnded():
                self._call_ended(event.text)
            case pptp.ConnectionEnded():
                self.fail(self._suspicion or event.text)
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
                self.fail(self._reason(event))
            case ppp.SessionEnded() if self._session.lcp.terminated_by_peer or self._suspicion:
                self._suspect(self._reason(event))
            case ppp.SessionEnded():
                self.fail(self._reason(event))
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
        self.fail(f"{trouble}; {why}" if trouble else why, None if cause is None or trouble else failed_step(cause))

    def _suspect(self, why: str) -> None:
        """The server hangs up; its Call-Disconnect-Notify may say why, which is more than we can guess."""
        if not self._suspicion:
            self._suspicion = why
            self._reason_overdue.set(trio.current_time() + REASON_WAIT)

    def _no_reason_came(self, now: float) -> None:
        self.fail(self._suspicion)

    def _network_up(self, event: ppp.NetworkUp) -> None:
        assert self._path is not None
        self._pass(Step.ENCRYPTION, self._encryption)
        around = next((route for route in self._settings.routes if self._line.peer in route), None)
        if around is not None:
            self.fail(
                f"the route {around} holds {self._line.peer}, the server itself: the tunnel would lead into itself"
            )
            return
        # A server may use one address outside and inside; a route to it would cut the tunnel off.
        ours_only = event.peer_address in (None, self._line.peer)
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
        if self._over:
            return  # the kernel refused the address or a route, and the path has said so
        dns = f", DNS {', '.join(map(str, event.dns))}" if event.dns else ""
        self._pass(Step.ADDRESSES, f"{event.our_address} here, {event.peer_address} there, MTU {event.mtu}{dns}")
        self.tunnel = Tunnel(event.our_address, event.peer_address, event.dns, event.mtu, self._path)
        self._up(self, self.tunnel)

    def _gre_passed(self) -> None:
        heard = trio.current_time() if self._driver.heard is None else self._driver.heard
        self._pass(Step.GRE, f"the first packet came after {(heard - self._line.begun) * 1000:.0f} ms", heard)

    def _gre_trouble(self) -> str | None:
        """Which way GRE packets do not get through, as far as it shows; None once LCP was up."""
        path, peer = self._path, self._line.peer
        if path is None or Step.LCP in self._passed:
            return None
        if self._driver.heard is None:
            return f"no GRE packet came from {peer}: protocol 47 is blocked, or a firewall lacks its PPTP helper"
        if not path.counters.acknowledged:
            return f"GRE packets come from {peer}, but it acknowledges none of ours: protocol 47 is blocked outwards"
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
            seconds = (trio.current_time() if now is None else now) - self._line.begun
            self._report(StepReport(step, True, seconds, detail))
