"""``poptrio events``: lines as things happen, and every way in which it ends."""

import json
import signal
import subprocess
import sys
from functools import partial

import pytest
import trio
from typer.testing import CliRunner

from poptrio.cli import app
from poptrio.cli.happenings import event_line
from poptrio.observe.log import configure
from poptrio.testing.server import CLIENT_ADDRESS, OneUser

pytestmark = pytest.mark.usefixtures("silent")


@pytest.fixture
def silent(restored_logging):
    """The server's log does not come among what the command prints: both are in this process."""
    configure("error", "console")


async def _until(true):
    with trio.fail_after(20):
        while not true():  # noqa: ASYNC110 - another process makes it true
            await trio.sleep(0.01)


async def followed(server, happens, *words):
    """What ``poptrio events`` prints while ``happens`` runs, until the API is served no more."""
    results = []

    async def follow():
        command = ["events", "--socket", str(server.socket), *words]
        results.append(await trio.to_thread.run_sync(CliRunner().invoke, app, command))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await _until(lambda: server.memory.authority.journal.heard)
        await happens()
        server.served.cancel()
    (result,) = results
    assert result.exit_code == 1, (result.stdout, result.exception)
    assert result.stderr == (
        f"{server.socket}: the server went away while it answered: it was stopped or killed; its log says which\n"
    )
    return result.stdout.splitlines()


async def test_a_line_for_each_event(api):
    async with api() as server:

        async def happens():
            call = await server.memory.dial()
            await server.post("/v1/kick", user="alice", reason="a test")
            await call.over.wait()
            await server.memory.dial("bob", "wrong")

        lines = [line.split(maxsplit=1)[1] for line in await followed(server, happens)]
        assert [line.split()[:3] for line in lines] == [
            ["call-starting", str(CLIENT_ADDRESS), "-"],
            ["call-up", str(CLIENT_ADDRESS), "alice"],
            ["call-down", str(CLIENT_ADDRESS), "alice"],
            ["call-starting", str(CLIENT_ADDRESS), "-"],
            ["call-failed", str(CLIENT_ADDRESS), "bob?"],
        ]
        assert "an administrator ended the call: a test" in lines[2]
        assert lines[4].endswith("→ check name and password; `seen_as` is the name as the client sent it")


async def test_a_json_object_for_each_event(api):
    async with api() as server:

        async def happens():
            await server.memory.dial("bob", "wrong")
            await server.memory.dial()

        lines = [json.loads(line) for line in await followed(server, happens, "--json", "--user", "alice")]
        assert [(line["event"], line["user"]) for line in lines] == [("call-up", "alice")]


async def test_names_in_events_do_nothing_to_the_terminal(api):
    evil = "e\x1b[2Jvil\nrefused"
    async with api(plugins=[OneUser(evil)]) as server:

        async def happens():
            await server.memory.dial(evil)

        _, line = await followed(server, happens)
        assert line.isprintable()
        assert "e\\x1b[2Jvil\\nrefused" in line


async def test_only_a_line_feed_ends_a_line(api):
    """What else Python takes for the end of one may stand in a name that a plugin has accepted, or in a reason."""
    async with api() as server:

        async def happens():
            server.memory.authority.journal.refused(CLIENT_ADDRESS, "a\u2028b\x85c\x0bd")
            await server.get("/v1/stats")  # until that is sent

        (line,) = await followed(server, happens, "--json")
        assert json.loads(line)["why"] == "a\u2028b\x85c\x0bd"


def test_missed_events_are_counted():
    assert event_line("missed", {"missed": 7}) == "-- 7 events were missed, because they were not read in time --"


async def test_ctrl_c_ends_it_cleanly(api):
    async with api() as server:
        process = await _started(server)
        process.send_signal(signal.SIGINT)
        output, errors = await trio.to_thread.run_sync(partial(process.communicate, timeout=20))
        assert (process.returncode, output, errors) == (0, "", "")


async def test_a_closed_pipe_ends_it_cleanly(api):
    async with api() as server:
        process = await _started(server)
        process.stdout.close()
        await server.memory.dial()
        await trio.to_thread.run_sync(partial(process.wait, timeout=20))
        assert (process.returncode, process.stderr.read()) == (0, "")
        process.stderr.close()


async def _started(server):
    command = [sys.executable, "-m", "poptrio", "events", "--socket", str(server.socket)]
    start = partial(
        subprocess.Popen,
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(
            signal.signal, signal.SIGINT, signal.SIG_DFL
        ),  # ignored where the tests run in the background
    )
    process = await trio.to_thread.run_sync(start)
    await _until(lambda: server.memory.authority.journal.heard)
    return process
