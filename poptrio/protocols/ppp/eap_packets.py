"""The Extensible Authentication Protocol on the wire (RFC 2284 §2.2, §3): codes, types, and what a packet must be."""

from collections.abc import Container
from enum import IntEnum

from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.frames import Packet
from poptrio.protocols.wire import Reader


class EapCode(IntEnum):
    """Codes of RFC 2284 §2.2."""

    REQUEST = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4


class EapType(IntEnum):
    """Types of RFC 2284 §3 that poptrio has something to say about, and EAP-MSCHAPv2 (draft-kamath-pppext)."""

    IDENTITY = 1
    NOTIFICATION = 2
    NAK = 3
    MD5 = 4
    MSCHAP_V2 = 26


TYPED = (EapCode.REQUEST, EapCode.RESPONSE)
"""The codes that come with a Type."""


def typed(code: EapCode, identifier: int, kind: int, data: bytes = b"") -> Packet:
    """A Request or Response with its Type and Type-Data."""
    return Packet(code, identifier, bytes((kind,)) + data)


def type_and_data(packet: Packet) -> tuple[int, bytes]:
    """Type and Type-Data of a Request or Response. Raises `MalformedPacket`."""
    reader = Reader(packet.data, "EAP packet")
    return reader.u8(), reader.rest()


def fault_of(octets: bytes, codes: Container[int], largest: int) -> str:
    """What is wrong with an EAP packet that a plugin gave us to send; empty if nothing is.

    It must have one of ``codes``, its Length must be its length, and that ``largest`` octets at most.
    """
    try:
        packet = Packet.decode(octets, "the EAP packet")
        if packet.code in TYPED:
            type_and_data(packet)
    except MalformedPacket as error:
        return str(error)
    if len(packet.data) + 4 != len(octets):
        return f"the EAP packet has {len(octets)} octets and a Length field of {len(packet.data) + 4}"
    if packet.code not in codes:
        return f"the EAP packet has the code {packet.code}"
    if len(octets) > largest:
        return f"the EAP packet has {len(octets)} octets, and the client takes {largest}"
    return ""
