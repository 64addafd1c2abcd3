"""One call in the kernel's PPTP: a PPPoX socket, bound to our Call ID and connected to the peer's.

The socket module does not know the address family, so bind and connect go through the C library.
"""

import ctypes
import errno
import fcntl
import os
import socket
from struct import Struct, pack, unpack

from poptrio.datapath.base import CallEndpoint
from poptrio.datapath.kernel.bpf import attach_to_socket
from poptrio.datapath.kernel.filters import socket_filter

AF_PPPOX = 24
PX_PROTO_PPTP = 2
_PPPIOCGCHAN = 0x80047437

# struct sockaddr_pppox is packed: family, protocol, Call ID in host order, address; 30 octets in all.
_ADDRESS = Struct("=HIHxx4s16x")
_libc = ctypes.CDLL(None, use_errno=True)

REMEDIES = {
    errno.EAFNOSUPPORT: "the kernel has no PPP over sockets; load the module (modprobe pptp)",
    errno.EPROTONOSUPPORT: "the kernel has no PPTP; load the module (modprobe pptp)",
    errno.EPERM: "not allowed; run as root, or with the capability NET_ADMIN",
    errno.EACCES: "not allowed; run as root, or with the capability NET_ADMIN",
}


class PptpSocket:
    """The GRE end of a call in the kernel. Nothing can come in before its filter is there.

    Raises OSError when the kernel refuses: EBUSY when the Call ID is in use on this machine, EALREADY when another call
    with the same peer and the peer's same Call ID is.
    """

    def __init__(self, endpoint: CallEndpoint) -> None:
        self.descriptor = open_socket()
        try:
            attach_to_socket(self.descriptor, socket_filter(encryption_required=False))
            self._call("bind", endpoint.call_id, endpoint.local.packed)
            self._call("connect", endpoint.peer_call_id, endpoint.peer.packed)
            self.channel = channel_number(self.descriptor)
        except BaseException:
            os.close(self.descriptor)
            raise

    def require_encryption(self, required: bool) -> None:
        """Whether clear text from the peer is dropped. Raises OSError when the kernel refuses."""
        attach_to_socket(self.descriptor, socket_filter(required))

    def close(self) -> None:
        """Close the descriptor, which can take the kernel 20 ms."""
        os.close(self.descriptor)

    def _call(self, function: str, call_id: int, address: bytes) -> None:
        packed = _ADDRESS.pack(AF_PPPOX, PX_PROTO_PPTP, call_id, address)
        if getattr(_libc, function)(self.descriptor, packed, len(packed)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{function} of Call ID {call_id} was refused: {os.strerror(number)}")


def open_socket() -> int:
    """A PPPoX socket for PPTP that is connected to nothing. Raises OSError, with the remedy in its text."""
    try:
        return socket.socket(AF_PPPOX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, PX_PROTO_PPTP).detach()
    except OSError as error:
        number = error.errno or 0
        raise OSError(number, f"no PPTP socket: {REMEDIES.get(number, error.strerror)}") from error


def channel_number(descriptor: int) -> int:
    """The number of the PPP channel of a connected PPPoX socket."""
    number: int = unpack("@i", fcntl.ioctl(descriptor, _PPPIOCGCHAN, pack("@i", 0)))[0]
    return number
