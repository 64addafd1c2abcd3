"""PPP frames (RFC 1661 §2, compressed fields §6.5 and §6.6) and the packets of its control protocols (§5)."""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from poptrio.errors import MalformedPacket
from poptrio.protocols.wire import Reader

ADDRESS_AND_CONTROL = b"\xff\x03"

LARGEST_FRAME = 1504
"""Octets of the largest frame that is looked at: address, control, protocol, and the 1500 of the default MRU.

Nobody may send more before a larger MRU is agreed (RFC 1661 §6.1), none is ever offered, and an answer that copies
what it answers fits as well.
"""


class Protocol(IntEnum):
    """PPP protocol numbers that poptrio speaks or names in its log."""

    IP = 0x0021
    VJ_COMPRESSED = 0x002D
    VJ_UNCOMPRESSED = 0x002F
    IPV6 = 0x0057
    COMPRESSED = 0x00FD
    IPCP = 0x8021
    IPXCP = 0x802B
    NBFCP = 0x803F
    MULTILINK = 0x003D
    IPV6CP = 0x8057
    CCP = 0x80FD
    ACSP = 0x8235
    LCP = 0xC021
    PAP = 0xC023
    CBCP = 0xC029
    CHAP = 0xC223
    EAP = 0xC227
    BACP = 0xC02B


def protocol_name(number: int) -> str:
    """The name of a PPP protocol number, or the number in hexadecimal."""
    try:
        return Protocol(number).name
    except ValueError:
        return f"0x{number:04x}"


def split_frame(frame: bytes) -> tuple[int, bytes]:
    """(protocol, information) of a frame with or without address and control, protocol field of one or two octets.

    A number that is even breaks the rules of RFC 1661 §2 and counts as a protocol that we do not speak.
    """
    if frame[:2] == ADDRESS_AND_CONTROL:
        frame = frame[2:]
    if not frame:
        raise MalformedPacket("PPP frame without a protocol field")
    if frame[0] & 1:
        return frame[0], frame[1:]
    if len(frame) < 2:
        raise MalformedPacket("PPP frame with half a protocol field")
    return frame[0] << 8 | frame[1], frame[2:]


def build_frame(protocol: int, information: bytes, acfc: bool = False) -> bytes:
    """A control frame: the protocol field is never compressed here, address and control only by ``acfc``.

    LCP is always sent in full (RFC 1661 §6.6), because it must be understood in any state.
    """
    head = b"" if acfc and protocol != Protocol.LCP else ADDRESS_AND_CONTROL
    return head + protocol.to_bytes(2, "big") + information


class Code(IntEnum):
    """Codes of control packets: 1 to 7 in every control protocol, the others as noted."""

    CONFIGURE_REQUEST = 1
    CONFIGURE_ACK = 2
    CONFIGURE_NAK = 3
    CONFIGURE_REJECT = 4
    TERMINATE_REQUEST = 5
    TERMINATE_ACK = 6
    CODE_REJECT = 7
    PROTOCOL_REJECT = 8  # LCP, RFC 1661 §5.7
    ECHO_REQUEST = 9  # LCP, §5.8
    ECHO_REPLY = 10
    DISCARD_REQUEST = 11  # LCP, §5.9
    IDENTIFICATION = 12  # LCP, RFC 1570 §2.1
    TIME_REMAINING = 13  # LCP, RFC 1570 §2.2
    RESET_REQUEST = 14  # CCP, RFC 1962 §3
    RESET_ACK = 15


_HEADER = Struct(">BBH")  # Code, Identifier, Length


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a control or authentication protocol: code, identifier, data (RFC 1661 §5)."""

    code: int
    identifier: int
    data: bytes = b""

    @classmethod
    def decode(cls, information: bytes, what: str) -> "Packet":
        """Read a packet; octets past its Length field are padding and ignored. Raises `MalformedPacket`."""
        reader = Reader(information, what)
        code, identifier, length = reader.unpack(_HEADER)
        if length < 4:
            raise MalformedPacket(f"{what}: Length field of {length} octets, at least 4 needed")
        return cls(code, identifier, reader.take(length - 4))

    def encode(self) -> bytes:
        """The octets on the wire."""
        return _HEADER.pack(self.code, self.identifier, len(self.data) + 4) + self.data
