"""/dev/ppp: the channel of a call, which carries its control frames, and its unit, which is a network device.

A frame is read and written without address and control, the protocol field first, in two octets.
"""

import ctypes
import errno
import fcntl
import os
from enum import IntEnum
from ipaddress import IPv4Network
from struct import Struct, pack, unpack

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.kernel.bpf import attach_by_ioctl
from poptrio.datapath.kernel.filters import ingress_filter
from poptrio.protocols.ppp.ccp import STATELESS, STRENGTHS

DEVICE = "/dev/ppp"

# linux/ppp-ioctl.h
_PPPIOCATTCHAN = 0x40047438
_PPPIOCCONNECT = 0x4004743A
_PPPIOCDISCONN = 0x00007439
_PPPIOCGUNIT = 0x80047456
_PPPIOCSMRU = 0x40047452
_PPPIOCSFLAGS = 0x40047459
_PPPIOCSNPMODE = 0x4008744B
_PPPIOCSCOMPRESS = 0x4010744D
_PPPIOCSPASS = 0x40107447
_PPPIOCGIDLE = 0x8010743F

_SC_COMP_PROT = 0x00000001
_SC_COMP_AC = 0x00000002
_SC_CCP_OPEN = 0x00000040
_SC_CCP_UP = 0x00000080
_SC_MUST_COMP = 0x00400000

_NPMODE_PASS, _NPMODE_DROP = 0, 1
_IPV4 = 0x0021
# All other network protocols that Linux' PPP would hand to the network: IPv6, IPX, AppleTalk, MPLS.
_NOT_SPOKEN = (0x0057, 0x002B, 0x0029, 0x0281, 0x0283)

_MPPE_OPTION = Struct(">BBI16s")  # kind, length, Supported Bits (RFC 3078 §2.1), and the start key behind it
_OPTION_DATA = Struct("@PIi")  # struct ppp_option_data

MRU = 1600
"""Octets that a decrypted frame may have; more than we ever agree to, because some peers ignore what is agreed."""

LONGEST_FRAME = 65535
"""Octets; a frame for which the buffer is too small would be an error, and any packet can be reassembled to this."""

READ_MOST = 32
"""The kernel keeps at most this many frames for a reader."""

_NO_DEVICE = f"load the module (modprobe ppp_generic), or give the container the device (--device {DEVICE})"
_REMEDIES = {
    errno.ENOENT: f"there is no {DEVICE}; {_NO_DEVICE}",
    errno.ENODEV: f"the kernel has no PPP; {_NO_DEVICE}",
    errno.ENXIO: f"the kernel has no PPP; {_NO_DEVICE}",
    errno.EPERM: "not allowed; run as root, or with the capability NET_ADMIN",
    errno.EACCES: f"not allowed to open {DEVICE}; run as root",
}


class Direction(IntEnum):
    """As PPPIOCSCOMPRESS numbers them."""

    RECEIVE = 0
    TRANSMIT = 1


class PppFile:
    """An open /dev/ppp. Raises OSError, with the remedy in its text, when it cannot be opened."""

    def __init__(self) -> None:
        try:
            self.descriptor = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            number = error.errno or 0
            raise OSError(number, f"{DEVICE} cannot be opened: {_REMEDIES.get(number, error.strerror)}") from error

    def read_frame(self) -> bytes | None:
        """The next frame; None when there is none, empty when the device is gone. Raises OSError otherwise."""
        try:
            return os.read(self.descriptor, LONGEST_FRAME)
        except BlockingIOError:
            return None

    def write_frame(self, frame: bytes) -> None:
        """Send a frame. Raises OSError when the kernel does not take it."""
        os.write(self.descriptor, frame)

    def close(self) -> None:
        """Close the descriptor, which can take the kernel some time."""
        os.close(self.descriptor)

    def _ioctl(self, request: int, argument: int) -> int:
        answer: int = unpack("@i", fcntl.ioctl(self.descriptor, request, pack("@i", argument)))[0]
        return answer


class PppChannel(PppFile):
    """The channel of a PPPoX socket; control frames that belong to no unit arrive here."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        try:
            self._ioctl(_PPPIOCATTCHAN, channel)
        except BaseException:
            self.close()
            raise

    def compress_fields(self, pfc: bool, acfc: bool) -> None:
        """Send compressed protocol, and address and control, fields (RFC 1661 §6.5, §6.6)."""
        self._ioctl(_PPPIOCSFLAGS, (_SC_COMP_PROT if pfc else 0) | (_SC_COMP_AC if acfc else 0))

    def connect(self, unit: int) -> None:
        """From now on network and network control frames pass ``unit``."""
        self._ioctl(_PPPIOCCONNECT, unit)

    def disconnect(self) -> None:
        """From now on all frames arrive here, and what ``unit`` sends is dropped."""
        fcntl.ioctl(self.descriptor, _PPPIOCDISCONN)


class PppUnit(PppFile):
    """The file of a unit. `prepare` must come before a channel is connected to it."""

    number = -1

    def prepare(self) -> None:
        """The device exists: find out its number, and let no network packet pass yet."""
        self.number = self._ioctl(_PPPIOCGUNIT, 0)
        self._ioctl(_PPPIOCSMRU, MRU)
        self.let_ipv4_pass(False)
        for protocol in _NOT_SPOKEN:
            try:
                self._network_mode(protocol, _NPMODE_DROP)
            except OSError as error:
                if error.errno != errno.EINVAL:  # this kernel does not know the protocol at all
                    raise

    def let_ipv4_pass(self, passing: bool) -> None:
        """Whether IPv4 packets pass, in both directions."""
        self._network_mode(_IPV4, _NPMODE_PASS if passing else _NPMODE_DROP)

    def take_only_from(self, sources: list[IPv4Network]) -> None:
        """Drop what the peer sends from elsewhere, and everything that is not IPv4."""
        attach_by_ioctl(self.descriptor, _PPPIOCSPASS, ingress_filter(sources))

    def set_ccp(self, *, opened: bool, up: bool) -> None:
        """What of CCP the kernel acts on. Not ``opened`` forgets compressor and decompressor."""
        flags = _SC_CCP_OPEN | _SC_MUST_COMP if opened else 0
        self._ioctl(_PPPIOCSFLAGS, flags | (_SC_CCP_UP if up else 0))

    def set_mppe(self, direction: Direction, parameters: MppeParameters) -> None:
        """Have MPPE with these parameters stand ready; it starts with the Configure-Ack for its direction."""
        option = _MPPE_OPTION.pack(18, 6, mppe_bits(parameters), parameters.start_key.ljust(16, b"\0"))
        octets = ctypes.create_string_buffer(option, len(option))
        request = _OPTION_DATA.pack(ctypes.addressof(octets), len(option), direction)
        fcntl.ioctl(self.descriptor, _PPPIOCSCOMPRESS, request)

    def idle_times(self) -> tuple[int, int]:
        """Whole seconds since a packet was sent, and since one was received that the ingress filter let pass."""
        sent, received = unpack("@qq", fcntl.ioctl(self.descriptor, _PPPIOCGIDLE, bytes(16)))
        return sent, received

    def _network_mode(self, protocol: int, mode: int) -> None:
        fcntl.ioctl(self.descriptor, _PPPIOCSNPMODE, pack("@ii", protocol, mode))


def mppe_bits(parameters: MppeParameters) -> int:
    """The Supported Bits that stand for ``parameters``."""
    return STRENGTHS[parameters.bits] | (STATELESS if parameters.stateless else 0)
