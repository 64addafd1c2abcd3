"""A scripted PPTP client in memory: dials a server step by step, or stops where a test wants it to.

It is made of the same cores as ``poptrio dial``, but shows everything that it hears, can be deaf to any protocol, and
can break off in every way that a client can. `MemoryServer.connect` makes it::

    client = await server.connect()
    await client.start()
    call = await client.request_call("alice", "correct horse")
    await call.settled()
"""

import itertools
import os
from functools import partial
from ipaddress import IPv4Address

import trio

from poptrio.datapath.base import CallEndpoint, NetworkParameters
from poptrio.datapath.memory import MemoryCallPath, MemoryDataPath
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp import session_events as ppp
from poptrio.protocols.ppp.authenticator import Credentials
from poptrio.protocols.ppp.client_session import ClientSession
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.protocols.pptp import events as pptp
from poptrio.protocols.pptp.codes import StopReason
from poptrio.protocols.pptp.control import ControlConnection, ControlSettings, Role
from poptrio.runtime.control_stream import ControlStream
from poptrio.runtime.flag import Flag
from poptrio.runtime.ppp_driver import PppDriver
from poptrio.runtime.ticker import Ticker
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.line import MemoryLine

EVERYTHING = frozenset(range(0x10000))
"""To be deaf to every protocol."""


class ScriptedClient:
    """One control connection from ``peer``; ``heard`` is every control event in order, ``ended`` the last one."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        line: MemoryLine,
        peer: IPv4Address,
        server: IPv4Address,
        datapath: MemoryDataPath,
        ticker: Ticker,
    ) -> None:
        self.peer = peer
        self.server = server
        self.datapath = datapath
        self.ticker = ticker
        self.heard: list[pptp.ControlEvent] = []
        self.calls: dict[int, ScriptedCall] = {}
        self.started = trio.Event()
        self.over = trio.Event()
        self._stream = stream
        self._line = line
        self._control = ControlConnection(Role.CLIENT, ControlSettings(), trio.current_time(), itertools.count(1))
        self._wire = ControlStream(stream, self._control, self._happened, ticker)

    @property
    def ended(self) -> pptp.ConnectionEnded | None:
        """How the control connection ended, None while it lives."""
        return self._wire.ended

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear what the server says until the control connection is over, then close TCP."""
        task_status.started()
        try:
            await self._wire.read()
        finally:
            self._wire.close()
        await self._stream.aclose()

    # What a client does.

    async def start(self) -> None:
        """Start-Control-Connection-Request; returns with the reply, or with the end of the connection."""
        self._control.start(trio.current_time())
        await self._wire.flush()
        await self.started.wait()

    async def request_call(
        self,
        username: str = "alice",
        password: str = "correct horse",
        *,
        call_id: int | None = None,
        settings: SessionSettings | None = None,
        deaf_to: frozenset[int] = frozenset(),
        further_passwords: tuple[str, ...] = (),
        new_password: str | None = None,
    ) -> "ScriptedCall":
        """Outgoing-Call-Request; returns with the reply. The call then goes on by itself, but for what it is deaf to.

        The other passwords are those of `Credentials`: for a second try, and for an expired one. A call that is deaf to
        `EVERYTHING` does not even begin.
        """
        if call_id is None:
            call_id = max(self.calls, default=0) + 1
        credentials = Credentials(username, password, further_passwords, new_password)
        call = self.calls[call_id] = ScriptedCall(self, call_id, credentials, settings or SessionSettings(), deaf_to)
        self._control.request_call(call_id, trio.current_time())
        await self._wire.flush()
        await call.answered.wait()
        return call

    async def send(self, octets: bytes) -> None:
        """Anything at all on the control connection."""
        await self._stream.send_all(octets)

    async def clear_call(self, call: "ScriptedCall") -> None:
        """Call-Clear-Request."""
        self._control.disconnect_call(
            call.call_id, CauseOfEnd.CLIENT_HUNG_UP.disconnect_result, now=trio.current_time()
        )
        await self._wire.flush()

    async def stop(self) -> None:
        """Stop-Control-Connection-Request."""
        self._control.stop(StopReason.NONE, trio.current_time())
        await self._wire.flush()

    async def close(self) -> None:
        """Close TCP without a word."""
        await self._stream.aclose()

    async def reset(self) -> None:
        """Break TCP."""
        await self._line.reset()

    def stop_reading(self) -> None:
        """Let the server's TCP window fill up."""
        self._line.stall()

    # What the server says.

    def _happened(self, event: pptp.ControlEvent) -> None:
        self.heard.append(event)
        match event:
            case pptp.ConnectionStarted():
                self.started.set()
            case pptp.CallConnected() | pptp.CallRefused() | pptp.CallEnded():
                self.calls[event.call_id].control_event(event)
            case pptp.ConnectionEnded():
                self.started.set()
                self.over.set()
                for call in self.calls.values():
                    call.control_event(event)
            case _:
                pass


