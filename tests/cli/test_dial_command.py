"""``poptrio dial`` on the command line: arguments, JSON on every outcome, and signals."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import trio
from typer.testing import CliRunner

from poptrio.cli import app

pytestmark = pytest.mark.usefixtures("restored_logging")


def dial(*arguments: str):
    return CliRunner().invoke(app, ["dial", *arguments, "--user", "alice", "--password", "x"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["::1"], "PPTP runs over IPv4 only"),
        (["[::1]:1723"], "PPTP runs over IPv4 only"),
        (["2001:db8::1"], "PPTP runs over IPv4 only"),
        (["localhost:"], "has no TCP port from 1 to 65535"),
        (["localhost:0"], "has no TCP port from 1 to 65535"),
        (["localhost:65536"], "has no TCP port from 1 to 65535"),
        (["localhost:pptp"], "has no TCP port from 1 to 65535"),
        ([":1723"], "is not HOST or HOST:PORT"),
        (["local host"], "is not HOST or HOST:PORT"),
        (["localhost", "--interface", "sixteen-letters-"], "--interface: an interface name has 1 to 15 octets"),
        (["localhost", "--interface", "a/b"], "--interface: "),
        (["localhost", "--new-password", "x" * 257], "--new-password: at most 256 characters"),
        (["192.0.2.1", "--route", "192.0.2.0/24"], "would lead the tunnel's own packets into the tunnel"),
        (["localhost", "--route", "0.0.0.0/0"], "would lead the tunnel's own packets into the tunnel"),
    ],
)
def test_wrong_arguments_are_exit_code_2(arguments: list[str], sentence: str):
    result = dial(*arguments)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.replace("│", "").split())


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def place(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_step_that_fails_as_json():
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = place(server)
    result = dial(nobody, "--json")
    assert result.exit_code == 1
    outcome = json.loads(result.stdout)
    assert (outcome["reached"], outcome["failed_step"], len(outcome["steps"])) == (False, "tcp", 1)


def test_a_machine_that_lets_nobody_dial_as_json(listener: socket.socket, monkeypatch: pytest.MonkeyPatch):
    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        raise PermissionError(1, "raw sockets need CAP_NET_RAW")

    monkeypatch.setattr("poptrio.client.dial.UserspaceDataPath.run", run)
    result = dial(place(listener), "--json")
    assert result.exit_code == 1
    outcome = json.loads(result.stdout)
    assert (outcome["reached"], outcome["failed_step"]) == (False, None)
    assert outcome["why"].startswith("poptrio cannot dial from this machine: ")
    assert "CAP_NET_RAW" in result.stderr


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("as_json", [False, True], ids=["lines", "JSON"])
def test_a_signal_before_the_call_is_up(number: signal.Signals, as_json: bool, listener: socket.socket):
    command = [sys.executable, "-m", "poptrio", "dial", place(listener), "--user", "alice", "--probe"]
    process = subprocess.Popen(
        command + ["--json"] * as_json,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"POPTRIO_PASSWORD": "x"},
    )
    with process:
        listener.settimeout(10)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            assert connection.recv(156)  # Start-Control-Connection-Request
            process.send_signal(number)
            output, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert errors == ""
    if as_json:
        outcome = json.loads(output)
        assert (outcome["reached"], outcome["failed_step"]) == (False, None)
        assert outcome["why"] == "interrupted before the call was up"
    else:
        assert output.splitlines()[1:] == ["interrupted before the call was up"]
