"""The commands on the management API, against a server in memory, through its real socket."""

import json
import re
from functools import partial
from ipaddress import IPv4Address
from typing import get_args

import pytest
import trio
from rich.console import Console, Group
from typer.testing import CliRunner

from poptrio.api import PoolLease, PoolState, hookimpl
from poptrio.cli import app, managing, sessions
from poptrio.management.client import CannotAsk, Client
from poptrio.management.sessions import Order, State
from poptrio.observe.log import configure
from poptrio.testing.server import CLIENT_ADDRESS, OneUser

pytestmark = pytest.mark.usefixtures("silent")

EVIL = "e\x1b[31mvil\x9b2J [red]:bomb:"


@pytest.fixture
def silent(restored_logging):
    """The server's log does not come among what the command prints: both are in this process."""
    configure("error", "console")


async def poptrio(server, *words, **more):
    """Run a command, in a thread, while the server runs."""
    invoke = partial(CliRunner().invoke, app, [*words, "--socket", str(server.socket)], **more)
    return await trio.to_thread.run_sync(invoke)


async def said(server, *words, exit_code=0, **more):
    """What a command prints."""
    result = await poptrio(server, *words, **more)
    assert result.exit_code == exit_code, (result.stdout, result.stderr, result.exception)
    return result.stdout


async def test_sessions_as_json(api):
    async with api() as server:
        call = await server.memory.dial()
        (session,) = json.loads(await said(server, "sessions", "--json"))
        assert session.keys() >= {"call", "user", "peer", "address", "state", "seconds", "bytes_in", "bytes_out"}
        assert (session["user"], session["peer"], session["state"]) == ("alice", str(CLIENT_ADDRESS), "up")
        assert session["address"] == str(call.address)


async def test_sessions_as_a_table(api):
    async with api() as server:
        assert await said(server, "sessions") == "0 calls\n"
        call = await server.memory.dial()
        header, row, count = (await said(server, "sessions")).splitlines()
        assert header.split() == ["call", "user", "peer", "address", "state", "time", "in", "out", "in/s", "out/s"]
        assert row.split()[1:5] == ["alice", str(CLIENT_ADDRESS), str(call.address), "up"]
        assert count == "1 call"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--user", "ALICE"], 2),
        (["--user", "bob"], 0),
        (["--peer", str(CLIENT_ADDRESS)], 2),
        (["--peer", "203.0.113.10"], 0),
        (["--address", "192.0.2.77"], 0),
        (["--state", "up"], 2),
        (["--state", "ending"], 0),
        (["--search", "lic"], 2),
        (["--search", "nobody"], 0),
        (["--limit", "1"], 1),
        (["--limit", "2000"], 2),
        (["--order", "seconds", "--descending"], 2),
    ],
)
async def test_sessions_are_filtered(api, words, found):
    async with api() as server:
        await server.memory.dial()
        await server.memory.dial()
        assert len(json.loads(await said(server, "sessions", "--json", *words))) == found
        text = await said(server, "sessions", *words)
        assert text.splitlines()[-1] == ("1 of 2 calls" if found == 1 else f"{found} calls")


def test_states_and_orders_are_those_of_the_api():
    assert get_args(sessions.State) == get_args(State)
    assert get_args(sessions.Order) == get_args(Order)


async def test_more_calls_than_a_page_has(api, monkeypatch):
    async with api() as server:
        for _ in range(3):
            await server.memory.dial()
        monkeypatch.setattr("poptrio.management.client.LARGEST_PAGE", 2)
        monkeypatch.setattr("poptrio.cli.sessions.LARGEST_PAGE", 2)
        assert len(json.loads(await said(server, "sessions", "--json"))) == 3
        for order in get_args(Order):
            listed = json.loads(await said(server, "sessions", "--json", "--order", order, "--descending"))
            in_order = (await server.get("/v1/sessions", order=order, descending=True))["sessions"]
            assert {call["call"] for call in listed} == {call["call"] for call in in_order}
            if not order.startswith("rate"):  # which are others for each question
                assert [call["call"] for call in listed] == [call["call"] for call in in_order]
        assert (await said(server, "sessions", "--limit", "1")).endswith("1 of 3 calls\n")