class ScriptedCall:
    """One call. What it came to is in ``address`` and its neighbours, how it ended in ``cause`` and ``why``.

    ``frames`` are all PPP control frames of the server. ``answered``, ``up`` and ``over`` are set when the reply to the
    Outgoing-Call-Request, an address or the end has come.
    """

    def __init__(
        self,
        client: ScriptedClient,
        call_id: int,
        credentials: Credentials,
        settings: SessionSettings,
        deaf_to: frozenset[int],
    ) -> None:
        self.client = client
        self.call_id = call_id
        self.deaf_to = deaf_to
        self.connected: pptp.CallConnected | None = None
        self.refused: pptp.CallRefused | None = None
        self.cleared: pptp.CallEnded | None = None
        self.terminated: ppp.SessionEnded | None = None
        self.address: IPv4Address | None = None
        self.server_address: IPv4Address | None = None
        self.dns: tuple[IPv4Address, ...] = ()
        self.mtu = 0
        self.encryption = "none"
        self.frames: list[bytes] = []
        self.answered = trio.Event()
        self.up = trio.Event()
        self.over = trio.Event()
        self.session = ClientSession(settings, credentials, os.urandom)
        self._settings = settings
        self._driver = PppDriver(self.session, client.ticker, self._session_event, self._path_failed)
        self._path: MemoryCallPath | None = None

    @property
    def path(self) -> MemoryCallPath:
        """The call's end of the data path; there is none before Outgoing-Call-Reply."""
        if self._path is None:
            raise LookupError("the call has not been accepted")
        return self._path

    @property
    def cause(self) -> CauseOfEnd | None:
        """Why the PPP session ended, as this side sees it; None while it lives."""
        return self.terminated.cause if self.terminated else None

    @property
    def why(self) -> str:
        """How the call ended, in a sentence; empty while it lives."""
        if self.terminated is not None:
            return f"{self.terminated.cause.sentence}: {self.terminated.detail}".rstrip(": ")
        if self.refused is not None:
            return f"refused with {self.refused.result!r}"
        if self.cleared is not None:
            return self.cleared.text or "cleared"
        return self.client.ended.text if self.client.ended else ""

    async def settled(self) -> None:
        """Wait until the call is up or over."""
        await _first_of(self.up, self.over)

    async def hang_up(self) -> None:
        """LCP Terminate-Request, then Call-Clear-Request; returns when the server has confirmed the end."""
        self.terminate()
        await _first_of(self._driver.over, self.over)  # its Call-Disconnect-Notify may be faster than its Terminate-Ack
        await self.client.clear_call(self)
        await self.over.wait()

    def terminate(self) -> None:
        """LCP Terminate-Request."""
        self._driver.do(partial(self.session.terminate, CauseOfEnd.CLIENT_HUNG_UP, "", trio.current_time()))

    def send_ip(self, payload: bytes = b"", *, source: IPv4Address | None = None) -> None:
        """An IP packet to the server's inner address, by default from the call's own."""
        assert self.server_address is not None
        assert self.address is not None
        self.path.inject(ipv4_packet(source or self.address, self.server_address, payload))

    # The data path's side (CallOwner).

    def frame_arrived(self, frame: bytes, encrypted: bool) -> None:
        """A PPP control frame of the server."""
        self.frames.append(frame)
        if int.from_bytes(frame[:2], "big") not in self.deaf_to:
            self._driver.frame_arrived(frame, encrypted)

    def decryption_lost(self) -> None:
        """Stateful MPPE lost its place."""
        self._driver.decryption_lost()

    def path_failed(self, reason: str) -> None:
        """The data path cannot go on."""
        self._path_failed(reason)

    # What happens.

    def control_event(self, event: pptp.ControlEvent) -> None:
        """The control connection says something about this call."""
        match event:
            case pptp.CallConnected():
                self.connected = event
                endpoint = CallEndpoint(self.call_id, event.peer_call_id, self.client.peer, self.client.server)
                self._path = self.client.datapath.open_call(endpoint, self)
                if self.deaf_to != EVERYTHING:
                    self._driver.start(self._path)
            case pptp.CallRefused():
                self.refused = event
            case pptp.CallEnded():
                self.cleared = event
            case _:
                pass
        self.answered.set()
        if not isinstance(event, pptp.CallConnected):
            self._close()

    def _session_event(self, event: ppp.SessionEvent) -> None:
        match event:
            case ppp.EncryptionUp():
                self.encryption = str(event.send) if event.send else "none"
            case ppp.NetworkUp():
                self._network_up(event)
            case ppp.SessionEnded():
                self.terminated = event
            case _:
                pass

    def _network_up(self, event: ppp.NetworkUp) -> None:
        self.address, self.server_address, self.dns = event.our_address, event.peer_address, event.dns
        self.mtu = event.mtu
        self.path.open_network(
            NetworkParameters(
                our_address=event.our_address,
                peer_address=None,
                mtu=event.mtu,
                pfc=event.pfc,
                acfc=event.acfc,
                encryption_required=self._settings.encryption.required,
            )
        )
        self.up.set()

    def _path_failed(self, reason: str) -> None:
        raise AssertionError(f"the client's data path failed: {reason}")

    def _close(self) -> None:
        self._driver.close()
        if self._path is not None:
            self._path.close()
        self.over.set()


async def _first_of(*events: trio.Event | Flag) -> None:
    """Wait until one of the events is set."""

    async def wait_then_cancel(event: trio.Event | Flag) -> None:
        await event.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(wait_then_cancel, event)
