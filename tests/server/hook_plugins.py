"""Plugins that do what a test tells them, and the host that has loaded them."""

from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import trio

from poptrio.api import (
    Accept,
    AddressLease,
    CallInfo,
    ConfigError,
    PapRequest,
    ServerInfo,
    hookimpl,
)
from poptrio.server.hooks import Hooks

CALL = CallInfo(
    session_id="s1",
    call_id=1,
    peer_call_id=2,
    peer=IPv4Address("203.0.113.9"),
    server=IPv4Address("198.51.100.1"),
    started=datetime(2025, 1, 1, tzinfo=UTC),
)
REQUEST = PapRequest(name="alice", username="alice", password="open sesame")
ALICE = Accept(user="alice")
SERVER = ServerInfo(folder=Path("/"), name="poptrio", address=IPv4Address("10.90.0.1"), pool=("10.90.0.2-3",))


class Authenticator:
    """Answers with what it was given, after ``delay`` seconds; an exception is raised."""

    def __init__(self, answer=None, delay=0.0):
        self.answer, self.delay, self.asked = answer, delay, 0

    @hookimpl
    async def poptrio_authenticate(self):
        self.asked += 1
        await trio.sleep(self.delay)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Allocator(Authenticator):
    """The same for addresses; as an authenticator it has no opinion."""

    @hookimpl
    async def poptrio_allocate_address(self, user):
        assert user is ALICE
        return await self.poptrio_authenticate()


def authentication(*plugins, timeout=10.0):
    extra = {f"p{number}": plugin for number, plugin in enumerate(plugins)}
    return Hooks.load(list(extra), extra=extra, timeout=timeout)


def addresses(*plugins, timeout=10.0):
    extra = {f"p{number}": plugin for number, plugin in enumerate(plugins)}
    return Hooks.load([], list(extra), extra=extra, timeout=timeout)


def lease(released=None):
    callback = (lambda: None) if released is None else (lambda: released.append("released"))
    return AddressLease(IPv4Address("10.90.0.2"), "alice", callback)


def faults_of(*plugins):
    with pytest.raises(ConfigError) as caught:
        authentication(*plugins)
    return [str(fault) for fault in caught.value.faults]
