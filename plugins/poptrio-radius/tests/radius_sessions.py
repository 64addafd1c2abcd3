"""Sessions as plugins see them, without a server."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

from poptrio.api import Accept, CallInfo, CauseOfEnd, Traffic

BEGUN = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def call_info(session_id="s1", call_id=1, peer="192.0.2.1", server="198.51.100.1", connection_id="c1"):
    return CallInfo(
        session_id=session_id,
        call_id=call_id,
        peer_call_id=call_id + 1000,
        peer=IPv4Address(peer),
        server=IPv4Address(server),
        started=BEGUN,
        connection_id=connection_id,
    )


class FakeSession:
    """Remembers what was done to it; refuses every change when ``stubborn``."""

    def __init__(self, user="anna", address="10.90.0.2", stubborn=False, aliases=(), **call):
        self.call = call_info(**call)
        self.accept = Accept(user=user, aliases=aliases)
        self.address = IPv4Address(address)
        self.seconds = 60.0
        self.traffic = Traffic(1, 2, 3, 4)
        self.ended = []
        self.changes = []
        self.stubborn = stubborn

    def end(self, cause=CauseOfEnd.ADMIN_RESET, reason=""):
        self.ended.append((cause, reason))

    def change(self, change):
        if self.stubborn:
            raise ValueError("this session cannot be changed")
        self.changes.append(change)
        if change.classes is not None:
            self.accept = replace(self.accept, classes=change.classes)


class FakeSessions:
    def __init__(self, *sessions):
        self.sessions = list(sessions)

    def __iter__(self):
        return iter(self.sessions)

    def find(self, session_id):
        return next((s for s in self.sessions if s.call.session_id == session_id), None)

    def of_user(self, name):
        folded = name.casefold()
        return [s for s in self.sessions if folded in {n.casefold() for n in (s.accept.user, *s.accept.aliases)}]
