"""``poptrio top``, driven by textual's pilot: with a server on its real socket, and with answers that are made up."""

import asyncio
from functools import partial

import pytest
import trio
from textual.widgets import DataTable, Input, Static
from typer.testing import CliRunner

from poptrio.cli import app
from poptrio.cli.top_kick import Question
from poptrio.cli.top_view import Top
from poptrio.management.client import AsyncClient, CannotAsk
from poptrio.observe.log import configure
from poptrio.testing.server import CLIENT_ADDRESS

NEVER = 3600.0
"""Seconds between two looks, for tests in which only keys make it look."""


def session(number, **more):
    return {
        "call": number,
        "session_id": f"s{number}",
        "user": f"user{number}",
        "seen_as": f"user{number}",
        "peer": "203.0.113.9",
        "address": "10.99.0.7",
        "state": "up",
        "seconds": 61.0,
        "bytes_in": 1000,
        "bytes_out": 2_000_000,
        "rate_in": 10.0 * number,
        "rate_out": 0.0,
    } | more


FAILURE = {
    "time": "2026-01-02T03:04:05Z",
    "session_id": "f1",
    "peer": "198.51.100.7",
    "user": "",
    "seen_as": "bob",
    "cause": "no-gre",
    "windows_errors": [619, 721, 806],
    "why": "no GRE packet ever arrived",
    "remedy": "let IP protocol 47 through",
}


class Answers:
    """A client whose server answers what the test wants; ``gone`` is what it says when it cannot be asked."""

    def __init__(self, *sessions):
        self.sessions = list(sessions)
        self.asked = []
        self.posted = []
        self.gone = ""
        self.ended = 1

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def get(self, path, **query):
        self.asked.append((path, query))
        if self.gone:
            raise CannotAsk(self.gone)
        if path == "/v1/stats":
            return {
                "calls": {"up": len(self.sessions), "ending": 0},
                "calls_total": len(self.sessions),
                "rate_in": 1500.0,
                "rate_out": 0.0,
                "seconds": 3600.0,
                "stopping": False,
            }
        if path == "/v1/failures":
            return {"failures": [FAILURE] * 60}
        assert path == "/v1/sessions"
        return {"sessions": self.sessions[: query["limit"]], "total": len(self.sessions)}

    async def post(self, path, **body):
        self.posted.append((path, body))
        return {"ended": self.ended}


def played(client, scenario, rows=100, interval=NEVER):
    """Run ``scenario`` with the screen and its pilot."""

    async def play():
        top = Top(client, interval, rows)
        async with client, top.run_test(size=(150, 40)) as pilot:
            await seen(pilot, lambda: "asking" not in text(top, "#totals") or top.query_one("#status").display)
            await scenario(top, pilot)

    asyncio.run(play())


async def seen(pilot, true):
    async with asyncio.timeout(20):
        while not true():
            await pilot.pause(0.01)


def text(top, selector):
    return str(top.screen_stack[0].query_one(selector, Static).render())


def calls(top):
    table = top.screen_stack[0].query_one("#calls DataTable", DataTable)
    return [" ".join(str(cell) for cell in table.get_row_at(row)) for row in range(table.row_count)]


def test_calls_and_totals():
    async def scenario(top, pilot):
        assert text(top, "#totals") == "2 calls (2 up)  ·  in 1.5 kB/s  out 0  ·  up for 1h00m"
        assert calls(top)[0] == "1 user1 203.0.113.9 10.99.0.7 10 B/s 0 1m01s 1.0 kB 2.0 MB up"
        await pilot.press("q")

    played(Answers(session(1), session(2)), scenario)


def test_only_the_first_of_many_are_asked_for():
    client = Answers(*map(session, range(1, 10_001)))

    async def scenario(top, pilot):
        assert len(calls(top)) == 50
        assert text(top, "#totals").endswith("50 of 10,000 shown")

    played(client, scenario, rows=50)
    assert client.asked[1] == (
        "/v1/sessions", {"order": "rate_in", "descending": True, "limit": 50, "search": None}
    )  # fmt: skip


def test_orders_by_key_and_by_click():
    client = Answers(session(1))

    async def scenario(top, pilot):
        for action, order, descending in (
            ("s", "rate_out", True),
            ("r", "rate_out", False),
            ("click", "user", False),
            ("click", "user", True),
        ):
            before = len(client.asked)
            if action == "click":
                await pilot.click("#calls DataTable", offset=(12, 0))
            else:
                await pilot.press(action)
            await seen(pilot, lambda before=before: len(client.asked) >= before + 2)
            query = client.asked[-1][1]
            assert (query["order"], query["descending"]) == (order, descending)

    played(client, scenario)


