"""Control messages one by one."""

from poptrio.errors import MalformedPacket
from poptrio.protocols.pptp.messages import ControlMessage
from poptrio.protocols.pptp.stream import MessageStream


def decode_message(data: bytes) -> ControlMessage:
    """The one message that ``data`` is; raises MalformedPacket when it is not exactly one."""
    stream = MessageStream()
    stream.feed(data)
    message = stream.next_message()
    if message is None:
        raise MalformedPacket(f"control message: cut off after {len(data)} octets")
    if stream.pending:
        raise MalformedPacket(f"{message.layout.name}: {stream.pending} octets too many")
    return message
