"""What passes between the server and its plugins: who calls, what a plugin decided, addresses, accounting.

Everything here is a frozen value; `poptrio.api` re-exports what a plugin author needs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import (
    AuthRequest,
    ChapMd5Request,
    MsChapV1Request,
    MsChapV2Request,
    PapRequest,
)

__all__ = [
    "Accept",
    "AccountingKind",
    "AccountingRecord",
    "AddressLease",
    "AuthRequest",
    "CallInfo",
    "ChapMd5Request",
    "Encryption",
    "MsChapV1Request",
    "MsChapV2Request",
    "PapRequest",
    "Reject",
    "ServerInfo",
    "Traffic",
]

Encryption = Literal["require", "prefer", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a plugin may know of the server that starts it.

    ``folder`` is that of the configuration file, where relative files are looked up; ``name`` what the server calls
    itself to clients; ``address`` its inner address; ``pool`` the texts of ``[addresses] pool``.
    """

    folder: Path
    name: str
    address: IPv4Address
    pool: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInfo:
    """One call as it stands before anybody is authenticated.

    ``session_id`` is unique over all calls and restarts; ``call_id`` is ours, ``peer_call_id`` the client's
    (RFC 2637 §2.7); ``peer`` and ``server`` are the outer addresses; ``started`` is wall-clock time in UTC.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """The caller is who it says; everything a backend may decide about the call. None means: as configured.

    ``user`` is the name under which the call is logged and accounted. ``mppe_keys`` are from the server's point of
    view; without them the call cannot be encrypted. ``authenticator_response`` is the ``S=`` string of MS-CHAPv2
    (RFC 2759 §5), which proves to the client that the server knows the password too. ``framed_address`` is the one
    address for the call; ``framed_networks``, unless empty, where it must come from, the preferred first. Timeouts are
    seconds.
    """

    user: str
    mppe_keys: MppeKeys | None = None
    authenticator_response: str = ""
    message: str = ""
    encryption: Encryption | None = None
    encryption_bits: tuple[int, ...] | None = None
    framed_address: IPv4Address | None = None
    framed_networks: tuple[IPv4Network, ...] = ()
    framed_pool: str | None = None
    framed_routes: tuple[IPv4Network, ...] = ()
    framed_mtu: int | None = None
    dns: tuple[IPv4Address, ...] | None = None
    wins: tuple[IPv4Address, ...] | None = None
    session_timeout: float | None = None
    idle_timeout: float | None = None
    interim_interval: float | None = None
    classes: tuple[bytes, ...] = ()
    filter_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """The caller is refused. ``reason`` is for the log; the client sees ``code`` and ``message`` only.

    ``code`` is an ``E=`` number of RFC 2759 §6: 646 restricted hours, 647 disabled, 648 expired, 649 no dial-in
    permission, 691 authentication failure, 709 changing the password.
    """

    reason: str
    code: int = 691
    message: str = ""


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
    """One accounting event of a call that had an address. ``seconds`` since it came up; ``cause`` only at STOP."""

    kind: AccountingKind
    call: CallInfo
    accept: Accept
    address: IPv4Address
    seconds: float
    traffic: Traffic
    cause: CauseOfEnd | None = None
