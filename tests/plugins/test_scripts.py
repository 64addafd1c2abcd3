"""The scripts plugin: pppd's arguments and environment, order, limits, and nothing for a shell to stumble over.

The programs are real, so time is, too; everything is waited for, nothing is slept.
"""

import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from poptrio.api import (
    Accept,
    AccountingKind,
    AccountingRecord,
    CallInfo,
    CauseOfEnd,
    ConfigError,
    ServerInfo,
    Traffic,
)
from poptrio.plugins import script_runner
from poptrio.plugins.script_runner import LONGEST_OUTPUT, Script, ScriptRunner
from poptrio.plugins.scripts import environment
from poptrio.server.hooks import Hooks

PATIENCE = 20.0
CALL = CallInfo(
    session_id="0123456789abcdef",
    call_id=17,
    peer_call_id=2,
    peer=IPv4Address("203.0.113.9"),
    server=IPv4Address("198.51.100.1"),
    started=datetime(2025, 1, 1, tzinfo=UTC),
)
UP = AccountingRecord(
    kind=AccountingKind.START,
    call=CALL,
    accept=Accept(user="alice", wins=(IPv4Address("10.90.0.54"),), filter_ids=("gold", "night")),
    address=IPv4Address("10.90.0.2"),
    seconds=0.0,
    traffic=Traffic(),
    timestamp=datetime(2025, 1, 1, tzinfo=UTC),
    interface="poptrio0",
    mtu=1396,
)
DOWN = replace(
    UP,
    kind=AccountingKind.STOP,
    seconds=75.9,
    traffic=Traffic(bytes_in=1000, bytes_out=2000),
    cause=CauseOfEnd.IDLE_TIMEOUT,
)


def info(folder=Path("/")):
    dns = (IPv4Address("10.90.0.53"), IPv4Address("192.0.2.53"))
    return ServerInfo(folder=folder, name="poptrio", address=IPv4Address("10.90.0.1"), pool=(), dns=dns)


@pytest.fixture
def script(tmp_path):
    """Writes a script; each line that it appends to ``$OUT`` is in ``said``."""

    def write(text, name="script", mode=0o755):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def test_the_environment_of_ip_up_is_that_of_pppd():
    assert environment(UP, info()) == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "IFNAME": "poptrio0",
        "DEVICE": "none",
        "SPEED": "0",
        "IPLOCAL": "10.90.0.1",
        "IPREMOTE": "10.90.0.2",
        "PEERNAME": "alice",
        "ORIG_UID": str(os.getuid()),
        "PPPLOGNAME": "root" if os.getuid() == 0 else environment(UP, info())["PPPLOGNAME"],
        "PPPD_PID": str(os.getpid()),
        "LINKNAME": "0123456789abcdef",
        "MTU": "1396",
        "CALLING_SID": "203.0.113.9",
        "CALLED_SID": "198.51.100.1",
        "DNS1": "10.90.0.53",
        "DNS2": "192.0.2.53",
        "WINS1": "10.90.0.54",
        "FILTER_ID": "gold,night",
    }


def test_ip_down_has_the_account_of_the_call_besides():
    added = environment(DOWN, info()).items() - environment(UP, info()).items()
    assert dict(added) == {
        "CONNECT_TIME": "75",
        "BYTES_SENT": "2000",
        "BYTES_RCVD": "1000",
        "CAUSE": "idle-timeout",
    }


@pytest.mark.parametrize("name", ["a\nPATH=/tmp", "a\0b", "\ud800", "\x1b[2J", "x" * 5000])
def test_a_name_is_one_printable_variable_whatever_it_is(name):
    value = environment(replace(UP, accept=Accept(user=name)), info())["PEERNAME"]
    assert value.isprintable()
    assert len(value) <= 1024


@asynccontextmanager
async def running(folder, **config):
    """The plugin as the server runs it; yields what takes records."""
    hooks = Hooks.load([], [], ["scripts"])
    with trio.fail_after(PATIENCE):
        async with hooks.lifespan({"scripts": config}, info(folder)):
            yield hooks.account


SAYS_ALL = """#!/bin/sh
{ printf '%s\\n' "$0" "$@"; env; ls -l /proc/self/fd/0; pwd; } > @OUT@
"""


async def test_arguments_and_environment_arrive_as_they_are_and_nothing_is_inherited(script, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "hunter2")
    out = tmp_path / "out"
    up = script(SAYS_ALL.replace("@OUT@", str(out)))
    evil = replace(UP, accept=Accept(user="$(touch /tmp/poptrio-was-here); `id`'\""))
    async with running(tmp_path, up="script") as account:
        await account(evil)
    said = out.read_text().splitlines()
    assert said[:7] == [str(up), "poptrio0", "none", "0", "10.90.0.1", "10.90.0.2", "203.0.113.9"]
    assert "PEERNAME=$(touch /tmp/poptrio-was-here); `id`'\"" in said
    assert not any("SECRET_OF_THE_SERVER" in line for line in said)
    assert said[-2].endswith("-> /dev/null")
    assert said[-1] == "/"
    assert not os.path.lexists("/tmp/poptrio-was-here")  # noqa: ASYNC240


