"""How the fields of a PPTP control message become octets (RFC 2637 §2), generated from the message's annotations.

A message class says ``call_id: u16`` and ``phone_number: Text64``; `Layout` reads these annotations once, builds one
``struct.Struct`` for the whole message, header included, and checks its size against the Length that the RFC's figure
gives. So no message has a pack or unpack of its own.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Annotated, Any, get_type_hints

from poptrio.errors import DisconnectResult, LocalProtocolError
from poptrio.protocols.pptp import codes
from poptrio.protocols.pptp.codes import CONTROL_MESSAGE, MAGIC_COOKIE, ControlType
from poptrio.protocols.wire import Reader

HEADER_FORMAT = ">HHIHH"
"""Length, PPTP Message Type, Magic Cookie, Control Message Type, Reserved0 (RFC 2637 §2)."""

HEADER_SIZE = struct.calcsize(HEADER_FORMAT)


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned number in network order. ``format`` is its struct code; ``names`` the values the RFC defines.

    It is packed as it is, and unpacked so where nothing is defined.
    """

    format: str
    names: type[IntEnum] | None = None

    def from_wire(self, raw: int) -> int:
        """The named value where the RFC has a name for it, the plain number otherwise."""
        assert self.names is not None
        try:
            return self.names(raw)
        except ValueError:
            return raw


@dataclass(frozen=True, slots=True)
class TextField:
    """A text of at most ``size`` octets, the rest filled with NUL."""

    size: int

    @property
    def format(self) -> str:
        """The field's struct code."""
        return f"{self.size}s"

    def to_wire(self, value: str) -> bytes:
        """UTF-8, cut between two characters where it is too long; struct fills it up with NUL."""
        return value.encode("utf-8", "replace")[: self.size].decode("utf-8", "ignore").encode("utf-8")

    def from_wire(self, raw: bytes) -> str:
        """What stands before the first NUL; UTF-8, or Latin-1 where it is not UTF-8. Never raises."""
        octets = raw.partition(b"\0")[0]
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            return octets.decode("latin-1")


u8 = Annotated[int, Number("B")]
u16 = Annotated[int, Number("H")]
u32 = Annotated[int, Number("I")]
Text64 = Annotated[str, TextField(64)]
Text128 = Annotated[str, TextField(128)]

# Fields of one octet whose values the RFC names. The type is int: a peer may send a number without a name.
StartResultCode = Annotated[int, Number("B", codes.StartResult)]
StopReasonCode = Annotated[int, Number("B", codes.StopReason)]
StopResultCode = Annotated[int, Number("B", codes.StopResult)]
EchoResultCode = Annotated[int, Number("B", codes.EchoResult)]
OutgoingCallResultCode = Annotated[int, Number("B", codes.OutgoingCallResult)]
IncomingCallResultCode = Annotated[int, Number("B", codes.IncomingCallResult)]
DisconnectResultCode = Annotated[int, Number("B", DisconnectResult)]
ErrorCode = Annotated[int, Number("B", codes.GeneralError)]


class Layout:
    """The wire layout of one message class; raises TypeError where its fields do not add up to ``length`` octets."""

    __slots__ = ("_header", "_named", "_names", "_struct", "_texts", "name")

    def __init__(self, message_class: type, control_type: ControlType, length: int) -> None:
        hints = get_type_hints(message_class, include_extras=True)
        kinds: dict[str, Number | TextField] = {
            field.name: hints[field.name].__metadata__[0] for field in fields(message_class)
        }
        self._names = tuple(kinds)
        self._texts = {name: kind for name, kind in kinds.items() if isinstance(kind, TextField)}
        self._named = {name: kind for name, kind in kinds.items() if isinstance(kind, Number) and kind.names}
        self._struct = struct.Struct(HEADER_FORMAT + "".join(kind.format for kind in kinds.values()))
        if self._struct.size != length:
            raise TypeError(f"{message_class.__name__} has {self._struct.size} octets, RFC 2637 says {length}")
        self._header = (length, CONTROL_MESSAGE, MAGIC_COOKIE, control_type, 0)
        self.name = control_type.rfc_name

    @property
    def length(self) -> int:
        """Octets of the whole message, header included."""
        return self._struct.size

    def pack(self, message: object) -> bytes:
        """The message's octets. Raises LocalProtocolError when a number does not fit its field."""
        values = {name: getattr(message, name) for name in self._names}
        for name, text in self._texts.items():
            values[name] = text.to_wire(values[name])
        try:
            return self._struct.pack(*self._header, *values.values())
        except struct.error as error:
            raise LocalProtocolError(f"{message}: {error}") from error

    def unpack(self, data: bytes) -> Mapping[str, int | str]:
        """The fields by name. Raises MalformedPacket unless ``data`` has exactly the message's length."""
        reader = Reader(data, self.name)
        raw = reader.unpack(self._struct)[len(self._header) :]
        reader.end()
        values: dict[str, Any] = dict(zip(self._names, raw, strict=True))
        for name, text in self._texts.items():
            values[name] = text.from_wire(values[name])
        for name, number in self._named.items():
            values[name] = number.from_wire(values[name])
        return values
