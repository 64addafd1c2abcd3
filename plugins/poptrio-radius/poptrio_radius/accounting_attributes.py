"""What an Accounting-Request says (RFC 2866 §5, RFC 2867, RFC 2869 §5): records of calls as attributes and as requests.

Counters are from the server's point of view, as everywhere in poptrio: Acct-Input is what came from the client.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network

from poptrio.api import AccountingKind, AccountingRecord, Traffic
from poptrio_radius.attributes import Attributes
from poptrio_radius.dictionary import NO_AUTHENTICATOR, unpack
from poptrio_radius.packets import HEADER, LONGEST_PACKET, Code, Request
from poptrio_radius.spool_file import OpenSession, Record

NAS_REBOOT = 11
"""Acct-Terminate-Cause of sessions that ended because we did (RFC 2866 §5.10)."""

NAS_ERROR = 9

_STATUS = {AccountingKind.START: "Start", AccountingKind.INTERIM: "Interim-Update", AccountingKind.STOP: "Stop"}

_MOST_OCTETS = LONGEST_PACKET - HEADER.size - 64
"""What attributes may have together, with room for Acct-Delay-Time and for all that counts and ends a session."""


def session_part(record: AccountingRecord, identity: Attributes, plugin: str) -> Attributes:
    """What all records of a session say: ``identity`` is what RADIUS knows the call by, ``plugin`` is our name."""
    attributes = identity.copy()
    attributes.replace("User-Name", record.accept.user)
    attributes.add("Framed-IP-Address", record.address)
    attributes.add("Acct-Authentic", "RADIUS" if record.authenticated_by == plugin else "Local")
    attributes.replace("Acct-Tunnel-Connection", record.call.connection_id or record.call.session_id)
    if record.encryption:
        attributes.replace("Connect-Info", record.encryption)
    # An Access-Accept may have more of these than fit beside all the rest.
    room = _MOST_OCTETS - len(attributes.pack())
    repeated = [("Class", value) for value in record.accept.classes]
    repeated += [("Framed-Route", _route(network)) for network in record.accept.framed_routes]
    for name, value in repeated:
        room -= 2 + len(value)
        if room >= 0:
            attributes.add(name, value)
    return attributes


def record_attributes(record: AccountingRecord, session: Attributes) -> Attributes:
    """All attributes of ``record`` but its Acct-Delay-Time; ``session`` is its `session_part`."""
    attributes = Attributes()
    attributes.add("Acct-Status-Type", _STATUS[record.kind])
    attributes.extend(session)
    attributes.add("Event-Timestamp", int(record.timestamp.timestamp()))
    if record.kind is not AccountingKind.START:
        _add_counters(attributes, record.seconds, record.traffic)
    if record.kind is AccountingKind.STOP:
        attributes.add("Acct-Terminate-Cause", NAS_ERROR if record.cause is None else record.cause.terminate_cause)
    return attributes


def stop_after_crash(session: OpenSession) -> bytes:
    """The attributes of the Stop of a session that was cut off when it was last heard of."""
    attributes = Attributes()
    attributes.add("Acct-Status-Type", "Stop")
    attributes.extend(decode(session.attributes))
    attributes.add("Event-Timestamp", int(session.time))
    _add_counters(attributes, session.seconds, session.traffic)
    attributes.add("Acct-Terminate-Cause", NAS_REBOOT)
    return attributes.pack()


def decode(packed: bytes) -> Attributes:
    """Attributes as they were packed."""
    return Attributes(
        unpack(HEADER.pack(Code.ACCOUNTING_REQUEST, 0, HEADER.size + len(packed), NO_AUTHENTICATOR) + packed)
    )


@dataclass(frozen=True, slots=True)
class AccountingRequest(Request):
    """An Accounting-Request about something that happened at ``event_time``, in Unix seconds.

    Acct-Delay-Time says how long ago that is when the request is encoded, which is once for each server that it is
    sent to. What is sent again to the same server is the same packet, so that the server can tell (RFC 5080 §2.2.2).
    """

    event_time: float
    clock: Callable[[], float] = time.time

    def encode(self, identifier: int, secret: bytes, authenticator: bytes | None = None) -> bytes:
        """The octets to send."""
        attributes = self.attributes.copy()
        delay = max(0, int(self.clock() - self.event_time))
        attributes.replace("Acct-Delay-Time", min(delay, 0xFFFFFFFF))
        return Request(self.code, attributes).encode(identifier, secret, authenticator)


def request_of(record: Record, clock: Callable[[], float] = time.time) -> AccountingRequest:
    """The request for a record of the spool."""
    return AccountingRequest(Code.ACCOUNTING_REQUEST, decode(record.attributes), record.time, clock)


def server_request(
    status: str, nas: Attributes, session_id: str, event_time: float, clock: Callable[[], float] = time.time
) -> AccountingRequest:
    """Accounting-On or -Off: ``nas`` is what RADIUS knows this server by, ``session_id`` one for this run of it."""
    attributes = Attributes()
    attributes.add("Acct-Status-Type", status)
    attributes.extend(nas)
    attributes.add("Acct-Session-Id", session_id)
    attributes.add("Event-Timestamp", int(event_time))
    return AccountingRequest(Code.ACCOUNTING_REQUEST, attributes, event_time, clock)


def _add_counters(attributes: Attributes, seconds: float, traffic: Traffic) -> None:
    attributes.add("Acct-Session-Time", min(int(seconds), 0xFFFFFFFF))
    for direction, octets, packets in (
        ("Input", traffic.bytes_in, traffic.packets_in),
        ("Output", traffic.bytes_out, traffic.packets_out),
    ):
        attributes.add(f"Acct-{direction}-Octets", octets & 0xFFFFFFFF)
        attributes.add(f"Acct-{direction}-Gigawords", octets >> 32)
        attributes.add(f"Acct-{direction}-Packets", packets & 0xFFFFFFFF)


def _route(network: IPv4Network) -> bytes:
    """As RFC 2865 §5.22 writes them: the gateway 0.0.0.0 is the client."""
    return f"{network} 0.0.0.0 1".encode()