async def test_down_runs_after_up_and_both_before_the_server_has_stopped(script, tmp_path):
    out = tmp_path / "out"
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script(f"#!/bin/sh\nread line < {gate}\necho up >> {out}\n", "up")
    script(f"#!/bin/sh\necho down $CONNECT_TIME >> {out}\n", "down")
    async with running(tmp_path, up="up", down="down", ipparam="mine") as account:
        await account(UP)
        await account(DOWN)
        await trio.to_thread.run_sync(gate.write_text, "go\n")
    assert out.read_text() == "up\ndown 75\n"


async def test_down_runs_for_a_call_that_was_taken_over(script, tmp_path):
    out = tmp_path / "out"
    script(f"#!/bin/sh\necho down $CONNECT_TIME >> {out}\n", "down")
    hooks = Hooks.load([], [], ["scripts"])
    new = replace(DOWN, call=replace(CALL, session_id="new"), seconds=0.0)  # its Start found no room
    with trio.fail_after(PATIENCE):
        async with hooks.lifespan({"scripts": {"down": "down"}}, replace(info(tmp_path), continued=True)):
            await hooks.account(DOWN)
            await hooks.account(new)
    assert out.read_text() == "down 75\n"


async def test_a_call_for_which_there_was_no_room_gets_neither_program(script, tmp_path):
    out = tmp_path / "out"
    gates = [tmp_path / session for session in (CALL.session_id, "second")]
    for gate in gates:
        os.mkfifo(gate)
    script(f"#!/bin/sh\nread line < {tmp_path}/$LINKNAME\necho up $LINKNAME >> {out}\n", "up")
    script(f"#!/bin/sh\necho down $LINKNAME >> {out}\n", "down")
    third = [replace(record, call=replace(CALL, session_id="third")) for record in (UP, DOWN)]
    second = [replace(record, call=replace(CALL, session_id="second")) for record in (UP, DOWN)]
    with capture_logs() as logs:
        async with running(tmp_path, up="up", down="down", concurrency=1, queue=1) as account:
            for record in (UP, second[0], third[0], third[1], DOWN, second[1]):
                await account(record)
            for gate in gates:
                await trio.to_thread.run_sync(gate.write_text, "go\n")
    assert sorted(out.read_text().split("\n")[:-1]) == sorted(
        f"{kind} {session}" for kind in ("up", "down") for session in (CALL.session_id, "second")
    )
    (refused,) = [entry for entry in logs if entry["event"] == "script not run"]
    assert refused["session"] == "third"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "plugins.scripts: names no program"),
        ({"up": "nothing"}, "plugins.scripts.up: {folder}/nothing cannot be run: No such file or directory"),
        ({"down": "plain"}, "plugins.scripts.down: {folder}/plain may not be run; chmod +x"),
        ({"up": "open"}, "plugins.scripts.up: {folder}/open can be changed by other users"),
        ({"up": "."}, "plugins.scripts.up: {folder} is no file"),
        ({"up": "fine", "timeout": 0.0}, "plugins.scripts.timeout"),
        ({"up": "fine", "upp": ""}, "plugins.scripts.upp"),
    ],
)
async def test_what_cannot_be_run_keeps_the_server_from_starting(script, tmp_path, config, why):
    script("#!/bin/sh\n", "plain", 0o644)
    script("#!/bin/sh\n", "open", 0o777)
    script("#!/bin/sh\n", "fine")
    with pytest.raises(ConfigError) as caught:
        async with running(tmp_path, **config):
            pass
    assert why.format(folder=tmp_path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_a_program_of_somebody_else_keeps_the_server_from_starting(script, tmp_path):
    os.chown(script("#!/bin/sh\n", "theirs"), 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to another user"):
        async with running(tmp_path, up="theirs"):
            pass


async def run_one(path, seconds=PATIENCE):
    """What the log says of one script that may run so long."""
    runner = ScriptRunner(concurrency=1, queue=10, timeout=seconds)
    with capture_logs() as logs, trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            runner.start(Script(path, ("one", "two"), {"PATH": "/usr/bin:/bin"}, "s"))
            await runner.finish()
            nursery.cancel_scope.cancel()
    (entry,) = logs
    return entry


async def test_output_and_exit_code_go_to_the_log(script):
    entry = await run_one(script("#!/bin/sh\necho $2 to stdout; echo bad >&2; exit 3\n"))
    assert (entry["event"], entry["log_level"], entry["output"]) == ("script failed", "warning", "two to stdout\nbad")
    assert entry["why"] == "it ended with exit code 3"


async def test_output_without_end_is_cut_and_blocks_nobody(script):
    entry = await run_one(script("#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\n"))
    assert (entry["event"], entry["output"]) == ("script ended", "x" * LONGEST_OUTPUT)


async def test_a_program_that_cannot_be_executed_is_said(script):
    entry = await run_one(script("no program\n", mode=0o755))
    assert entry["why"] == "it cannot be run: Exec format error"


async def test_a_script_that_dies_of_a_signal_is_said(script):
    assert (await run_one(script("#!/bin/sh\nkill -9 $$\n")))["why"] == "it was killed by signal 9"


async def until(condition):
    """Wait for what another process does, and nobody signals."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


def is_gone(pid):
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


async def test_a_script_that_takes_too_long_is_killed_with_its_children(script, tmp_path):
    pids = tmp_path / "pids"
    stubborn = f"#!/bin/sh\ntrap '' TERM\nsleep 600 &\necho $$ $! > {pids}\nwait\nsleep 600\n"
    entry = await run_one(script(stubborn), seconds=0.3)
    assert entry["why"] == "it ran longer than 0.3 s and was killed"
    assert 0.3 <= entry["seconds"] < PATIENCE
    await until(lambda: all(map(is_gone, pids.read_text().split())))


async def test_a_script_that_the_kernel_keeps_is_left_behind(autojump_clock):
    class Kept:
        pid = 2**22 + 1  # nobody's

        async def wait(self):
            await trio.sleep_forever()

    begun = trio.current_time()
    with trio.CancelScope() as scope:
        scope.cancel()
        await script_runner._kill(Kept())
    assert trio.current_time() - begun == script_runner.KILL_WAIT


async def test_a_child_that_does_not_want_to_end_is_killed_when_its_script_has_ended(script, tmp_path):
    pid = tmp_path / "pid"
    child = f"trap '' TERM; echo $$ > {pid}; exec 2>&1 > /dev/null; while :; do sleep 0.05; done"
    obedient = f'#!/bin/sh\nsh -c "{child.replace("$$", chr(92) + "$$")}" &\nwait\n'
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_one, script(obedient), 1.0)
        await until(lambda: pid.exists() and pid.read_text())
    await until(lambda: is_gone(pid.read_text().strip()))


async def test_a_child_that_goes_on_in_the_background_is_not_waited_for(script, tmp_path):
    pid = tmp_path / "pid"
    entry = await run_one(script(f"#!/bin/sh\nsleep 600 &\necho $! > {pid}\n"))
    assert entry["event"] == "script ended"
    os.kill(int(pid.read_text()), signal.SIGKILL)


async def test_when_there_is_no_more_time_scripts_are_killed_and_left_out(script, tmp_path):
    pid = tmp_path / "pid"
    script(f"#!/bin/sh\necho $$ > {pid}\nsleep 600\n", "up")
    script(f"#!/bin/sh\necho ran > {tmp_path / 'ran'}\n", "down")
    with capture_logs() as logs:
        async with running(tmp_path, up="up", down="down", finish_timeout=0.2) as account:
            await account(UP)
            await until(lambda: pid.exists() and pid.read_text())
            await account(DOWN)
    await until(lambda: is_gone(pid.read_text().strip()))
    assert [(entry["event"], entry.get("count")) for entry in logs] == [("scripts left out", 2)]
    assert not (tmp_path / "ran").exists()


async def test_scripts_of_different_calls_run_side_by_side_but_not_more_than_allowed(script, tmp_path):
    """Each waits until as many run as may: with fewer it would not end, with more they would be counted."""
    rendezvous = f"""#!/bin/sh
echo x >> {tmp_path}/running
while [ $(grep -c x {tmp_path}/running) -lt 3 ]; do sleep 0.01; done
"""
    path = script(rendezvous)
    runner = ScriptRunner(concurrency=3, queue=10, timeout=PATIENCE)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            for number in range(3):
                runner.start(Script(path, (), {"PATH": "/usr/bin:/bin"}, str(number)))
            await runner.finish()
            nursery.cancel_scope.cancel()
    assert runner._last == {}


async def test_a_call_of_a_server_runs_both(script, tmp_path, pptp_server):
    out = tmp_path / "out"
    text = f"#!/bin/sh\necho $(basename $0) $PEERNAME $IPREMOTE $MTU >> {out}\n"
    script(text, "ip-up")
    script(text, "ip-down")
    config = '[accounting]\nplugins = ["scripts"]\n[plugins.scripts]\nup = "ip-up"\ndown = "ip-down"'
    with trio.fail_after(PATIENCE):
        server = await pptp_server((), config, folder=tmp_path)
        call = await server.dial()
        assert call.address is not None
        await call.hang_up()
        server.server.stop()
        await server.stopped.wait()
        await until(lambda: out.exists() and out.read_text().count("\n") == 2)
    assert out.read_text().splitlines() == [f"{name} alice {call.address} 1396" for name in ("ip-up", "ip-down")]
