"""Endpoints about calls, through the real socket."""

import pytest

from poptrio.api import hookimpl, verify
from poptrio.errors import CauseOfEnd
from poptrio.testing.server import CLIENT_ADDRESS

FACTS = {"call", "user", "peer", "address", "state", "seconds", "bytes_in", "bytes_out"}


async def test_a_call_that_is_up_is_listed_with_who_and_where(api):
    async with api() as server:
        call = await server.memory.dial()
        page = await server.get("/v1/sessions")
        (session,) = page["sessions"]
        assert page["total"] == 1
        assert session.keys() >= FACTS
        assert (session["user"], session["peer"], session["state"]) == ("alice", str(CLIENT_ADDRESS), "up")
        assert session["address"] == str(call.address)


async def test_a_call_is_shown_with_its_steps(api):
    async with api() as server:
        await server.memory.dial()
        (session,) = (await server.get("/v1/sessions"))["sessions"]
        shown = await server.get(f"/v1/sessions/{session['call']}")
        assert list(shown["steps_ms"]) == ["lcp", "authentication", "encryption", "network"]
        assert shown["session_id"] == session["session_id"]


@pytest.mark.parametrize("select", ["call", "session_id", "user", "address", "peer"])
async def test_a_call_is_kicked_by_what_is_known_of_it(api, select):
    async with api() as server:
        call = await server.memory.dial()
        (session,) = (await server.get("/v1/sessions"))["sessions"]
        assert await server.post("/v1/kick", **{select: session[select]}, reason="a test") == {
            "ended": 1,
            "calls": [session["call"]],
        }
        await call.over.wait()
        (ended,) = server.memory.server.stats.ended
        assert ended is CauseOfEnd.ADMIN_RESET


@pytest.mark.parametrize("select", [{"user": ""}, {"session_id": ""}])
async def test_an_empty_name_selects_nobody(api, select):
    """An empty variable of a script must not end all calls on which nobody is accepted yet."""
    async with api() as server:
        client = await server.memory.connect()
        await client.start()
        await server.memory.dial()
        refused = await server.post("/v1/kick", 422, **select)
        assert next(iter(select)) in refused["error"]
        assert (await server.get("/v1/stats"))["calls_total"] == 1


@pytest.mark.parametrize("descending", [False, True])
async def test_the_order_by_start_can_be_turned_round(api, descending):
    async with api() as server:
        for _ in range(3):
            await server.memory.dial()
        sessions = (await server.get("/v1/sessions", order="started", descending=descending))["sessions"]
        started = [session["started"] for session in sessions]
        assert started == sorted(started, reverse=descending)
        assert len(set(started)) == 3


async def test_kicking_nobody_says_so(api):
    async with api() as server:
        assert (await server.post("/v1/kick", user="bob"))["ended"] == 0
        refused = await server.post("/v1/kick", 422)
        assert "which calls" in refused["error"]
        assert refused["remedy"] == "give call, session_id, user, address, peer, or all"
        refused = await server.post("/v1/kick", 422, all=True, user="bob")
        assert refused == {"error": "all calls are to be ended, and some", "remedy": "leave out all, or user"}


class Everybody:
    """Accepts whoever knows the password, and a name as it is."""

    @hookimpl
    async def poptrio_authenticate(self, call, request):
        return verify(request, "secret")


@pytest.mark.parametrize(("name", "shown"), [("zo\udceb", "zo\\udceb"), ("zoë", "zoë")])
async def test_a_name_in_another_encoding_hides_nobody(api, name, shown):
    """Clients send names in octets of their own, and a plugin may well accept one that is no UTF-8."""
    async with api(plugins=[Everybody()]) as server:
        await server.memory.dial(name, "secret")
        (session,) = (await server.get("/v1/sessions"))["sessions"]
        assert session["user"] == session["seen_as"] == shown
        assert (await server.get(f"/v1/sessions/{session['call']}"))["user"] == shown
        assert (await server.get("/v1/pools/default"))["leases"][0]["user"] == shown
        assert (await server.post("/v1/kick", user=shown))["ended"] == 1
