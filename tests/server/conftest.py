"""A plugin that does what a test says and remembers what it was asked, and the log of the test."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
import trio
from structlog.testing import capture_logs

from poptrio.api import AddressLease, hookimpl, verify

USERS = {"alice": "correct horse", "bob": "battery staple"}


async def at_once():
    """What a hook does before it answers, unless a test says otherwise."""


class Backend:
    """Authenticates `USERS`, leases addresses, accounts. ``accept`` changes every Accept."""

    def __init__(self):
        self.before_authenticate = self.before_allocate = self.before_account = at_once
        self.accept = {}
        self.asked = []
        self.leased = []
        self.released = []
        self.records = []

    @hookimpl
    async def poptrio_authenticate(self, call, request):
        self.asked.append((trio.current_time(), request.username))
        await self.before_authenticate()
        password = USERS.get(request.username)
        if password is None:
            return None
        answer = verify(request, password)
        return replace(answer, **self.accept) if hasattr(answer, "user") else answer

    @hookimpl
    async def poptrio_allocate_address(self, call, user):
        await self.before_allocate()
        address = IPv4Address("10.90.0.2") + len(self.leased)
        self.leased.append(address)
        return AddressLease(address, user.user, lambda: self.released.append(address))

    @hookimpl
    async def poptrio_account(self, record):
        self.records.append((trio.current_time(), record))
        await self.before_account()

    def kinds(self):
        """What was accounted, in order."""
        return [record.kind.value for _, record in self.records]


@pytest.fixture
def backend():
    return Backend()


class Log:
    """The entries as they come in, with what tests ask of them."""

    def __init__(self, entries):
        self.entries = entries

    def named(self, event):
        return [entry for entry in self.entries if entry["event"] == event]

    def ends(self):
        """The last lines of calls."""
        return self.named("call ended")


@pytest.fixture
def log():
    with capture_logs() as entries:
        yield Log(entries)