def test_the_cursor_stays_with_its_call():
    client = Answers(session(1), session(2), session(3))

    async def scenario(top, pilot):
        await pilot.press("down")
        client.sessions = [session(2), session(4), session(1, user="", seen_as="[red]\x1b")]
        await pilot.press("r")
        await seen(pilot, lambda: calls(top)[0].startswith("2 "))
        assert "[red]\\x1b?" in calls(top)[2]
        assert top.query_one("#calls DataTable", DataTable).cursor_row == 0
        client.sessions = []
        await pilot.press("r")
        await seen(pilot, lambda: not calls(top))
        await pilot.press("k", "enter")
        assert not isinstance(top.screen, Question)

    played(client, scenario)


def test_a_search():
    client = Answers(session(1))

    async def scenario(top, pilot):
        await pilot.press("slash", *"ali", "enter")
        await seen(pilot, lambda: client.asked[-1][1].get("search") == "ali")
        assert not isinstance(top.focused, Input)
        await pilot.press("escape")
        await seen(pilot, lambda: client.asked[-1][1].get("search", "") is None)

    played(client, scenario)


@pytest.mark.parametrize(("ended", "notice"), [(1, "is told goodbye"), (0, "had ended already")])
def test_a_call_is_ended_after_a_question(ended, notice):
    client = Answers(session(1), session(2))
    client.ended = ended

    async def scenario(top, pilot):
        await pilot.press("k", "n")
        await pilot.pause()
        assert not client.posted
        await pilot.press("down", "k")
        assert isinstance(top.screen, Question)
        await pilot.press("y")
        await seen(pilot, lambda: client.posted)
        assert client.posted == [("/v1/kick", {"session_id": "s2", "reason": "poptrio top"})]
        await seen(pilot, lambda: [note.message for note in top._notifications] == [f"call 2 {notice}"])

    played(client, scenario)


def test_failures_with_their_remedy():
    async def scenario(top, pilot):
        await pilot.press("f")
        table = top.query_one("#failures DataTable", DataTable)
        await seen(pilot, lambda: table.row_count == 60)
        assert [str(cell) for cell in table.get_row_at(0)[1:]] == [
            "198.51.100.7", "bob?", "619 721 806", "no GRE packet ever arrived"
        ]  # fmt: skip
        await pilot.press("enter")
        details = top.query_one("#pane")
        await seen(pilot, lambda: details.region.height > 5)
        assert top.screen.region.contains_region(details.region)
        assert text(top, "#details").endswith("no GRE packet ever arrived\n→ let IP protocol 47 through")
        await pilot.press("escape", "c")
        assert not top.query_one("#pane").display

    played(Answers(), scenario)


def test_a_server_that_goes_away_and_comes_back():
    client = Answers(session(1))

    async def scenario(top, pilot):
        client.gone = "/run/poptrio.sock: nobody listens\x1b"
        await seen(pilot, lambda: top.query_one("#status").display)
        assert text(top, "#status") == "/run/poptrio.sock: nobody listens\\x1b; trying again"
        assert len(calls(top)) == 1
        client.gone = ""
        client.sessions.append(session(2))
        await seen(pilot, lambda: not top.query_one("#status").display)
        assert len(calls(top)) == 2

    played(client, scenario, interval=0.1)


def test_it_goes_on_under_a_question():
    client = Answers(session(1))

    async def scenario(top, pilot):
        await pilot.press("k")
        assert isinstance(top.screen, Question)
        client.sessions = [session(2)]
        await seen(pilot, lambda: calls(top)[0].startswith("2 "))
        await pilot.press("y")
        await seen(pilot, lambda: client.posted)
        assert client.posted[0][1]["session_id"] == "s1"

    played(client, scenario, interval=0.1)


def test_keys_are_served_while_the_server_thinks():
    """The screen does not wait for an answer."""

    class Slow(Answers):
        async def get(self, path, **query):
            if self.posted:
                await asyncio.Event().wait()
            return await super().get(path, **query)

    client = Slow(session(1))

    async def scenario(top, pilot):
        await pilot.press("k", "y")
        await seen(pilot, lambda: client.posted)
        await pilot.press("r", "k")
        assert isinstance(top.screen, Question)

    played(client, scenario)


async def test_a_call_of_a_real_server_is_seen_shown_and_ended(api, restored_logging):
    configure("error", "console")
    async with api() as server:
        call = await server.memory.dial()

        async def scenario(top, pilot):
            await seen(pilot, lambda: calls(top))
            assert str(CLIENT_ADDRESS) in calls(top)[0]
            await pilot.press("enter")
            await seen(pilot, lambda: str(call.address) in text(top, "#details"))
            await pilot.press("k", "y")
            await seen(pilot, lambda: not calls(top))
            await seen(pilot, lambda: text(top, "#details").endswith("of alice has ended"))

        await trio.to_thread.run_sync(partial(played, AsyncClient(server.socket), scenario, interval=0.05))
        await call.over.wait()


async def test_it_needs_a_server_and_a_terminal(api, restored_logging):
    configure("error", "console")
    async with api() as server:
        run = partial(CliRunner().invoke, app, ["top", "--socket", str(server.socket)])
        result = await trio.to_thread.run_sync(run)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "poptrio top needs a terminal; `poptrio sessions --watch` does not\n"
    assert "there is no such socket" in run().stderr
