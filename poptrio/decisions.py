"""What an authentication plugin may answer: `Accept`, `Reject`, `Challenge`, `LocalEap`, `Unavailable`.

Everything here is a frozen value; `poptrio.api` re-exports it.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from poptrio.crypto.mppe_keys import MppeKeys

Encryption = Literal["require", "prefer", "refuse"]

EapMethod = Literal["mschap-v2", "md5"]
"""An EAP method that poptrio speaks itself, for plugins that know a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast one direction may be: ``bits_per_second`` for long, and what may be faster than that for a while.

    Either ``burst_octets`` at once (a token bucket), or ``burst_bits_per_second`` as long as the average over
    ``burst_seconds`` is below ``burst_threshold`` (bits per second), as RouterOS counts. ``guaranteed`` are bits per
    second that are there even when the line is full. None is: not said.
    """

    bits_per_second: int
    burst_octets: int | None = None
    burst_bits_per_second: int | None = None
    burst_threshold: int | None = None
    burst_seconds: float | None = None
    guaranteed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """The speed of a call, per direction; None is no limit. ``priority`` is 1 (first) to 8, as RouterOS counts."""

    from_client: Rate | None = None
    to_client: Rate | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """IP octets after which a call is ended, per direction and for both together; None is no limit."""

    from_client: int | None = None
    to_client: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """The caller is who it says; everything a backend may decide about the call. None means: as configured.

    ``user`` is the name under which the call is logged and accounted; ``aliases`` are other names of the same user, by
    which his sessions are counted as well. ``mppe_keys`` are from the server's point of view; without them the call
    cannot be encrypted. ``authenticator_response`` is the ``S=`` string of MS-CHAPv2 (RFC 2759 §5), which proves to the
    client that the server knows the password too; ``message`` is shown to the client where its protocol has room;
    ``eap`` is the EAP packet that ends an `EapRequest`'s conversation, an EAP Success if empty.

    ``framed_address`` is the one address for the call; ``framed_networks``, unless empty, where it must come from, the
    preferred first; with ``client_chooses_address`` the client gets the address that it asks for, if it is free.
    ``framed_routes`` are networks behind the client. Timeouts are seconds; where ``reauthenticate`` is set the client
    is asked to prove itself again when ``session_timeout`` is over, and goes on if it can. ``session_limit`` is how
    many sessions the user may have. ``classes`` come back with every accounting record, ``context`` with the next
    request.
    """

    user: str
    aliases: tuple[str, ...] = ()
    mppe_keys: MppeKeys | None = None
    authenticator_response: str = ""
    message: str = ""
    eap: bytes = b""
    encryption: Encryption | None = None
    encryption_bits: tuple[int, ...] | None = None
    framed_address: IPv4Address | None = None
    framed_networks: tuple[IPv4Network, ...] = ()
    client_chooses_address: bool = False
    framed_pool: str | None = None
    framed_routes: tuple[IPv4Network, ...] = ()
    framed_mtu: int | None = None
    dns: tuple[IPv4Address, ...] | None = None
    wins: tuple[IPv4Address, ...] | None = None
    session_timeout: float | None = None
    idle_timeout: float | None = None
    reauthenticate: bool = False
    interim_interval: float | None = None
    session_limit: int | None = None
    quota: Quota | None = None
    rate: RateLimit | None = None
    classes: tuple[bytes, ...] = ()
    filter_ids: tuple[str, ...] = ()
    context: object = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """The caller is refused. ``reason`` is for the log; the client sees ``code``, ``message`` and ``eap`` only.

    ``code`` is an ``E=`` number of RFC 2759 §6: 646 restricted hours, 647 disabled, 648 expired, 649 no dial-in
    permission, 691 authentication failure, 709 changing the password. With ``retry`` the client may try again in the
    same call (``R=1``): another password, or, after 648, a `MsChapV2ChangePasswordRequest`; ``challenge``, 16 octets
    (8 for MS-CHAPv1), is what it must answer then, a fresh one if empty. ``eap`` is an EAP packet that ends the
    conversation of an `EapRequest`, an EAP Failure if empty.
    """

    reason: str
    code: int = 691
    message: str = ""
    retry: bool = False
    challenge: bytes = b""
    eap: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The caller must answer something more: `PapRequest` and `EapRequest` only.

    For PAP ``message`` is shown to the client, which may send another password in the same call: the answer. For EAP
    ``eap`` is the EAP Request to send. The answer goes to the same plugin, and brings ``context`` along.
    """

    message: str = ""
    eap: bytes = b""
    context: object = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LocalEap:
    """Answer to an `EapRequest` with an identity: speak one of ``methods``, the preferred first, and ask again.

    The next question, to the same plugin, is then a `MsChapV2Request` or a `ChapMd5Request`.
    """

    methods: tuple[EapMethod, ...] = ("mschap-v2", "md5")


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The plugin cannot tell: its backend is silent or broken. ``reason`` is for the log.

    The call is refused, or the next plugin is asked, as the server is configured; ``ask_next`` decides it here.
    """

    reason: str
    ask_next: bool | None = None


Decision = Accept | Reject | Challenge | LocalEap | Unavailable
"""What `poptrio_authenticate` returns, besides None for: not mine."""
