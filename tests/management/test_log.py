"""Levels, traces and captures through the real socket."""

import os

import pytest
import trio
from structlog.testing import capture_logs

from poptrio.management.app import application
from poptrio.management.endpoint import Manager
from poptrio.management.rates import Rates
from poptrio.observe import pcapng
from poptrio.testing.server import CLIENT_ADDRESS


async def put(server, status=200, **body):
    return server._json(await server.client.put("/v1/log", json=body), status)


async def test_levels_are_shown_and_changed(api):
    async with api('[log.areas]\nppp = "error"') as server:
        shown = await server.get("/v1/log")
        assert (shown["level"], shown["areas"], shown["traces"]) == ("info", {"ppp": "error"}, [])
        assert "ip-pool" in shown["known_areas"]
        with capture_logs() as log:
            changed = await put(server, level="warning", areas={"ppp": None, "call": "debug"})
        assert (changed["level"], changed["areas"]) == ("warning", {"call": "debug"})
        assert f"user {os.getuid()} (process " in log[0]["by"]
        refused = await put(server, 422, areas={"radios": "debug"})
        assert "there is no area 'radios'; there are server, " in refused["error"]
        assert (await put(server, 422, level="loud"))["error"]
        assert await server.get("/v1/log") == changed


@pytest.mark.parametrize("whom", ["call", "user", "peer"])
async def test_a_trace_is_begun_and_ended(api, whom):
    async with api() as server:
        call = await server.memory.dial()
        value = {"call": call.connected.peer_call_id, "user": "alice", "peer": str(CLIENT_ADDRESS)}[whom]
        begun = await server.post("/v1/trace", **{whom: value}, seconds=60)
        (trace,) = begun["traces"]
        assert (trace["of"], trace["value"]) == (whom, str(value))
        assert 50 < trace["seconds"] <= 60
        with capture_logs() as log:
            await call.hang_up()
        assert any("[LCP TermReq " in entry.get("packet", "") for entry in log)
        assert (await server.post("/v1/trace/end", **{whom: value}))["traces"] == []
        assert "there is no trace" in (await server.post("/v1/trace/end", 404, **{whom: value}))["error"]
        assert (await server.post("/v1/trace/end"))["traces"] == []


@pytest.mark.parametrize(
    ("status", "ask"),
    [(422, {}), (422, {"user": "a", "call": 1}), (404, {"call": 0}), (422, {"user": "a", "seconds": 1e9})],
)
async def test_a_trace_of_nobody_is_refused(api, status, ask):
    async with api() as server:
        assert (await server.post("/v1/trace", status, **ask))["error"]


async def test_a_capture_is_streamed_while_it_is_made(api):
    async with api() as server:
        call = await server.memory.dial()
        reader, found = pcapng.Reader(), []
        async with server.client.stream("GET", "/v1/capture", params={"user": "ALICE"}) as response:
            assert response.status_code == 200
            assert response.headers["content-type"] == "application/x-pcapng"
            async for chunk in response.aiter_bytes():
                found += reader.feed(chunk)
                if not any(isinstance(block, pcapng.Packet) for block in found):
                    call.send_ip(b"attack at dawn")
                elif not call.over.is_set():
                    await call.hang_up()
        inner = [block for block in found if isinstance(block, pcapng.Packet) and block.interface == 2]
        assert inner[0].data.endswith(b"attack at dawn")
        assert [block.comment for block in found if isinstance(block, pcapng.Statistics)] == [
            "the capture ended: the call is over"
        ] * 3


@pytest.mark.parametrize("waits", [False, True])
async def test_a_client_that_goes_ends_the_capture(api, waits):
    async with api() as server:
        captures = server.memory.server.captures
        if not waits:
            await server.memory.dial()
        with trio.move_on_after(0.3):
            async with server.client.stream("GET", "/v1/capture", params={"user": "alice", "wait": True}) as response:
                async for _ in response.aiter_bytes():
                    assert captures.count == 1
        with trio.fail_after(5):
            while captures.count:
                await trio.lowlevel.checkpoint()


async def test_a_client_whose_connection_is_ended_before_the_answer_begins_leaves_no_capture(api):
    async with api() as server:
        captures = server.memory.server.captures
        app = application(Manager(server.memory.server, Rates()))
        query = b"user=alice&wait=true"
        scope = {"type": "http", "method": "GET", "path": "/v1/capture", "query_string": query, "headers": []}

        async def send(message):
            assert captures.count == 1
            connection.cancel()
            await trio.lowlevel.checkpoint()

        with trio.CancelScope() as connection:
            await app(scope, trio.sleep_forever, send)
        assert connection.cancelled_caught
        assert captures.count == 0


@pytest.mark.parametrize(
    ("status", "ask", "sentence"),
    [
        (422, {}, "say what to capture"),
        (422, {"user": "alice", "call": 1}, "say what to capture"),
        (422, {"call": 1, "wait": True}, "only the call of a user"),
        (422, {"user": "alice", "octets": 10}, "octets"),
        (404, {"user": "alice"}, "there is no call of alice"),
        (404, {"call": 1}, "there is no call 1"),
        (409, {"user": "alice", "seconds": 4000}, "at most 3600 s"),
    ],
)
async def test_a_capture_of_nothing_is_refused(api, status, ask, sentence):
    async with api() as server:
        assert sentence in (await server.get("/v1/capture", status, **ask))["error"]
