"""Disconnect- and CoA-Requests (RFC 5176 §3): which attributes may be in one, and what they ask for.

What names a session must all match. What a request asks for is carried out whole or not at all: one attribute that is
not understood refuses it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from typing import TypeVar

from poptrio.api import Session, SessionChange
from poptrio_radius.attributes import Attributes, BadAttribute
from poptrio_radius.dictionary import number_named
from poptrio_radius.packets import Code
from poptrio_radius.quotas import quota
from poptrio_radius.rates import rate_limit

LimitT = TypeVar("LimitT")


class ErrorCause(IntEnum):
    """Error-Cause (RFC 5176 §3.5): why a request is refused, as far as we refuse any for that."""

    UNSUPPORTED_ATTRIBUTE = 401
    MISSING_ATTRIBUTE = 402
    NAS_IDENTIFICATION_MISMATCH = 403
    INVALID_REQUEST = 404
    UNSUPPORTED_SERVICE = 405
    INVALID_ATTRIBUTE_VALUE = 407
    SESSION_CONTEXT_NOT_FOUND = 503
    RESOURCES_UNAVAILABLE = 506
    MULTIPLE_SESSION_SELECTION_UNSUPPORTED = 508


class Refused(Exception):
    """The request is answered with a NAK that has ``error_cause``; the text is a sentence for the log."""

    def __init__(self, error_cause: ErrorCause, sentence: str) -> None:
        super().__init__(sentence)
        self.error_cause = error_cause


SessionValue = str | int | IPv4Address

SESSION_ATTRIBUTES: dict[str, Callable[[Session], SessionValue]] = {
    "Acct-Session-Id": lambda session: session.call.session_id,
    "Acct-Multi-Session-Id": lambda session: session.call.connection_id,
    "Calling-Station-Id": lambda session: str(session.call.peer),
    "Called-Station-Id": lambda session: str(session.call.server),
    "Framed-IP-Address": lambda session: session.address,
    "NAS-Port": lambda session: session.call.call_id,
}
"""What names a session, besides User-Name: an attribute, and what the session has for it."""

NAS_ATTRIBUTES = ("NAS-Identifier", "NAS-IP-Address", "NAS-IPv6-Address")
"""What names this server."""

CHANGES = ("Session-Timeout", "Idle-Timeout", "Acct-Interim-Interval", "Filter-Id", "Class")
"""What a CoA-Request may change, besides speed and volume."""

RATES = (
    "Mikrotik-Rate-Limit", "WISPr-Bandwidth-Max-Up", "WISPr-Bandwidth-Max-Down", "WISPr-Bandwidth-Min-Up",
    "WISPr-Bandwidth-Min-Down", "Cisco-AVPair", "Ascend-Data-Rate", "Ascend-Xmit-Rate",
)  # fmt: skip
"""What makes a speed."""

QUOTAS = (
    "Mikrotik-Recv-Limit", "Mikrotik-Recv-Limit-Gigawords", "Mikrotik-Xmit-Limit", "Mikrotik-Xmit-Limit-Gigawords",
    "Mikrotik-Total-Limit", "Mikrotik-Total-Limit-Gigawords", "Session-Octets-Limit", "Octets-Direction",
)  # fmt: skip
"""What makes a volume."""

HARMLESS = (
    "Proxy-State", "State", "Event-Timestamp", "Message-Authenticator", "Reply-Message", "Service-Type",
    "NAS-Port-Type", "Framed-Protocol",
)  # fmt: skip
"""What may be in any request and is no question of sessions."""

HARMLESS_IN_DISCONNECT = ("Acct-Terminate-Cause", "Class")
"""What a Disconnect-Request may carry to no effect (RFC 5176 §3.6)."""

REPEATABLE = ("Proxy-State", "Reply-Message", "Filter-Id", "Class", "Cisco-AVPair", "Ascend-Data-Rate")
"""What may be there more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a request asks for. Empty identifications are not asked about; ``change`` is None for a disconnection."""

    user: str | None
    session: dict[str, SessionValue]
    nas_identifier: str | None
    nas_address: IPv4Address | None
    change: SessionChange | None


def read_request(code: int, attributes: Attributes, *, min_interim_interval: float = 0.0) -> Wish:
    """What a request asks for; Acct-Interim-Interval is at least ``min_interim_interval``. Raises `Refused`."""
    disconnect = code == Code.DISCONNECT_REQUEST
    try:
        _check_names(attributes, disconnect=disconnect)
        _check_service(attributes)
        session = _session_values(attributes)
        user = attributes.text("User-Name")
        if user is None and not session:
            raise Refused(ErrorCause.MISSING_ATTRIBUTE, "nothing in it names a session")
        change = None if disconnect else _change(attributes, min_interim_interval)
        if "NAS-IPv6-Address" in attributes:
            raise Refused(ErrorCause.NAS_IDENTIFICATION_MISMATCH, "this server has no NAS-IPv6-Address")
        return Wish(
            user=user,
            session=session,
            nas_identifier=attributes.text("NAS-Identifier"),
            nas_address=attributes.address("NAS-IP-Address"),
            change=change,
        )
    except BadAttribute as error:
        raise Refused(ErrorCause.INVALID_REQUEST, str(error)) from None


def _check_names(attributes: Attributes, *, disconnect: bool) -> None:
    known = {"User-Name", *SESSION_ATTRIBUTES, *NAS_ATTRIBUTES, *HARMLESS}
    known |= {*HARMLESS_IN_DISCONNECT} if disconnect else {*CHANGES, *RATES, *QUOTAS}
    for name in attributes:
        if name not in known:
            raise Refused(ErrorCause.UNSUPPORTED_ATTRIBUTE, f"{name} is not supported")
        if len(attributes.octets(name)) > 1 and name not in REPEATABLE:
            raise Refused(ErrorCause.INVALID_REQUEST, f"{name} is there more than once")


def _check_service(attributes: Attributes) -> None:
    """Authorize-Only is for servers that ask back; RFC 5176 §3 has it refused with this by those that do not."""
    service = attributes.number("Service-Type")
    if service not in (None, number_named("Service-Type", "Framed")):
        raise Refused(ErrorCause.UNSUPPORTED_SERVICE, f"Service-Type {service} is not supported")


def _session_values(attributes: Attributes) -> dict[str, SessionValue]:
    values: dict[str, SessionValue] = {}
    for name in SESSION_ATTRIBUTES:
        if name in attributes:
            value = _session_value(attributes, name)
            assert value is not None, "it is there"
            values[name] = value
    return values


def _session_value(attributes: Attributes, name: str) -> SessionValue | None:
    match name:
        case "Framed-IP-Address":
            return attributes.address(name)
        case "NAS-Port":
            return attributes.number(name)
        case _:
            return attributes.text(name)


def _change(attributes: Attributes, min_interim_interval: float) -> SessionChange:
    interim_interval = attributes.number("Acct-Interim-Interval")
    if interim_interval:
        interim_interval = max(interim_interval, int(min_interim_interval))
    change = SessionChange(
        session_timeout=attributes.number("Session-Timeout"),
        idle_timeout=attributes.number("Idle-Timeout"),
        interim_interval=interim_interval,
        rate=_limit(rate_limit, attributes, RATES),
        quota=_limit(quota, attributes, QUOTAS),
        filter_ids=tuple(attributes.texts("Filter-Id")) or None,
        classes=tuple(attributes.octets("Class")) or None,
    )
    if change == SessionChange():
        raise Refused(ErrorCause.MISSING_ATTRIBUTE, "nothing in it is to be changed")
    return change


def _limit(
    read: Callable[[Attributes], LimitT | None], attributes: Attributes, names: tuple[str, ...]
) -> LimitT | None:
    """What ``read`` makes of the attributes ``names``; None where there is none of them."""
    there = [name for name in names if name in attributes]
    try:
        limit = read(attributes)
    except BadAttribute as error:
        raise Refused(ErrorCause.INVALID_ATTRIBUTE_VALUE, str(error)) from None
    if limit is None and there:
        raise Refused(ErrorCause.INVALID_ATTRIBUTE_VALUE, f"{' and '.join(there)} set no limit that we know")
    return limit