async def test_an_upgrade_of_which_no_more_is_heard_need_not_have_been_one(api, monkeypatch):
    def order(self, path):
        yield "step", {"step": "the new program starts"}
        raise CannotAsk("the server has closed the connection")

    monkeypatch.setattr(Client, "order", order)
    async with api() as server:
        result = await poptrio(server, "upgrade")
    assert result.exit_code == 1
    assert result.stdout == "the new program starts\n"
    assert result.stderr == "not upgraded, the server goes on as it was; its log says why\n"


class Changing(Client):
    """A server whose calls are ``there``; of those, ``going`` have gone before the next page, and ``coming`` come."""

    def __init__(self, there, going, coming=()):
        self.there, self.going, self.coming, self.asked = list(there), list(going), list(coming), 0

    def get(self, path, *, offset, limit):
        self.asked += 1
        page = [{"session_id": one} for one in self.there[offset : offset + limit]]
        answer = {"total": len(self.there), "sessions": page}
        gone = self.going.pop(0) if self.going else ()
        self.there = [one for one in self.there if one not in gone]
        self.there += [self.coming.pop(0)] if self.coming else []
        return answer

    def listed(self):
        return [one["session_id"] for one in self.pages("/v1/sessions", "sessions", "session_id")]


@pytest.mark.parametrize(
    "gone", [[], [[0]], [[0, 1, 2]], [range(9)], [[0], [1, 2, 3, 4]], [range(10, 30)], [range(1, 30)], [range(30)]]
)
def test_what_goes_while_pages_are_asked_for_hides_nothing_else(monkeypatch, gone):
    monkeypatch.setattr("poptrio.management.client.LARGEST_PAGE", 10)
    client = Changing(range(30), gone, coming=["late"])
    listed = client.listed()
    assert len(set(listed)) == len(listed)
    always = set(range(30)).difference(*gone)
    assert always | {"late"} <= set(listed) <= set(range(30)) | {"late"}
    assert client.asked <= 10


async def test_a_call_is_shown(api):
    async with api() as server:
        call = await server.memory.dial()
        (session,) = json.loads(await said(server, "sessions", "--json"))
        number = str(session["call"])
        assert json.loads(await said(server, "show", number, "--json")).keys() > session.keys()
        text = await said(server, "show", number)
        assert re.search(rf"^address +{re.escape(str(call.address))} *$", text, re.M)
        assert re.search(r"^steps +lcp \d+ ms, authentication \d+ ms, encryption \d+ ms, network \d+ ms *$", text, re.M)


async def test_a_call_that_is_not(api):
    async with api() as server:
        result = await poptrio(server, "show", "7")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "there is no call 7: `poptrio sessions` lists those that there are\n"


@pytest.mark.parametrize("by", ["user", "call", "address", "peer"])
async def test_a_call_is_kicked(api, by):
    async with api() as server:
        call = await server.memory.dial()
        (session,) = json.loads(await said(server, "sessions", "--json"))
        text = await said(server, "kick", f"--{by}", str(session[by]), "--reason", "a test")
        assert text == f"ended 1 call: {session['call']}\n"
        await call.over.wait()


async def test_kicking_everybody_asks_first(api):
    async with api() as server:
        calls = [await server.memory.dial(), await server.memory.dial()]
        result = await poptrio(server, "kick", "--all", input="n\n")
        assert result.exit_code == 1
        assert "End all 2 calls? [y/N]" in result.stderr
        assert len(json.loads(await said(server, "sessions", "--json", "--state", "up"))) == 2
        assert "ended 2 calls: " in await said(server, "kick", "--all", input="y\n")
        for call in calls:
            await call.over.wait()


async def test_kicking_everybody_without_a_question(api):
    async with api() as server:
        call = await server.memory.dial()
        answer = json.loads(await said(server, "kick", "--all", "--yes", "--json"))
        assert (answer["ended"], len(answer["calls"])) == (1, 1)
        await call.over.wait()


async def test_kicking_nobody_is_exit_code_1(api):
    async with api() as server:
        text = await said(server, "kick", "--user", "bob", exit_code=1)
        assert text == "ended no call: there is none that fits\n"
        assert json.loads(await said(server, "kick", "--call", "1", "--json", exit_code=1)) == {"ended": 0, "calls": []}


