"""What passes between the server and its plugins besides decisions: who calls, addresses, accounting.

Everything here is a frozen value; `poptrio.api` re-exports what a plugin author needs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Address

from poptrio.decisions import Accept
from poptrio.errors import CauseOfEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInfo:
    """One call as it stands before anybody is authenticated.

    ``session_id`` is unique over all calls and restarts; ``call_id`` is ours, ``peer_call_id`` the client's
    (RFC 2637 §2.7); ``peer`` and ``server`` are the outer addresses; ``started`` is wall-clock time in UTC.
    ``connection_id`` is as unique as ``session_id``, and the same for all calls of one control connection.
    """

    session_id: str
    call_id: int
    peer_call_id: int
    peer: IPv4Address
    server: IPv4Address
    started: datetime
    host_name: str = ""
    vendor: str = ""
    firmware: int = 0
    phone_number: str = ""
    connection_id: str = ""


@dataclass(frozen=True, slots=True)
class AddressLease:
    """An inner address with its owner. ``release`` is called exactly once, synchronously, when the call ends."""

    address: IPv4Address
    owner: str
    release: Callable[[], None] = field(repr=False, compare=False)


class AccountingKind(Enum):
    """Which moment of a call an `AccountingRecord` describes (RFC 2866 §5.1)."""

    START = "start"
    INTERIM = "interim"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Traffic:
    """IP octets and packets of one call, both directions as the server sees them (``in`` came from the client)."""

    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountingRecord:
    """One accounting event of a call that had an address. ``seconds`` since it came up; ``cause`` only at STOP.

    ``accept`` is what was decided about the call, with every `SessionChange` since. ``timestamp`` is the wall-clock
    time of the event in UTC. ``authenticated_by`` is the plugin that accepted the caller, ``protocol`` and
    ``encryption`` are what was agreed on, as in the log. The call's inner packets, of at most ``mtu`` octets, go
    through the network device ``interface``, which calls may share.
    """

    kind: AccountingKind
    call: CallInfo
    accept: Accept
    address: IPv4Address
    seconds: float
    traffic: Traffic
    timestamp: datetime
    cause: CauseOfEnd | None = None
    authenticated_by: str = ""
    protocol: str = ""
    encryption: str = ""
    interface: str = ""
    mtu: int = 0
