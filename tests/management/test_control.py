"""Reload and drain by the API, and by the commands that ask it."""

import re

import trio
from structlog.testing import capture_logs
from typer.testing import CliRunner

from poptrio.cli.app import app
from poptrio.config import Config
from poptrio.server.reload import Reloading


async def command(api, *arguments):
    """What a command prints, and its exit code; it blocks, so it has a thread."""
    run = lambda: CliRunner().invoke(app, [*arguments, "--socket", str(api.socket)])  # noqa: E731
    result = await trio.to_thread.run_sync(run)
    return result.output, result.exit_code


def use(api, file):
    api.memory.server.reloader.reloading = Reloading(Config.load(file))


async def test_reload_lists_what_changed_what_needs_a_restart_and_what_is_wrong(api, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("")
    async with api() as server:
        use(server, file)
        file.write_text('[server]\nmax_calls = 5\ninterface = "other0"')
        answer = await server.post("/v1/reload")
        assert answer["changes"] == [{"setting": "server.max_calls", "old": "10000", "new": "5", "effect": "at once"}]
        assert [change["setting"] for change in answer["needs_restart"]] == ["server.interface"]
        assert (answer["reloaded"], answer["faults"]) == (True, [])
        file.write_text("[server]\nmax_calls = 0")
        answer = await server.post("/v1/reload")
        assert answer["faults"] == [f"{file}:2: server.max_calls: 0 is too little; it must be at least 1"]
        assert not answer["reloaded"]


async def test_drain_shows_its_deadline_and_is_taken_back(api):
    async with api() as server:
        call = await server.memory.dial()
        assert await server.get("/v1/drain") == {"draining": False, "seconds_left": None, "calls": 1}
        assert (await server.post("/v1/drain"))["seconds_left"] is None
        answer = await server.post("/v1/drain", seconds=100)
        assert answer["draining"]
        assert 50 < answer["seconds_left"] <= 100
        assert (await server.get("/v1/stats"))["draining"]
        assert (await server.post("/v1/drain/cancel"))["draining"] is False
        await server.post("/v1/drain/cancel", 409)
        await server.post("/v1/drain", 422, seconds=-1)
        assert not call.over.is_set()


async def test_the_commands_say_it_in_lines(api, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("")
    with capture_logs():
        await _say_it(api, file)


async def _say_it(api, file):
    async with api() as server:
        use(server, file)
        assert await command(server, "reload") == (
            "nothing changed; files that the configuration names were read again\n",
            0,
        )
        file.write_text('[server]\nmax_calls = 5\ninterface = "other0"')
        assert await command(server, "reload") == (
            'server.max_calls: 10000 -> 5 (at once)\nserver.interface: "poptrio0" -> "other0" needs a restart\n',
            0,
        )
        file.write_text("nonsense")
        output, code = await command(server, "reload")
        assert output.endswith("refused: nothing was changed\n")
        assert code == 1
        assert await command(server, "drain", "--cancel") == (
            "the server is not draining: `poptrio stats` says what it does\n",
            1,
        )
        call = await server.memory.dial()
        assert await command(server, "drain") == (
            "draining: no new calls; 1 call is left, until it ends by itself\n",
            0,
        )
        output, code = await command(server, "drain", "--seconds", "100")
        assert re.fullmatch(r"draining: no new calls; 1 call is left, for (\d\d|100) s at most\n", output)
        assert code == 0
        assert await command(server, "drain", "--cancel") == ("taking calls again; 1 call is up\n", 0)
        output, code = await command(server, "drain", "--seconds", "5", "--cancel")
        assert (code, "a drain that is cancelled has no deadline" in output) == (2, True)
        assert not call.over.is_set()
        await call.hang_up()
        assert (await command(server, "drain", "--json"))[1] == 0
        await server.memory.stopped.wait()
