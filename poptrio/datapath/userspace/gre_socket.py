"""The raw GRE socket of one local address (RFC 2637 §4), for every call that comes to it. Hot path."""

import ctypes
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address
from struct import pack

from poptrio.datapath.base import ALL_CALL_IDS, CallEndpoint, CallIdSlice

MAX_PACKET = 65535

MOST_SENDERS = 32
"""Local addresses that have a socket of their own to send from: a machine may have a whole network of them."""

# Linux' numbers, which the socket module does not have in every Python that we run on.
_IP_PKTINFO = 8
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33

# Room for what arrives while the thread is busy elsewhere: about 3,000 full packets, 100 ms at 30,000 per second.
_RECEIVE_BUFFER = 8 << 20

_Instruction = tuple[int, int, int, int]
"""Of classic BPF: code, instructions to skip if true, and if false, constant."""

# Passes version 1 with protocol 0x880b and nothing else, so that GRE tunnels of other kinds on the same host do not
# wake us. Offsets are from the outer IP header.
_ONLY_PPTP: tuple[_Instruction, ...] = (
    (0xB1, 0, 0, 0),  # X = length of the IP header
    (0x48, 0, 0, 2),  # A = protocol type
    (0x15, 1, 0, 0x880B),
    (0x06, 0, 0, 0),  # drop
    (0x50, 0, 0, 1),  # A = flags and version
    (0x54, 0, 0, 0x07),
    (0x15, 1, 0, 1),
    (0x06, 0, 0, 0),  # drop
)
_NOTHING: tuple[_Instruction, ...] = ((0x06, 0, 0, 0),)


def gre_filter(call_ids: CallIdSlice) -> tuple[_Instruction, ...]:
    """The program that passes PPTP's packets of ``call_ids``, and drops all others in the kernel."""
    of_slice: tuple[_Instruction, ...] = (
        (0x48, 0, 0, 6),  # A = Call ID
        (0x94, 0, 0, call_ids.workers),  # A = A mod workers
        (0x15, 1, 0, call_ids.worker),
        (0x06, 0, 0, 0),  # drop
    )
    return (*_ONLY_PPTP, *(of_slice if call_ids != ALL_CALL_IDS else ()), (0x06, 0, 0, MAX_PACKET))


class GreSocket:
    """A raw socket for GRE to ``address``, or to every local address for 0.0.0.0, as far as it is for ``call_ids``.

    Raises OSError when the kernel refuses: without CAP_NET_RAW, or when ``address`` is not local. ``inherited`` is such
    a socket of another process, with the packets that wait in it.
    """

    def __init__(
        self, address: IPv4Address, call_ids: CallIdSlice = ALL_CALL_IDS, inherited: socket.socket | None = None
    ) -> None:
        self.address = address
        self._senders: dict[IPv4Address, socket.socket] = {}
        self._filter = gre_filter(call_ids)
        if inherited is not None:
            self.socket = inherited
            return
        self.socket = _raw_socket()
        try:
            self._configure()
        except BaseException:
            self.socket.close()
            raise

    def sender(self, endpoint: CallEndpoint) -> Callable[[bytes], object]:
        """A function that sends one GRE packet of this call; it raises OSError when the kernel does not take it.

        Raises OSError when there can be no packets from ``endpoint.local``.
        """
        destination = (str(endpoint.peer), 0)
        if self.address.is_unspecified and endpoint.local not in self._senders and len(self._senders) >= MOST_SENDERS:
            sendmsg = self.socket.sendmsg
            ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, pack("=i4s4s", 0, endpoint.local.packed, bytes(4)))]
            return lambda packet: sendmsg((packet,), ancillary, 0, destination)
        sendto = (self._sender_from(endpoint.local) if self.address.is_unspecified else self.socket).sendto
        return lambda packet: sendto(packet, destination)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        for sender in self._senders.values():
            sender.close()

    def _sender_from(self, local: IPv4Address) -> socket.socket:
        """A socket that only sends, from ``local``: the address of the control connection, whatever routes think.

        To name the address with each packet instead (IP_PKTINFO) makes sending it a fifth slower.
        """
        sender = self._senders.get(local)
        if sender is None:
            sender = _raw_socket()
            try:
                sender.setblocking(False)
                _attach_filter(sender, _NOTHING)
                sender.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
                sender.bind((str(local), 0))
            except BaseException:
                sender.close()
                raise
            self._senders[local] = sender
        return sender

    def _configure(self) -> None:
        raw = self.socket
        raw.setblocking(False)
        _attach_filter(raw, self._filter)
        # Don't-fragment stays clear on the outer packets: the inner ones were already made to fit the call's MTU. Where
        # the path is narrower still, fragments are slow, but with the bit set every full packet would be lost, and the
        # ICMP messages that say so would be about packets that we no longer have and cannot send smaller.
        raw.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        with suppress(PermissionError):  # over the limit of net.core.rmem_max only with CAP_NET_ADMIN
            raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        try:
            raw.bind((str(self.address), 0))
        except OSError as error:
            raise OSError(error.errno, f"{self.address} cannot be used for GRE: {error.strerror}") from error


def _raw_socket() -> socket.socket:
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
    except PermissionError as error:
        remedy = "run as root, or with the capability NET_RAW (in a container: --cap-add NET_RAW)"
        raise PermissionError(error.errno, f"a raw GRE socket is not allowed: {remedy}") from error


def _attach_filter(raw: socket.socket, instructions: tuple[_Instruction, ...]) -> None:
    program = ctypes.create_string_buffer(b"".join(pack("=HBBI", *instruction) for instruction in instructions))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pack("@HP", len(instructions), ctypes.addressof(program)))
