"""A raw GRE socket for what the kernel's PPP must not see of CCP (`filters`), of all calls of a data path."""

import socket
from contextlib import suppress

from poptrio.datapath.kernel.bpf import attach_to_socket
from poptrio.datapath.kernel.filters import ccp_filter

_CCP = b"\x80\xfd"
_MAX_PACKET = 65535


class CcpSocket:
    """`read` takes one CCP packet. Raises OSError when the kernel refuses a raw socket."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
        except PermissionError as error:
            remedy = "run as root, or with the capability NET_RAW (in a container: --cap-add NET_RAW)"
            raise PermissionError(error.errno, f"a raw GRE socket is not allowed: {remedy}") from error
        self._socket.setblocking(False)
        self.descriptor = self._socket.fileno()
        attach_to_socket(self.descriptor, ccp_filter())
        self._drain()  # what came before the filter was there

    def read(self) -> tuple[int, bytes, bytes] | None:
        """The Call ID, the four octets of the sender's address, and the frame, protocol first; None without one."""
        while True:
            try:
                packet = self._socket.recv(_MAX_PACKET)
            except OSError:
                return None
            start = (packet[0] & 15) << 2
            call_id = int.from_bytes(packet[start + 6 : start + 8], "big")
            begin = start + (16 if packet[start + 1] & 0x80 else 12)
            length = int.from_bytes(packet[start + 4 : start + 6], "big")
            frame = packet[begin : begin + length]
            protocol = frame.find(_CCP, 0, 4)
            if protocol >= 0:  # else the length in the header is a lie
                return call_id, packet[12:16], frame[protocol:]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(_MAX_PACKET)
