"""The kernel data path: PPTP, PPP and MPPE of Linux, a network device for each call, and only control frames here.

One task waits for the control frames of all calls, by one epoll object. What the kernel takes long for, closing
descriptors of PPP, threads of `closer` do. Only one of them removes devices: the kernel does that under the lock that
the loop needs for the device of a new call, and nobody shall have to wait there for more than one.
"""

import errno
import os
import select
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

import structlog
import trio

from poptrio.datapath.base import CallEndpoint, CallOwner, DataPathCounters, PathSettings, Preparation
from poptrio.datapath.kernel.call_path import KernelCallPath, Ports
from poptrio.datapath.kernel.ccp_socket import CcpSocket
from poptrio.datapath.kernel.closer import Closer
from poptrio.datapath.kernel.device import Device, device_prefix
from poptrio.datapath.kernel.mss_clamp import MssClamp
from poptrio.datapath.kernel.netlink import Netlink
from poptrio.datapath.kernel.ppp_device import PppFile
from poptrio.errors import LocalProtocolError

BATCH = 64
"""Files that are read per wake-up; then other tasks have their turn."""

SOCKET_CLOSERS = 3
"""Threads that close sockets of PPTP; each waits for a grace period of the kernel, which they can share."""

REMOVE_TIMEOUT = 30.0
"""Seconds for the kernel to remove all devices at the end, which it does together."""

MOST_PENDING = 3000
"""Descriptors that may wait for being closed; new calls are refused above, so that they cannot run out."""

_log = structlog.get_logger("poptrio.datapath")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSettings:
    """What a `KernelDataPath` is made with: names of devices begin with ``interface``, see `device_prefix`."""

    interface: str
    clamp_mss: bool = True


class KernelDataPath:
    """A `DataPath` of the kernel's PPTP. Calls can be opened once `run` has reported started."""

    def __init__(self, settings: KernelSettings) -> None:
        self.counters = DataPathCounters()
        self._prefix = device_prefix(settings.interface)
        self._clamp_mss = settings.clamp_mss
        self._group = int.from_bytes(os.urandom(4), "big") >> 2 | 0x20000000  # all devices of this process
        self._calls: dict[int, KernelCallPath] = {}
        self._by_peer: dict[tuple[IPv4Address, int], KernelCallPath] = {}
        self._files: dict[int, tuple[PppFile, KernelCallPath]] = {}
        self._devices = Closer(threads=1)
        self._sockets = Closer(threads=SOCKET_CLOSERS)
        self._running = trio.CancelScope()
        self._ended = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Move packets until cancelled or `close`, and leave no device and no filter rule behind.

        Raises OSError, with the remedy in its text, when the kernel refuses what all calls need.
        """
        with self._running, ExitStack() as resources:
            self._open(resources)
            try:
                task_status.started()
                await self._read()
            finally:
                self._close_calls()
                with trio.move_on_after(REMOVE_TIMEOUT, shield=True) as removing:
                    await trio.to_thread.run_sync(self._remove_devices, abandon_on_cancel=True)
                if removing.cancelled_caught:
                    _log.error("devices not removed", seconds=REMOVE_TIMEOUT)

    def open_call(self, endpoint: CallEndpoint, owner: CallOwner) -> KernelCallPath:
        """Start to take GRE packets of this call. Raises OSError when the kernel refuses it."""
        if self._ended:
            raise OSError(errno.ENODEV, "the data path has ended")
        if endpoint.call_id in self._calls:
            raise LocalProtocolError(f"Call ID {endpoint.call_id} is in use")
        if self._devices.pending + self._sockets.pending > MOST_PENDING:
            raise OSError(errno.EBUSY, "too many calls that have ended are still being closed by the kernel")
        earlier = self._by_peer.get((endpoint.peer, endpoint.peer_call_id))
        if earlier is not None:
            # The client has forgotten that one, and the kernel can have one of them only.
            earlier.fail("its client calls again, with the same Call ID")
            raise OSError(errno.EALREADY, "the client's Call ID is the one of its earlier call, which ends first")
        path = KernelCallPath(endpoint, owner, Ports(self._make_device, self._watch, self._forget))
        self._calls[endpoint.call_id] = path
        self._by_peer[endpoint.peer, endpoint.peer_call_id] = path
        return path

    def interface_of(self, call_id: int) -> str:
        """The device of this call."""
        return f"{self._prefix}{call_id}"

    def prepare(self, settings: PathSettings) -> Preparation:
        """Each device has its own MTU and route, and the kernel has no GRE settings."""
        return Preparation(lambda: None, lambda: None)

    def close(self) -> None:
        """Make `run` return; all devices are gone when it has."""
        self._running.cancel()

    def _open(self, resources: ExitStack) -> None:
        self._netlink = Netlink()
        resources.callback(self._netlink.close)
        self._ccp = CcpSocket()
        resources.callback(self._ccp.close)
        self._epoll = select.epoll()
        resources.callback(self._epoll.close)
        self._epoll.register(self._ccp.descriptor, select.EPOLLIN)
        clamp = MssClamp(self._prefix)
        if self._clamp_mss:
            clamp.add()
            resources.callback(clamp.remove)
        else:
            clamp.remove_left_behind()

    # Control frames.

    async def _read(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for descriptor, _ in self._epoll.poll(0, BATCH):
                if descriptor == self._ccp.descriptor:
                    self._read_ccp()
                elif (found := self._files.get(descriptor)) is not None:  # it may have ended in this very batch
                    file, path = found
                    path.file_readable(file)

    def _read_ccp(self) -> None:
        for _ in range(BATCH):
            packet = self._ccp.read()
            if packet is None:
                return
            call_id, sender, frame = packet
            path = self._calls.get(call_id)
            if path is None:
                self.counters.no_such_call += 1
            elif path.endpoint.peer.packed != sender:
                self.counters.wrong_source += 1
            else:
                path.frame_arrived(frame, kept_back=True)

    # What calls change.

    def _make_device(self, endpoint: CallEndpoint) -> Device:
        return Device(self._netlink, self._prefix, self._group, endpoint)

    def _watch(self, file: PppFile, path: KernelCallPath) -> None:
        self._epoll.register(file.descriptor, select.EPOLLIN)
        self._files[file.descriptor] = file, path

    def _forget(self, path: KernelCallPath) -> None:
        """The path is closed: nobody reads it any more, and its descriptors are on their way."""
        self._calls.pop(path.endpoint.call_id, None)
        self._by_peer.pop((path.endpoint.peer, path.endpoint.peer_call_id), None)
        if path.device is not None:
            self._unwatch(path.device.unit)
            self._devices.close([path.device.unit.descriptor])
        self._unwatch(path.channel)
        self._sockets.close([path.channel.descriptor, path.socket.descriptor])

    def _unwatch(self, file: PppFile) -> None:
        if self._files.pop(file.descriptor, None) is not None:
            self._epoll.unregister(file.descriptor)

    def _close_calls(self) -> None:
        self._ended = True
        for path in tuple(self._calls.values()):
            path.close()

    def _remove_devices(self) -> None:
        """Those of calls that have just been closed: together, it takes hardly longer than one."""
        with suppress(OSError):
            self._netlink.remove_group(self._group)
        self._devices.stop()
        self._sockets.stop()
