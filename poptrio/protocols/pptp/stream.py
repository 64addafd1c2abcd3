"""The TCP stream of a PPTP control connection, cut into messages (RFC 2637 §1.4).

A message is judged as soon as its header is there, so never more than one message of at most 220 octets waits in the
buffer beside what the caller just fed.
"""

from struct import Struct

from poptrio.errors import MalformedPacket
from poptrio.protocols.pptp.codes import CONTROL_MESSAGE, MAGIC_COOKIE, ControlType, GeneralError
from poptrio.protocols.pptp.layout import HEADER_FORMAT, HEADER_SIZE
from poptrio.protocols.pptp.messages import LAYOUTS, MESSAGES, ControlMessage
from poptrio.protocols.wire import Reader

_END_OF_MAGIC_COOKIE = 8
_MAGIC_COOKIE = Struct(">4xI")
_HEADER = Struct(HEADER_FORMAT)


class BadMessage(MalformedPacket):
    """A message that cannot be accepted; the stream may still be in step. ``error`` is what RFC 2637 §2.16 calls it."""

    def __init__(self, text: str, error: GeneralError) -> None:
        super().__init__(text)
        self.error = error


class LostSynchronization(MalformedPacket):
    """The Magic Cookie is wrong: what follows cannot be trusted, and nothing is answered (RFC 2637 §1.4)."""


class MessageStream:
    """Feed octets as they come, take whole messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> None:
        """More octets from TCP, cut anywhere."""
        self._buffer += data

    @property
    def pending(self) -> int:
        """Octets that wait for the rest of their message."""
        return len(self._buffer)

    def next_message(self) -> ControlMessage | None:
        """The next whole message, None when more octets are needed; raises BadMessage or LostSynchronization."""
        if len(self._buffer) < _END_OF_MAGIC_COOKIE:
            return None
        _check_magic_cookie(bytes(self._buffer[:_END_OF_MAGIC_COOKIE]))
        if len(self._buffer) < HEADER_SIZE:
            return None
        control_type = _judge_header(bytes(self._buffer[:HEADER_SIZE]))
        length = LAYOUTS[control_type].length
        if len(self._buffer) < length:
            return None
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return MESSAGES[control_type](**LAYOUTS[control_type].unpack(data))


def _check_magic_cookie(start: bytes) -> None:
    (cookie,) = Reader(start, "control message header").unpack(_MAGIC_COOKIE)
    if cookie != MAGIC_COOKIE:
        raise LostSynchronization(f"Magic Cookie is 0x{cookie:08x}, not 0x{MAGIC_COOKIE:08x}: this is not PPTP")


def _judge_header(header: bytes) -> ControlType:
    """The type of the message whose header this is, with the right Magic Cookie."""
    length, message_type, _, number, _ = Reader(header, "control message header").unpack(_HEADER)
    if message_type != CONTROL_MESSAGE:
        raise BadMessage(f"PPTP Message Type {message_type} is not defined", GeneralError.BAD_VALUE)
    try:
        control_type = ControlType(number)
    except ValueError:
        raise BadMessage(f"Control Message Type {number} is not defined", GeneralError.BAD_VALUE) from None
    layout = LAYOUTS[control_type]
    if length != layout.length:
        raise BadMessage(f"{layout.name} claims {length} octets, not {layout.length}", GeneralError.BAD_FORMAT)
    return control_type
