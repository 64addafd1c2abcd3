"""The userspace data path: raw GRE sockets, one TUN, and every packet's way between them in this process. Hot path.

The readers, one per GRE socket and one for the TUN, wait once and then `drain` what has come. Most packets go by the
`shortcut`; any other is looked up in a dict and handed to its `GreCallPath`. Both are plain calls, which end in a
``send`` or ``write``: nothing is queued.
"""

import errno
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import trio

from poptrio.datapath.base import (
    ALL_CALL_IDS,
    CallEndpoint,
    CallIdSlice,
    CallOwner,
    DataPathCounters,
    NetworkParameters,
    PathSettings,
    Preparation,
)
from poptrio.datapath.call_path import GreCallPath, Ports
from poptrio.datapath.shortcut import packets_from_network, packets_from_peers
from poptrio.datapath.timers import Timers
from poptrio.datapath.userspace.drain import drain
from poptrio.datapath.userspace.gre_socket import GreSocket
from poptrio.datapath.userspace.inner_networks import InnerNetworks
from poptrio.datapath.userspace.routes import KernelRoutes
from poptrio.datapath.userspace.tun import Tun
from poptrio.datapath.userspace.tun_repair import keep_repaired
from poptrio.errors import LocalProtocolError
from poptrio.protocols.gre import GreSettings

_ANY = IPv4Address("0.0.0.0")

# The first octet of inner addresses that are no single host's begins here (RFC 1112 §4).
_MULTICAST = 224


@dataclass(frozen=True, slots=True, kw_only=True)
class UserspaceSettings:
    """What a `UserspaceDataPath` is made with.

    ``listen`` are the local outer addresses; 0.0.0.0 stands for all. ``interface`` names the TUN, whose MTU in octets
    is ``mtu``; None makes none: calls come up, and their IP packets go nowhere but to the ``deliver`` of
    `UserspaceDataPath`. ``address`` is our inner address, and ``routes`` are the inner networks of all clients
    (`covering_routes`); a client leaves both empty, since `NetworkParameters` bring address and routes with the call.
    Of several processes that share addresses and routes, each has its own ``call_ids``.
    """

    listen: tuple[IPv4Address, ...]
    interface: str | None
    mtu: int
    address: IPv4Address | None = None
    routes: tuple[IPv4Network, ...] = ()
    gre: GreSettings = field(default_factory=GreSettings)
    call_ids: CallIdSlice = ALL_CALL_IDS


@dataclass(frozen=True, slots=True)
class Standing:
    """What a data path has that is no call's: GRE sockets by local address, the TUN's descriptor, standing routes."""

    gre: Mapping[IPv4Address, socket.socket]
    tun: int
    routes: tuple[IPv4Network, ...]


