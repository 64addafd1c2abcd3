"""The in-memory twin of a data path: calls between servers and clients in one process, over a link of your choice.

All of `GreCallPath` is the real thing; only sockets and TUN are missing. Inner packets go in with
`MemoryCallPath.inject` and come out in ``delivered``::

    network = MemoryNetwork()
    await nursery.start(network.run)
    path = network.server.open_call(endpoint, owner)
    peer = network.client().open_call(endpoint_of_the_client, owner_of_the_client)
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import trio

from poptrio.datapath.base import CallEndpoint, CallOwner, DataPathCounters, PathSettings, Preparation
from poptrio.datapath.call_path import GreCallPath, Ports
from poptrio.datapath.timers import Timers
from poptrio.errors import LocalProtocolError
from poptrio.protocols.gre import GreSettings, call_id_of


class Link(Protocol):
    """What happens to GRE packets on their way."""

    def delays(self, packet: bytes, *, to_server: bool) -> Iterable[float]:
        """Seconds after which ``packet`` arrives, one number per copy; none: it is lost."""


class PerfectLink:
    """Every packet arrives at once, once, in order."""

    def delays(self, packet: bytes, *, to_server: bool) -> Iterable[float]:
        """One copy without delay."""
        return (0.0,)


class MemoryCallPath(GreCallPath):
    """A call path whose inner network is a list: ``delivered``, and ``on_delivered`` is called for each packet."""

    __slots__ = ("delivered", "on_delivered")

    def __init__(self, endpoint: CallEndpoint, owner: CallOwner, data_path: "MemoryDataPath") -> None:
        self.delivered: list[bytes] = []
        self.on_delivered: Callable[[bytes], None] | None = None
        ports = Ports(
            send_gre=partial(data_path.send, self),
            deliver=self._keep,
            report=self._keep,
            call_at=data_path.timers.call_at,
            network_changed=lambda path, parameters: None,
            closed=data_path.forget,
        )
        super().__init__(endpoint, owner, ports, data_path.settings)

    def inject(self, packet: bytes) -> None:
        """An inner packet from our network for the peer."""
        self.packet_from_network(packet, trio.current_time())

    def _keep(self, packet: bytes) -> None:
        self.delivered.append(packet)
        if self.on_delivered is not None:
            self.on_delivered(packet)


class MemoryDataPath:
    """One end's data path in a `MemoryNetwork`, which makes it."""

    def __init__(self, send: Callable[[MemoryCallPath, bytes], None], timers: Timers, settings: GreSettings) -> None:
        self.counters = DataPathCounters()
        self.calls: dict[int, MemoryCallPath] = {}
        self.send = send
        self.timers = timers
        self.settings = settings

    def open_call(self, endpoint: CallEndpoint, owner: CallOwner) -> MemoryCallPath:
        """Start to take GRE packets of this call."""
        if endpoint.call_id in self.calls:
            raise LocalProtocolError(f"Call ID {endpoint.call_id} is in use")
        path = MemoryCallPath(endpoint, owner, self)
        self.calls[endpoint.call_id] = path
        return path

    def interface_of(self, call_id: int) -> str:
        """None: inner packets are kept."""
        return ""

    def prepare(self, settings: PathSettings) -> Preparation:
        """Nothing but ``gre`` means anything here."""

        def commit() -> None:
            self.settings = settings.gre

        return Preparation(commit, lambda: None)

    def forget(self, path: GreCallPath) -> None:
        """``path`` is closed."""
        del self.calls[path.endpoint.call_id]

    def packet_arrived(self, packet: bytes, sender: MemoryCallPath, now: float) -> None:
        """A GRE packet comes off the link: look up its call, check its source."""
        path = self.calls.get(call_id_of(packet, 0))
        if path is None:
            self.counters.no_such_call += 1
        elif path.peer != sender.endpoint.local.packed:
            self.counters.wrong_source += 1
        else:
            path.packet_from_peer(packet, 0, now)


class MemoryNetwork:
    """Joins one server and any number of clients; GRE packets need `run`, and cross by ``link``."""

    def __init__(self, link: Link | None = None, settings: GreSettings | None = None) -> None:
        self._link = link or PerfectLink()
        self._settings = settings or GreSettings()
        self._timers = Timers()
        self._clients: list[MemoryDataPath] = []
        self.server = MemoryDataPath(self._to_client, self._timers, self._settings)

    def client(self) -> MemoryDataPath:
        """The data path of one more client. Clients may use the same addresses and the same Call IDs."""
        client = MemoryDataPath(self._to_server, self._timers, self._settings)
        self._clients.append(client)
        return client

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry packets until cancelled."""
        task_status.started()
        await self._timers.run()

    def _to_server(self, sender: MemoryCallPath, packet: bytes) -> None:
        now = trio.current_time()
        for delay in self._link.delays(packet, to_server=True):
            self._timers.call_at(now + delay, partial(self.server.packet_arrived, packet, sender))

    def _to_client(self, sender: MemoryCallPath, packet: bytes) -> None:
        now = trio.current_time()
        for delay in self._link.delays(packet, to_server=False):
            self._timers.call_at(now + delay, partial(self._arrive_at_client, packet, sender))

    def _arrive_at_client(self, packet: bytes, sender: MemoryCallPath, now: float) -> None:
        """Clients choose equal Call IDs; which one is meant, a real network knows by its address, we by the call."""
        for client in self._clients:
            path = client.calls.get(sender.endpoint.peer_call_id)
            if path is not None and path.endpoint.peer_call_id == sender.endpoint.call_id:
                client.packet_arrived(packet, sender, now)
                return
