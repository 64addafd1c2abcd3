"""``poptrio log``, ``poptrio trace`` and ``poptrio capture`` against a running server."""

import json
import os
import stat
import sys

import pytest
import trio
import trio.lowlevel
from structlog.testing import capture_logs
from typer.testing import CliRunner

from poptrio.cli import app
from poptrio.cli.capture import private_file
from poptrio.observe import pcapng


async def poptrio(server, *arguments):
    """The command in a thread, while the server runs."""
    command = [*map(str, arguments), "--socket", str(server.socket)]
    with capture_logs():
        return await trio.to_thread.run_sync(CliRunner().invoke, app, command)


async def test_levels_are_shown_and_changed(api):
    async with api('[log.areas]\nppp = "error"') as server:
        shown = await poptrio(server, "log")
        assert shown.exit_code == 0
        rows = dict(line.split() for line in shown.stdout.splitlines())
        assert rows["area"] == "level"
        assert (rows["ppp"], rows["call"], rows["ip-pool"]) == ("error", "info", "info")
        changed = await poptrio(server, "log", "warning", "ppp=default", "call=debug", "--json")
        assert json.loads(changed.stdout)["areas"] == {"call": "debug"}
        assert json.loads(changed.stdout)["level"] == "warning"
        refused = await poptrio(server, "log", "radios=debug")
        assert refused.exit_code == 1
        assert "there is no area 'radios'" in refused.stderr


@pytest.mark.parametrize("change", ["loud", "ppp=loud", "ppp=", "default"])
def test_a_level_that_does_not_exist_is_wrong_usage(change):
    result = CliRunner().invoke(app, ["log", change])
    assert result.exit_code == 2
    assert "the level must be one of" in " ".join(result.stderr.split())


async def test_traces_are_begun_shown_and_ended(api):
    async with api() as server:
        assert (await poptrio(server, "trace")).stdout == "nothing is traced\n"
        begun = await poptrio(server, "trace", "--user", "alice", "--seconds", 90)
        assert begun.stdout.startswith("traced for 1m") or begun.stdout.startswith("traced for 90")
        assert begun.stdout.endswith("more: user alice\n")
        assert "user alice" in (await poptrio(server, "log")).stdout
        assert (await poptrio(server, "trace", "--off")).stdout == "nothing is traced\n"
        assert "peer 203.0.113.9" in (await poptrio(server, "trace", "--peer", "203.0.113.9")).stdout
        missing = await poptrio(server, "trace", "--call", 0)
        assert (missing.exit_code, "there is no call 0" in missing.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [["--user", "a", "--call", "1"], ["--seconds", "3"], ["--off", "--seconds", "3"], ["--peer", "nonsense"]],
)
def test_a_trace_that_makes_no_sense_is_wrong_usage(arguments):
    assert CliRunner().invoke(app, ["trace", *arguments]).exit_code == 2


async def captured_while_alice_talks(server, *arguments):
    """Run ``poptrio capture`` as a process of its own, while packets pass, until she hangs up."""
    call = await server.memory.dial()
    command = [sys.executable, "-m", "poptrio", "capture", *map(str, arguments), "--socket", str(server.socket)]
    done = []

    async def run():
        done.append(await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False))

    with trio.fail_after(30), capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            while not server.memory.server.captures.count:
                await trio.lowlevel.checkpoint()
            call.send_ip(b"attack at dawn")
            await call.hang_up()
    return done[0]


def packets(data):
    return [block for block in pcapng.Reader().feed(data) if isinstance(block, pcapng.Packet)]


async def test_a_capture_goes_into_a_file_that_only_its_owner_can_read(api, tmp_path):
    path = tmp_path / "alice.pcapng"
    async with api() as server:
        done = await captured_while_alice_talks(server, "alice", "-w", path)
    assert done.returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = packets(path.read_bytes())
    assert any(packet.data.endswith(b"attack at dawn") for packet in found)
    begun, ended = done.stderr.decode().splitlines()
    assert begun == "capturing; Ctrl-C ends it"
    assert ended.startswith(f"captured {len(found)} packets (gre ")
    assert ended.endswith(": the call is over")


def test_an_old_file_is_replaced_by_one_that_only_its_owner_can_read(tmp_path):
    path = tmp_path / "old.pcapng"
    path.write_text("old")
    path.chmod(0o644)
    with path.open("rb") as reader:
        with open(private_file(path), "wb") as file:
            file.write(b"new")
        assert reader.read() == b"old", "who has the old one open sees nothing of the capture"
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(tmp_path, there):
    path, link = tmp_path / "old.pcapng", tmp_path / "link"
    if there:
        path.write_text("an old one")
        path.chmod(0o644)
    link.symlink_to(path)
    with open(private_file(link), "wb") as file:
        file.write(b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)
    assert link.is_symlink()


def test_a_link_to_a_file_of_somebody_else_is_refused(tmp_path, monkeypatch):
    path, link = tmp_path / "old.pcapng", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        private_file(link)
    assert path.read_text() == "old"


def test_a_pipe_stays_as_it_is(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o644)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        os.write(descriptor := private_file(path), b"x")
        os.close(descriptor)
        assert reader.read() == b"x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


async def test_a_capture_goes_to_standard_output_for_wireshark(api):
    async with api() as server:
        done = await captured_while_alice_talks(server, "alice", "-w", "-")
    assert done.returncode == 0
    assert any(packet.data.endswith(b"attack at dawn") for packet in packets(done.stdout))


async def test_a_capture_of_nobody_is_refused_and_makes_no_file(api, tmp_path):
    path = tmp_path / "nobody.pcapng"
    async with api() as server:
        refused = await poptrio(server, "capture", "bob", "-w", path)
        assert (refused.exit_code, path.exists()) == (1, False)
        assert refused.stderr == "there is no call of bob: --wait waits for the next one\n"
        waited = await poptrio(server, "capture", "bob", "-w", path, "--wait", "--seconds", 0.2)
        assert waited.exit_code == 1
        assert "captured 0 packets" in waited.stderr
        assert waited.stderr.endswith("bob did not call within 0.2 s\n")
        assert "no call 70000" not in (await poptrio(server, "capture", "70000", "-w", path)).stderr
        assert "no call of 17" in (await poptrio(server, "capture", "--user", "17", "-w", path)).stderr
        assert "no call of bob" in (await poptrio(server, "capture", "--user=bob", "-w", path)).stderr
        assert "no call 17" in (await poptrio(server, "capture", "--call", "17", "-w", path)).stderr
        assert "no call 17" in (await poptrio(server, "capture", "17", "-w", path)).stderr


@pytest.mark.parametrize(
    "whom", [["70000"], [], ["alice", "--user", "alice"], ["--user", "alice", "--call", "17"], ["--call", "70000"]]
)
def test_whom_to_capture_is_said_once(tmp_path, whom):
    assert CliRunner().invoke(app, ["capture", *whom, "-w", str(tmp_path / "x")]).exit_code == 2


def test_without_a_file_it_is_wrong_usage():
    assert CliRunner().invoke(app, ["capture", "17"]).exit_code == 2


async def test_a_file_that_cannot_be_written_is_said(api, tmp_path):
    async with api() as server:
        await server.memory.dial()
        refused = await poptrio(server, "capture", "alice", "-w", tmp_path)
        assert refused.exit_code == 1
        assert refused.stderr == f"{tmp_path} cannot be written: Is a directory\n"
