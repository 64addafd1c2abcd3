"""What of the kernel data path this machine cannot do, each with its remedy. A device is made and removed for it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint
from poptrio.datapath.kernel.ccp_socket import CcpSocket
from poptrio.datapath.kernel.device import Device, device_prefix
from poptrio.datapath.kernel.mss_clamp import REMEDY, MssClamp
from poptrio.datapath.kernel.netlink import Netlink
from poptrio.datapath.kernel.ppp_device import Direction
from poptrio.datapath.kernel.pptp_socket import open_socket

_NOBODY = CallEndpoint(call_id=0, peer_call_id=0, local=IPv4Address(0), peer=IPv4Address(0))


@dataclass(frozen=True, slots=True)
class Needs:
    """What a configuration asks of the kernel data path."""

    interface: str
    encryption: bool
    clamp_mss: bool


def obstacles(needs: Needs) -> list[str]:
    """Sentences, each with a remedy; none when all is there.

    The kernel loads the modules that are missing here, where it may.
    """
    return list(_obstacles(needs))


def _obstacles(needs: Needs) -> Iterator[str]:
    try:
        os.close(open_socket())
        CcpSocket().close()
    except OSError as error:
        yield error.strerror or str(error)
    yield from _device_obstacles(needs)
    if needs.clamp_mss and (why := MssClamp(device_prefix(needs.interface)).obstacle()) is not None:
        yield f"MSS cannot be clamped: {why}; {REMEDY}"


def _device_obstacles(needs: Needs) -> Iterator[str]:
    try:
        netlink = Netlink()
        try:
            device = Device(netlink, device_prefix(needs.interface), 0, _NOBODY)
        finally:
            netlink.close()
    except OSError as error:
        yield error.strerror or str(error)
        return
    unit = device.unit
    try:
        try:
            unit.take_only_from([])
        except OSError as error:
            yield f"the kernel's PPP has no filter (CONFIG_PPP_FILTER): {error.strerror}; take another kernel"
        try:
            if needs.encryption:
                unit.set_ccp(opened=True, up=False)
                unit.set_mppe(Direction.RECEIVE, MppeParameters(128, stateless=True, start_key=bytes(16)))
        except OSError as error:
            yield f"the kernel has no MPPE: {error.strerror}; load the module (modprobe ppp_mppe)"
    finally:
        unit.close()