class UserspaceDataPath:
    """A `DataPath` of raw sockets and a TUN. `run` opens them; calls can be opened once it has reported started.

    Without a TUN, ``deliver`` takes the inner packets that arrive; it returns at once, and may raise OSError only. With
    what it has ``inherited`` from another process it reads nothing before `go`.
    """

    def __init__(
        self,
        settings: UserspaceSettings,
        deliver: Callable[[bytes], object] | None = None,
        inherited: Standing | None = None,
    ) -> None:
        self.counters = DataPathCounters()
        self._settings = settings
        self._timers = Timers()
        self._calls: dict[bytes, GreCallPath] = {}  # by Call ID, as it stands in packets
        self._networks = InnerNetworks()
        self._sockets: dict[IPv4Address, GreSocket] = {}
        self._tun: Tun | None = None
        self._to_tun: Callable[[bytes], object] = deliver or _discard
        self._report: Callable[[bytes], object] = _discard
        self._gateway: GreCallPath | None = None  # the client role: where everything else goes
        self._gateway_address: IPv4Address | None = None
        self._running = trio.CancelScope()
        self._inherited = inherited
        self._may_read = trio.Event()
        if inherited is None:
            self._may_read.set()

    @property
    def standing(self) -> Standing:
        """What another process can inherit; it must be the only one that reads. Only where there is a TUN."""
        assert self._tun is not None
        sockets = {address: gre_socket.socket for address, gre_socket in self._sockets.items()}
        return Standing(sockets, self._tun.fd, self._kernel_routes.standing)

    def go(self) -> None:
        """Nobody else reads what was inherited."""
        self._kernel_routes.settled()
        self._may_read.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open sockets and TUN, move packets until cancelled or `close`, and leave neither device nor route behind.

        Raises OSError, with the remedy in its text, or ConfigError when something cannot be opened. OSError in an
        ExceptionGroup when the TUN disappears while it is in use; all calls have been told then.
        """
        with self._running, ExitStack() as resources:
            self._open(resources)
            if not self._may_read.is_set():
                task_status.started()
                await self._may_read.wait()
                task_status = trio.TASK_STATUS_IGNORED
            async with trio.open_nursery() as nursery:
                for gre_socket in self._sockets.values():
                    nursery.start_soon(self._read_gre, gre_socket.socket)
                if self._tun is not None:
                    nursery.start_soon(self._read_tun, self._tun)
                    nursery.start_soon(keep_repaired, self._tun, self._kernel_routes)
                nursery.start_soon(self._timers.run)
                task_status.started()

    def open_call(self, endpoint: CallEndpoint, owner: CallOwner) -> GreCallPath:
        """Start to take GRE packets of this call. Raises OSError when there is no socket for its local address."""
        call_id = endpoint.call_id.to_bytes(2, "big")
        if call_id in self._calls:
            raise LocalProtocolError(f"Call ID {endpoint.call_id} is in use")
        gre_socket = self._sockets.get(endpoint.local) or self._sockets.get(_ANY)
        if gre_socket is None:
            raise OSError(errno.EADDRNOTAVAIL, f"no GRE socket for {endpoint.local}")
        ports = replace(self._ports, send_gre=gre_socket.sender(endpoint))
        path = self._calls[call_id] = GreCallPath(endpoint, owner, ports, self._settings.gre)
        return path

    def interface_of(self, call_id: int) -> str:
        """The TUN, whichever call it is."""
        return "" if self._tun is None else self._tun.name

    def prepare(self, settings: PathSettings) -> Preparation:
        """Set the MTU of the TUN, and add the routes that are not there yet.

        Calls that are up have an MTU of their own, so that the device's may change under them.
        """
        before = self._settings
        undo = ExitStack()
        commits: list[Callable[[], None]] = []
        if self._tun is not None:
            with undo as undoing:
                if settings.mtu != before.mtu:
                    undoing.callback(self._try_mtu, self._tun, before.mtu)
                    self._tun.set_up(settings.mtu)
                routes = self._kernel_routes.prepare_standing(settings.routes)
                undoing.callback(routes.undo)
                commits.append(routes.commit)
                undo = undoing.pop_all()

        def commit() -> None:
            self._settings = replace(before, mtu=settings.mtu, routes=settings.routes, gre=settings.gre)
            for one in commits:
                one()

        return Preparation(commit, undo.close)

    @staticmethod
    def _try_mtu(tun: Tun, mtu: int) -> None:
        with suppress(OSError):
            tun.set_up(mtu)

    def close(self) -> None:
        """Make `run` return; device and routes are gone when it has."""
        self._running.cancel()

    def _open(self, resources: ExitStack) -> None:
        settings, inherited = self._settings, self._inherited
        # The socket for all addresses also gets the packets of each: a second one would see everything twice.
        for address in {_ANY} if _ANY in settings.listen else settings.listen:
            if address not in self._sockets:
                before = inherited.gre.get(address) if inherited is not None else None
                gre_socket = self._sockets[address] = GreSocket(address, settings.call_ids, before)
                resources.callback(gre_socket.close)
        resources.callback(self._sockets.clear)
        if settings.interface is not None:
            tun = Tun(settings.interface, inherited.tun if inherited is not None else None)
            self._open_tun(tun, resources)
        self._ports = Ports(  # of all calls, each of which sends to its own peer
            send_gre=_discard,
            deliver=self._to_tun,
            report=self._report,
            call_at=self._timers.call_at,
            network_changed=self._network_changed,
            closed=self._forget,
        )
        resources.callback(self._close_calls)

    def _open_tun(self, tun: Tun, resources: ExitStack) -> None:
        settings, inherited = self._settings, self._inherited
        self._tun = tun
        resources.callback(tun.close)
        tun.set_up(settings.mtu)
        if inherited is not None:  # it has its address, and routes for calls that its pool may not have any more
            settings = replace(settings, routes=(*dict.fromkeys((*settings.routes, *inherited.routes)),))
        elif settings.address is not None:
            tun.add_address(settings.address)
        self._kernel_routes = _kernel_routes(settings, tun)
        self._kernel_routes.add_standing(inherited=inherited is not None)
        self._to_tun = partial(os.write, tun.fd)
        # ICMP messages go out by a socket: the kernel drops what comes out of the TUN with an address of its own.
        icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
        resources.callback(icmp.close)
        self._report = lambda message: icmp.sendto(message, (socket.inet_ntoa(message[16:20]), 0))

    # From the peers.

    async def _read_gre(self, raw: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(raw)
            try:
                drain(raw.recv, self._take_from_peers)
            except OSError:
                # An ICMP error about something we sent, or no memory: the next packet is none the worse.
                self.counters.receive_failed += 1

    def _take_from_peers(self, packets: list[bytes], now: float) -> None:
        packets_from_peers(packets, now, self._calls, self._gre_arrived)

    def _gre_arrived(self, packet: bytes, now: float) -> None:
        """Any GRE packet, behind its IP header."""
        counters = self.counters
        start = (packet[0] & 15) << 2
        path = self._calls.get(packet[start + 6 : start + 8])
        if path is not None and packet[12:16] == path.peer:
            path.packet_from_peer(packet, start, now)
        elif path is not None:
            counters.wrong_source += 1
        elif len(packet) < start + 8:
            counters.malformed += 1
        else:
            counters.no_such_call += 1

    # From our network.

    async def _read_tun(self, tun: Tun) -> None:
        read = partial(os.read, tun.fd)
        try:
            while True:
                await trio.lowlevel.wait_readable(tun.fd)
                drain(read, self._take_from_network)
        except OSError as error:
            reason = f"the TUN {tun.name} cannot be read any more, it may have been deleted: {error.strerror}"
            for path in tuple(self._calls.values()):
                path.fail(reason)
            raise OSError(error.errno, reason) from error

    def _take_from_network(self, packets: list[bytes], now: float) -> None:
        packets_from_network(packets, now, self._networks.hosts, self._inner_arrived)

    def _inner_arrived(self, packet: bytes, now: float) -> None:
        """Any packet from our network."""
        if len(packet) < 20 or packet[0] >> 4 != 4:
            return  # the kernel's IPv6 chatter
        path = self._networks.hosts.get(packet[16:20]) or self._path_to(packet[16:20])
        if path is not None:
            path.packet_from_network(packet, now)

    def _path_to(self, destination: bytes) -> GreCallPath | None:
        """Which call leads to an inner address that is not a client's own."""
        path = self._networks.find(destination) or self._gateway
        if path is None and destination[0] < _MULTICAST:
            self.counters.no_such_address += 1
        return path

    # What calls change.

    def _network_changed(self, path: GreCallPath, network: NetworkParameters | None) -> None:
        tun = self._tun
        if tun is None:
            return
        networks = _networks_behind(network)
        self._networks.replace(path, networks)
        try:
            if network is not None and network.peer_address is None:
                self._open_gateway(path, network, tun)
            elif path is self._gateway:
                self._close_gateway(tun)
            self._kernel_routes.replace(path, networks)
        except OSError as error:
            path.fail(error.strerror or str(error))  # comes here again, with None

    def _open_gateway(self, path: GreCallPath, network: NetworkParameters, tun: Tun) -> None:
        """We are the client of this call: the TUN becomes its end, and everything goes there."""
        if network.our_address != self._gateway_address:
            self._close_gateway(tun)
            tun.add_address(network.our_address)
            self._gateway_address = network.our_address
        tun.set_up(network.mtu)
        self._gateway = path

    def _close_gateway(self, tun: Tun) -> None:
        if self._gateway_address is not None:
            tun.remove_address(self._gateway_address)
        self._gateway = self._gateway_address = None

    def _forget(self, path: GreCallPath) -> None:
        del self._calls[path.endpoint.call_id.to_bytes(2, "big")]

    def _close_calls(self) -> None:
        for path in tuple(self._calls.values()):
            path.close()


def _kernel_routes(settings: UserspaceSettings, tun: Tun) -> KernelRoutes:
    """Where other processes have TUNs for the same pool, each call's own routes lead to the one that has the call.

    The standing ones differ by metric, so that all can exist, and packets for addresses that nobody has end here.
    """
    if settings.call_ids == ALL_CALL_IDS:
        return KernelRoutes(settings.routes, tun.add_route, tun.remove_route)
    return KernelRoutes(
        settings.routes,
        partial(tun.add_route, before_others=True),
        tun.remove_route,
        add_standing=partial(tun.add_route, metric=settings.call_ids.worker + 1),
        remove_standing=partial(tun.remove_route, metric=settings.call_ids.worker + 1),
        every=True,
    )


def _networks_behind(network: NetworkParameters | None) -> tuple[IPv4Network, ...]:
    if network is None:
        return ()
    if network.peer_address is None:
        return network.routes
    return (IPv4Network(int(network.peer_address)), *network.routes)


def _discard(packet: bytes) -> None:
    """Where inner packets go without a TUN."""
