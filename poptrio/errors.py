"""The errors of poptrio, and `CauseOfEnd`: why a call ended, as a value with everything that is told to anybody.

Blame is in the type. `RemoteProtocolError`: the peer broke the protocol. `LocalProtocolError`: our own code asked a
core for something that its state does not allow. Operating-system and Trio errors are not wrapped.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum


class ProtocolError(Exception):
    """Base of the two kinds of protocol error; never raised itself."""


class LocalProtocolError(ProtocolError):
    """Our side asked for something that is not legal in this state: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that is not legal in this state."""


class MalformedPacket(RemoteProtocolError):
    """The peer sent something that cannot be decoded; the text says what was wrong and where."""


class NoAddress(Exception):
    """This call gets no inner address; ``reason`` is the sentence for the log, the client is told nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One fault in a configuration: ``place`` is a file with a line or a key path, ``message`` what and the remedy."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; ``faults`` lists everything that is wrong with it."""

    def __init__(self, *faults: ConfigFault) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class DisconnectResult(IntEnum):
    """Result Code of a Call-Disconnect-Notify (RFC 2637 §2.13)."""

    LOST_CARRIER = 1
    GENERAL_ERROR = 2
    ADMIN_SHUTDOWN = 3
    REQUEST = 4


class AcctTerminateCause(IntEnum):
    """Acct-Terminate-Cause (RFC 2866 §5.10)."""

    USER_REQUEST = 1
    LOST_CARRIER = 2
    LOST_SERVICE = 3
    IDLE_TIMEOUT = 4
    SESSION_TIMEOUT = 5
    ADMIN_RESET = 6
    ADMIN_REBOOT = 7
    PORT_ERROR = 8
    NAS_ERROR = 9
    NAS_REQUEST = 10
    PREEMPTED = 13
    SERVICE_UNAVAILABLE = 15
    USER_ERROR = 17


