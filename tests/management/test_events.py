"""Endpoints about what happens, through the real socket."""

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import trio

from poptrio.observe.journal import CallEvent, Happening
from poptrio.testing.server import CLIENT_ADDRESS


class Events:
    """Server-sent events, read from a connection of their own."""

    def __init__(self, stream):
        self._stream = stream
        self._lines = []
        self._rest = b""

    async def next(self):
        """Kind and data of the next one; the sizes of the chunks between the lines are no events."""
        kind = ""
        while True:
            while not self._lines:
                *self._lines, self._rest = (self._rest + await self._stream.receive_some()).split(b"\n")
            name, _, value = self._lines.pop(0).decode().partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                return kind, json.loads(value)


@asynccontextmanager
async def events_of(server, query=""):
    async with await trio.open_unix_socket(str(server.socket)) as stream:
        await stream.send_all(f"GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = b""
        while b"events follow" not in head:
            head += await stream.receive_some()
        yield Events(stream)


async def test_a_call_is_followed_from_its_beginning_to_its_end(api):
    async with api() as server, events_of(server) as events:
        with trio.fail_after(10):
            await server.memory.dial()
            assert [(await events.next())[0] for _ in range(2)] == ["call-starting", "call-up"]
            await server.post("/v1/kick", user="alice")
            kind, event = await events.next()
        assert kind == event["event"] == "call-down"
        assert (event["user"], event["cause"]) == ("alice", "admin-reset")


async def test_events_of_one_user_only(api):
    async with api() as server, events_of(server, "?user=ALICE") as events:
        with trio.fail_after(10):
            await server.memory.dial("bob", "wrong")
            await server.memory.dial()
            kind, event = await events.next()
        assert (kind, event["user"]) == ("call-up", "alice")


async def test_a_failed_call_is_listed_with_its_reason_and_what_to_do(api):
    async with api() as server:
        call = await server.memory.dial("alice", "wrong")
        with trio.fail_after(10):
            await call.over.wait()
            await server.post("/v1/kick", all=True)
        (failure,) = (await server.get("/v1/failures"))["failures"]
        assert (failure["event"], failure["cause"]) == ("call-failed", "authentication-failed")
        assert failure["seen_as"] == "alice"
        assert failure["peer"] == str(CLIENT_ADDRESS)
        assert "password" in failure["remedy"]
        assert failure["windows_errors"] == [691]
        assert (await server.get("/v1/failures", cause="no-gre"))["failures"] == []
        assert (await server.get("/v1/failures", user="bob"))["failures"] == []
        assert (await server.get("/v1/failures", user=""))["failures"] == []
        assert len((await server.get("/v1/failures", user="Alice", peer=CLIENT_ADDRESS))["failures"]) == 1


async def test_a_refused_connection_is_listed(api):
    async with api("[server]\nmax_unauthenticated_per_address = 1") as server:
        await server.memory.connect()
        await server.memory.connect()
        (failure,) = (await server.get("/v1/failures"))["failures"]
        assert (failure["event"], failure["call"]) == ("refused", None)
        assert "max_unauthenticated_per_address" in failure["why"]
        assert len((await server.get("/v1/failures", user=""))["failures"]) == 1


@pytest.mark.parametrize(
    ("path", "query", "fault"),
    [
        ("/v1/failures", {"limit": "many"}, "limit"),
        ("/v1/failures", {"limit": "0"}, "limit"),
        ("/v1/failures", {"colour": "red"}, "colour"),
        ("/v1/sessions", {"limit": "1001"}, "limit"),
        ("/v1/sessions", {"address": "10.90.0"}, "address"),
        ("/v1/sessions", {"order": "luck"}, "order"),
        ("/v1/sessions/70000", {}, "call"),
        ("/v1/sessions/17", {"call": "18"}, "call"),
    ],
)
async def test_what_cannot_be_asked_is_said_with_its_place(api, path, query, fault):
    async with api() as server:
        refused = await server.get(path, 422, **query)
        assert fault in refused["error"]
        assert refused["remedy"]


async def test_statistics_count_by_state_and_cause(api):
    async with api() as server:
        await server.memory.dial()
        stats = await server.get("/v1/stats")
        assert (stats["calls"]["up"], stats["calls_total"], stats["up_total"]) == (1, 1, 1)
        await server.post("/v1/kick", all=True)
        while (stats := await server.get("/v1/stats"))["calls_total"]:
            pass
        assert stats["ended_total"] == {"admin-reset": 1}


async def test_shutting_down_says_how_many_calls_are_told(api):
    async with api() as server:
        call = await server.memory.dial()
        assert await server.post("/v1/shutdown") == {"calls": 1}
        with trio.fail_after(10):
            await call.over.wait()


async def test_listeners_leave_connections_for_others(api, monkeypatch):
    monkeypatch.setattr("poptrio.management.events.MOST_LISTENERS", 2)
    async with api() as server:
        async with events_of(server), events_of(server):
            assert (await server.get("/v1/events", 503))["remedy"] == "wait for one of them to go"
        with trio.fail_after(2):
            while server.memory.authority.journal.heard:
                await trio.lowlevel.checkpoint()
        async with events_of(server):
            assert server.memory.authority.journal.listener_count == 1


async def test_a_name_that_is_no_utf_8_ends_no_stream(api):
    event = CallEvent(happening=Happening.FAILED, time=datetime.now(UTC), peer=CLIENT_ADDRESS, user="zo\udceb")
    async with api() as server, events_of(server) as events:
        server.memory.authority.journal.happened(event)
        with trio.fail_after(5):
            assert (await events.next())[1]["user"] == "zo\\udceb"
        assert (await server.get("/v1/failures"))["failures"][0]["user"] == "zo\\udceb"
