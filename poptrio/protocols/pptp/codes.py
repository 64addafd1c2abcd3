"""The numbers of the PPTP control connection (RFC 2637 §1.4, §2) under the names the RFC gives them.

A peer may send a number that the RFC does not define. It then stays a plain ``int``; nothing here raises for it.
"""

from enum import IntEnum, IntFlag

MAGIC_COOKIE = 0x1A2B3C4D
"""Sent in every message; anything else means that the TCP stream is out of step (RFC 2637 §1.4)."""

CONTROL_MESSAGE = 1
"""The only PPTP Message Type that is defined (RFC 2637 §1.4)."""

PROTOCOL_VERSION = 0x0100
"""Version 1 in the high octet, revision 0 in the low one (RFC 2637 §1.4)."""


class ControlType(IntEnum):
    """Control Message Type (RFC 2637 §1.4)."""

    START_CONTROL_CONNECTION_REQUEST = 1
    START_CONTROL_CONNECTION_REPLY = 2
    STOP_CONTROL_CONNECTION_REQUEST = 3
    STOP_CONTROL_CONNECTION_REPLY = 4
    ECHO_REQUEST = 5
    ECHO_REPLY = 6
    OUTGOING_CALL_REQUEST = 7
    OUTGOING_CALL_REPLY = 8
    INCOMING_CALL_REQUEST = 9
    INCOMING_CALL_REPLY = 10
    INCOMING_CALL_CONNECTED = 11
    CALL_CLEAR_REQUEST = 12
    CALL_DISCONNECT_NOTIFY = 13
    WAN_ERROR_NOTIFY = 14
    SET_LINK_INFO = 15

    @property
    def rfc_name(self) -> str:
        """The message's name as the RFC writes it, for instance ``Outgoing-Call-Request``."""
        return self.name.replace("_", "-").title().replace("Wan-", "WAN-")


class Framing(IntFlag):
    """Framing Capabilities (RFC 2637 §2.1) and Framing Type (§2.7): the same bits."""

    ASYNCHRONOUS = 1
    SYNCHRONOUS = 2
    ANY = 3


class Bearer(IntFlag):
    """Bearer Capabilities (RFC 2637 §2.1) and Bearer Type (§2.7): the same bits."""

    ANALOG = 1
    DIGITAL = 2
    ANY = 3


class StartResult(IntEnum):
    """Result Code of a Start-Control-Connection-Reply (RFC 2637 §2.2)."""

    SUCCESSFUL = 1
    GENERAL_ERROR = 2
    COMMAND_CHANNEL_EXISTS = 3
    NOT_AUTHORIZED = 4
    VERSION_NOT_SUPPORTED = 5


class StopReason(IntEnum):
    """Reason of a Stop-Control-Connection-Request (RFC 2637 §2.3)."""

    NONE = 1
    STOP_PROTOCOL = 2
    STOP_LOCAL_SHUTDOWN = 3


class StopResult(IntEnum):
    """Result Code of a Stop-Control-Connection-Reply (RFC 2637 §2.4)."""

    OK = 1
    GENERAL_ERROR = 2


class EchoResult(IntEnum):
    """Result Code of an Echo-Reply (RFC 2637 §2.6)."""

    OK = 1
    GENERAL_ERROR = 2


class OutgoingCallResult(IntEnum):
    """Result Code of an Outgoing-Call-Reply (RFC 2637 §2.8)."""

    CONNECTED = 1
    GENERAL_ERROR = 2
    NO_CARRIER = 3
    BUSY = 4
    NO_DIAL_TONE = 5
    TIME_OUT = 6
    DO_NOT_ACCEPT = 7


class IncomingCallResult(IntEnum):
    """Result Code of an Incoming-Call-Reply (RFC 2637 §2.10)."""

    CONNECT = 1
    GENERAL_ERROR = 2
    DO_NOT_ACCEPT = 3


class GeneralError(IntEnum):
    """General Error Code, meaningful beside a Result Code of General Error (RFC 2637 §2.16)."""

    NONE = 0
    NOT_CONNECTED = 1
    BAD_FORMAT = 2
    BAD_VALUE = 3
    NO_RESOURCE = 4
    BAD_CALL_ID = 5
    PAC_ERROR = 6


def spelled(code: int) -> str:
    """A code as one word for logs, ``do-not-accept``; a number that the RFC does not define stays a number."""
    return code.name.lower().replace("_", "-") if isinstance(code, IntEnum) else str(int(code))


def explained(result: int, error: int) -> str:
    """A Result Code with its Error Code for a sentence: ``busy (4)``, ``general-error (2), no-resource (4)``."""
    codes = (result,) if error == GeneralError.NONE else (result, error)
    return ", ".join(f"{spelled(code)} ({code:d})" if isinstance(code, IntEnum) else str(code) for code in codes)