@pytest.mark.parametrize(
    "words",
    [
        ["kick"],
        ["kick", "--all", "--user", "alice"],
        ["kick", "--peer", "somewhere"],
        ["kick", "--call", "65536"],
        ["show", "first"],
        ["sessions", "--order", "beauty"],
        ["sessions", "--watch", "--json"],
        ["stats", "--watch", "--json"],
        ["failures", "--watch", "--json"],
        ["pools", "--watch", "--json"],
        ["pools", "--plugin", "ip-pool"],
        ["failures", "--limit", "0"],
    ],
)
def test_wrong_arguments_are_exit_code_2(words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert result.stdout == ""


async def test_stats(api):
    async with api() as server:
        await server.memory.dial()
        counts = json.loads(await said(server, "stats", "--json"))
        assert (counts["calls"]["up"], counts["up_total"]) == (1, 1)
        text = await said(server, "stats")
        assert re.search(r"^  up +1 *$", text, re.M)
        assert re.search(r"^came up +1 *$", text, re.M)


async def test_stats_say_whether_the_server_drains(api):
    async with api() as server:
        await server.memory.dial()
        assert re.search(r"^draining +no *$", await said(server, "stats"), re.M)
        server.memory.server.drain_state.active = True
        assert re.search(r"^draining +until its calls end by themselves *$", await said(server, "stats"), re.M)
        server.memory.server.drain_state.deadline = trio.current_time() + 3600
        assert re.search(r"^draining +for 59m\d\ds at most *$", await said(server, "stats"), re.M)
        assert 3000 < json.loads(await said(server, "stats", "--json"))["drain_seconds_left"] < 3600


class Pools:
    """A plugin with a pool that is called as that of ip-pool."""

    @hookimpl
    def poptrio_pools(self):
        lease = PoolLease(address=IPv4Address("10.1.0.1"), user=EVIL, session_id="x")
        return [PoolState.of("default", 5, [lease])]


async def test_pools(api):
    async with api(plugins={"mine": Pools(), "ip-pool": "ip-pool"}) as server:
        header, mine, other = (await said(server, "pools")).splitlines()
        assert header.split() == ["pool", "plugin", "size", "held", "free", "full"]
        assert mine.split() == ["default", "mine", "5", "1", "4", "20", "%"]
        assert other.split()[:2] == ["default", "ip-pool"]
        assert "mine, ip-pool" in (await poptrio(server, "pools", "--pool", "default")).stderr
        (lease,) = json.loads(await said(server, "pools", "--pool", "default", "--plugin", "mine", "--json"))
        assert (lease["address"], lease["user"]) == ("10.1.0.1", EVIL)
        table = await said(server, "pools", "--pool", "default", "--plugin", "ip-pool")
        assert [line.split() for line in table.splitlines()] == [["address", "user", "session"]]


async def test_failures(api):
    async with api() as server:
        assert await said(server, "failures") == "no failures\n"
        await server.memory.dial("bob", "wrong")
        (failure,) = json.loads(await said(server, "failures", "--json"))
        assert (failure["cause"], failure["windows_errors"]) == ("authentication-failed", [691])
        header, row, remedy = (await said(server, "failures", "--user", "bob")).splitlines()
        assert header.split()[:4] == ["time", "peer", "user", "Windows"]
        assert row.split()[1:4] == [str(CLIENT_ADDRESS), "bob?", "691"]
        assert failure["why"] in row
        assert remedy.strip() == f"→ {failure['remedy']}"
        assert await said(server, "failures", "--cause", "no-gre") == "no failures\n"


class TwoLooks:
    """A clock on which the second wait is ended by Ctrl-C."""

    def __init__(self):
        self.waits = []

    def sleep(self, seconds):
        self.waits.append(seconds)
        if len(self.waits) == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("command", ["sessions", "stats", "failures"])
async def test_tables_are_drawn_again_until_ctrl_c(api, monkeypatch, command, terminal):
    async with api() as server:
        clock = TwoLooks()
        monkeypatch.setattr("poptrio.cli.managing.time", clock)
        if terminal:
            make = partial(Console, force_terminal=True, highlight=False, width=120, height=40)
            monkeypatch.setattr("poptrio.cli.managing.console", make)
        text = await said(server, command, "--watch", "--interval", "5")
        assert clock.waits == [5.0, 5.0]
        assert text.count({"sessions": "0 calls", "stats": "version", "failures": "no failures"}[command]) >= 2


async def test_a_table_that_is_watched_ends_with_the_server(api, monkeypatch):
    async with api() as server:

        class Clock:
            def sleep(self, seconds):
                trio.from_thread.run_sync(server.served.cancel)

        monkeypatch.setattr("poptrio.cli.managing.time", Clock())
        result = await poptrio(server, "sessions", "--watch")
        assert (result.exit_code, result.stdout) == (1, "0 calls\n")
        assert "the server went away" in result.stderr or "nobody listens" in result.stderr


async def test_shutdown_asks_first(api):
    async with api() as server:
        call = await server.memory.dial()
        result = await poptrio(server, "shutdown", input="n\n")
        assert result.exit_code == 1
        assert "Stop the server and end its only call? [y/N]" in result.stderr
        assert not server.memory.server.stopping
        assert await said(server, "shutdown", "--yes") == "the server stops; 1 call is told goodbye\n"
        await call.over.wait()
        await server.memory.stopped.wait()


async def test_shutdown_as_json(api):
    async with api() as server:
        assert json.loads(await said(server, "shutdown", "--yes", "--json")) == {"calls": 0}
        await server.memory.stopped.wait()


@pytest.mark.parametrize("words", [["sessions"], ["show", "CALL"], ["failures"]])
@pytest.mark.parametrize("further", [[], ["--json"]])
async def test_names_that_clients_choose_do_nothing_to_the_terminal(api, words, further):
    async with api(plugins=[OneUser(EVIL)]) as server:
        await server.memory.dial(EVIL)
        await server.memory.dial(EVIL, "wrong")
        number = str(json.loads(await said(server, "sessions", "--json"))[0]["call"])
        text = await said(server, *[number if word == "CALL" else word for word in words], *further)
        assert text.replace("\n", "").isprintable()
        assert re.search(r"e\\+(u00|x)1b\[31mvil\\+(u00|x)9b2J \[red\]:bomb:", text)


async def test_values_are_completed_from_the_server(api, monkeypatch):
    """What a shell asks the program; nothing that it would take for more than a word is offered."""
    async with api(plugins={"one": OneUser("alice"), "two": OneUser("x;reboot")}) as server:
        call = await server.memory.dial()
        await server.memory.dial("x;reboot")
        monkeypatch.setenv("POPTRIO_SOCKET", str(server.socket))
        assert await _completed("poptrio kick --user ") == ["alice"]
        assert await _completed("poptrio kick --user b") == []
        assert str(call.address) in await _completed("poptrio sessions --address 1")
        assert await _completed("poptrio sessions --peer 203") == [str(CLIENT_ADDRESS)]
        numbers = [str(each["call"]) for each in json.loads(await said(server, "sessions", "--json"))]
        assert await _completed("poptrio show ") == sorted(numbers)
        monkeypatch.setenv("POPTRIO_SOCKET", "/nowhere")
        assert await _completed("poptrio kick --user ") == []
        assert await _completed(f"poptrio kick --socket {server.socket} --user ") == ["alice"]


async def _completed(line):
    environment = {"_POPTRIO_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    invoke = partial(CliRunner().invoke, app, [], env=environment, prog_name="poptrio")
    result = await trio.to_thread.run_sync(invoke)
    assert result.stderr == "", (result.stdout, result.stderr, result.exception)
    return result.stdout.split()


def test_a_large_table_has_the_same_columns_as_a_small_one(capsys):
    def drawn(rows):
        made = managing.table("call", "user", right=("call",))
        for number in range(rows):
            made.add_row(str(number), f"usér{number}界")
        return Group(made, "so many")

    def shown(rows):
        managing.show(lambda: drawn(rows), list, as_json=False, watch=False, interval=1.0)

    shown(managing.LARGE)
    small = capsys.readouterr().out.splitlines()
    shown(managing.LARGE + 1)
    large = capsys.readouterr().out.splitlines()
    assert [line.split() for line in large[:-2]] == [line.split() for line in small[:-1]]
    assert large[1].index("usér0") == large[-2].index("usér500")
    assert large[-1] == small[-1] == "so many"
