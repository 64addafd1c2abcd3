"""The way of nearly all packets, written out: the next data packet of a call, an inner packet that fits. Hot path.

A packet costs in Python what its calls and looks at it cost, and twice that when the kernel has just used the caches.
So packets come here many at a time, and everything up to PPP is seen in one look. Whatever is not as nearly always goes
the long way (`GreCallPath`), which can do all that is done here: both leave the same behind.
"""

from collections.abc import Callable, Iterable, Mapping
from struct import Struct

from poptrio.datapath.call_path import GreCallPath
from poptrio.datapath.open_network import ENCRYPTED, IPV4
from poptrio.protocols.gre import ACKNOWLEDGE_AFTER, DATA, DATA_AND_ACK, SEQUENCE_MASK

# Of an outer IPv4 header without options: version and length, source. Of the GRE header behind it (RFC 2637 §4.1): what
# kind it is, payload length, Call ID, sequence number, and the acknowledgement if there is one.
_OUTER = Struct(">B11x4s4x4sH2sII")
_DATA_BEGINS = 32
_DATA_BEHIND_ACK_BEGINS = 36

# Of an inner one: version and length, length of the packet, destination.
_INNER = Struct(">BxH12x4s")
_NO_OPTIONS = 0x45


def packets_from_peers(
    packets: Iterable[bytes], now: float, calls: Mapping[bytes, GreCallPath], long_way: Callable[[bytes, float], None]
) -> None:
    """Take what a raw socket received, IP header in front. ``calls`` are by Call ID, as it stands in packets.

    ``long_way`` gets what is not the next data packet of a call that nobody looks into. Never raises.
    """
    unpack = _OUTER.unpack_from
    for packet in packets:
        size = len(packet)
        if size <= _OUTER.size:  # at least one octet behind an acknowledgement
            long_way(packet, now)
            continue
        head, source, kind, length, call_id, number, acknowledged = unpack(packet)
        path = calls.get(call_id)
        if path is None or source != path.peer or head != _NO_OPTIONS or path.tap is not None:
            long_way(packet, now)
            continue
        channel = path._channel
        begin = _DATA_BEGINS if kind == DATA else _DATA_BEHIND_ACK_BEGINS if kind == DATA_AND_ACK else size
        if number != channel._expected or channel._waiting or begin + length != size:
            long_way(packet, now)
            continue
        try:
            channel._counters.gre_received += 1
            channel._expected = (number + 1) & SEQUENCE_MASK
            channel._highest = number
            channel._unacknowledged = owed = channel._unacknowledged + 1
            if owed == 1:
                channel.ack_deadline = now + channel._ack_delay
            elif owed == ACKNOWLEDGE_AFTER:
                channel.ack_deadline = now
            if begin == _DATA_BEHIND_ACK_BEGINS and acknowledged != channel._acknowledged:
                channel._acknowledgement_arrived(acknowledged)
            first = packet[begin]
            if first == IPV4:
                path._ip_arrived(packet[begin + 1 :], False, now)
            elif first == ENCRYPTED:
                path._encrypted_arrived(packet, begin + 1, now)
            else:
                path._frame_arrived(packet[begin:], now)
            if channel.ack_deadline < path._wake_at:
                path._wait(now)
        except Exception as error:  # noqa: BLE001 - a bug in one call must not end the reader of all
            path._broken(error)


def packets_from_network(
    packets: Iterable[bytes], now: float, hosts: Mapping[bytes, GreCallPath], long_way: Callable[[bytes, float], None]
) -> None:
    """Take what was read from the TUN. ``hosts`` are the calls by the inner addresses of their clients.

    ``long_way`` gets what is not IPv4 to one of them, fits its MTU, and has no options. Never raises.
    """
    unpack = _INNER.unpack_from
    for packet in packets:
        size = len(packet)
        if size < _INNER.size:
            long_way(packet, now)
            continue
        head, length, destination = unpack(packet)
        path = hosts.get(destination)
        if path is None or head != _NO_OPTIONS or length != size or path.tap is not None:
            long_way(packet, now)
            continue
        network = path._network
        if network is None or length > network.mtu:
            long_way(packet, now)
            continue
        try:
            path._send_ip(packet, network, now)
        except Exception as error:  # noqa: BLE001 - as above
            path._broken(error)