class CauseOfEnd(Enum):
    """Why a call ended: the one table from which wire codes, accounting, metric labels and log sentences are taken.

    Each row: metric label, PPTP result code, Acct-Terminate-Cause, error numbers that Windows shows its user
    (KB 923944; empty when it shows none), and the sentence an operator reads when nothing more precise is known.
    """

    # What people and time do.
    CLIENT_HUNG_UP = (
        "client-hung-up", DisconnectResult.REQUEST, AcctTerminateCause.USER_REQUEST, (),
        "the client hung up",
    )  # fmt: skip
    IDLE_TIMEOUT = (
        "idle-timeout", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.IDLE_TIMEOUT, (629,),
        "nothing was sent or received for the idle timeout",
    )  # fmt: skip
    SESSION_TIMEOUT = (
        "session-timeout", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.SESSION_TIMEOUT, (629,),
        "the session timeout was reached",
    )  # fmt: skip
    QUOTA_REACHED = (
        "quota-reached", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.SESSION_TIMEOUT, (629,),
        "the user's quota of octets is used up",
    )  # fmt: skip
    REPLACED = (
        "replaced", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.PREEMPTED, (629,),
        "a newer call of the same user took its place",
    )  # fmt: skip
    ADMIN_RESET = (
        "admin-reset", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.ADMIN_RESET, (629,),
        "an administrator ended the call",
    )  # fmt: skip
    SERVER_SHUTDOWN = (
        "server-shutdown", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.ADMIN_REBOOT, (629,),
        "the server was stopped",
    )  # fmt: skip
    # What networks do.
    CONTROL_CONNECTION_LOST = (
        "control-connection-lost", DisconnectResult.LOST_CARRIER, AcctTerminateCause.LOST_CARRIER, (),
        "the control connection was closed without a goodbye",
    )  # fmt: skip
    CONTROL_ECHO_TIMEOUT = (
        "control-echo-timeout", DisconnectResult.LOST_CARRIER, AcctTerminateCause.LOST_CARRIER, (807,),
        "the client stopped answering Echo-Requests on the control connection",
    )  # fmt: skip
    LCP_ECHO_TIMEOUT = (
        "lcp-echo-timeout", DisconnectResult.LOST_CARRIER, AcctTerminateCause.LOST_CARRIER, (807,),
        "the client stopped answering LCP Echo-Requests through GRE",
    )  # fmt: skip
    NO_GRE = (
        "no-gre", DisconnectResult.LOST_CARRIER, AcctTerminateCause.PORT_ERROR, (619, 721, 806),
        "the control connection works, but no GRE packet ever arrived: protocol 47 is blocked, or the firewall "
        "lacks its PPTP helper",
    )  # fmt: skip
    # What negotiation does.
    LCP_TIMEOUT = (
        "lcp-timeout", DisconnectResult.LOST_CARRIER, AcctTerminateCause.PORT_ERROR, (619, 721),
        "GRE packets arrive, but LCP did not come up in time",
    )  # fmt: skip
    LCP_LOOPBACK = (
        "lcp-loopback", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.PORT_ERROR, (736,),
        "the link is looped back: our own LCP packets come back to us",
    )  # fmt: skip
    LCP_NOT_AGREED = (
        "lcp-not-agreed", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.USER_ERROR, (734,),
        "client and server could not agree on the LCP options",
    )  # fmt: skip
    AUTHENTICATION_NOT_AGREED = (
        "authentication-not-agreed", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.USER_ERROR, (691, 734),
        "the client accepts none of the configured authentication protocols",
    )  # fmt: skip
    AUTHENTICATION_FAILED = (
        "authentication-failed", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.USER_ERROR, (691,),
        "authentication was refused",
    )  # fmt: skip
    RESTRICTED_HOURS = (
        "restricted-hours", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.USER_ERROR, (646,),
        "the account may not log in at this time of day",
    )  # fmt: skip
    ACCOUNT_DISABLED = (
        "account-disabled", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.USER_ERROR, (647,),
        "the account is disabled",
    )  # fmt: skip
    PASSWORD_EXPIRED = (
        "password-expired", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.USER_ERROR, (648,),
        "the password of the account has expired",
    )  # fmt: skip
    NO_DIAL_IN_PERMISSION = (
        "no-dial-in-permission", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.USER_ERROR, (649,),
        "the account has no permission to dial in",
    )  # fmt: skip
    TOO_MANY_SESSIONS = (
        "too-many-sessions", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.USER_ERROR, (649,),
        "the user has as many sessions as are allowed",
    )  # fmt: skip
    CHANGING_PASSWORD_FAILED = (
        "changing-password-failed", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.USER_ERROR, (709,),
        "the password could not be changed",
    )  # fmt: skip
    AUTHENTICATION_TIMEOUT = (
        "authentication-timeout", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.LOST_CARRIER, (718,),
        "the client did not authenticate itself in time",
    )  # fmt: skip
    AUTHENTICATION_UNAVAILABLE = (
        "authentication-unavailable", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.NAS_ERROR, (691, 718),
        "no authentication plugin could answer",
    )  # fmt: skip
    ENCRYPTION_NOT_AGREED = (
        "encryption-not-agreed", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.USER_ERROR, (734, 741, 742),
        "client and server could not agree on MPPE",
    )  # fmt: skip
    ENCRYPTION_LOST = (
        "encryption-lost", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.USER_ERROR, (629, 742),
        "encryption went down after it was agreed on",
    )  # fmt: skip
    TOO_MANY_CALLS = (
        "too-many-calls", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.SERVICE_UNAVAILABLE, (),
        "the server has as many calls as are allowed",
    )  # fmt: skip
    ADDRESS_UNAVAILABLE = (
        "address-unavailable", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.SERVICE_UNAVAILABLE, (720, 738),
        "no address is free for this user",
    )  # fmt: skip
    NETWORK_NOT_AGREED = (
        "network-not-agreed", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.USER_ERROR, (720, 735),
        "client and server could not agree on an IP address",
    )  # fmt: skip
    NETWORK_TIMEOUT = (
        "network-timeout", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.LOST_CARRIER, (718, 720),
        "the client stopped answering before it had an address",
    )  # fmt: skip
    # What the server's own machine does, and those that it depends on.
    ACCOUNTING_UNAVAILABLE = (
        "accounting-unavailable", DisconnectResult.ADMIN_SHUTDOWN, AcctTerminateCause.SERVICE_UNAVAILABLE, (629,),
        "the start of the call could not be accounted in time, and calls without accounting are not wanted here",
    )  # fmt: skip
    DATA_PATH_FAILED = (
        "data-path-failed", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.NAS_ERROR, (629,),
        "the server can move no more packets for this call",
    )  # fmt: skip
    WORKER_LOST = (
        "worker-lost", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.NAS_ERROR, (629,),
        "the worker process that had the call has died",
    )  # fmt: skip
    # What bugs do.
    PROTOCOL_ERROR = (
        "protocol-error", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.USER_ERROR, (629, 651),
        "the client broke the protocol",
    )  # fmt: skip
    INTERNAL_ERROR = (
        "internal-error", DisconnectResult.GENERAL_ERROR, AcctTerminateCause.NAS_ERROR, (629,),
        "an error inside poptrio; the traceback is in the log",
    )  # fmt: skip

    def __init__(
        self,
        label: str,
        disconnect_result: DisconnectResult,
        terminate_cause: AcctTerminateCause,
        windows_errors: tuple[int, ...],
        sentence: str,
    ) -> None:
        self.label = label
        self.disconnect_result = disconnect_result
        self.terminate_cause = terminate_cause
        self.windows_errors = windows_errors
        self.sentence = sentence
