"""``poptrio load`` on the command line: arguments, failures as a table and as JSON, and one run over a real network."""

import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import trio
import trio.testing
from typer.testing import CliRunner

from poptrio.cli import app
from poptrio.testing.namespaces import Namespace, join

pytestmark = pytest.mark.usefixtures("restored_logging", "restored_limit")


@pytest.fixture
def restored_limit() -> Iterator[None]:
    """The limit of descriptors is afterwards as it was."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def load(*arguments: str):
    return CliRunner().invoke(app, ["load", *arguments, "--user", "user%d", "--password", "x"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["localhost"], "--calls"),
        (["localhost", "--calls", "0"], "--calls"),
        (["localhost", "--calls", "60001"], "--calls"),
        (["::1", "--calls", "1"], "PPTP runs over IPv4 only"),
        (["localhost", "--calls", "1", "--rate", "-1"], "--rate"),
        (
            ["localhost", "--calls", "1", "--source", "10.0.0.9-10.0.0.1"],
            '--source: "10.0.0.9-10.0.0.1" runs backwards',
        ),
        (["localhost", "--calls", "1", "--source", "10.0.0.0/8"], "--source: at most 65536 addresses"),
        (["localhost", "--calls", "1", "--size", "43"], "--size"),
        (["localhost", "--calls", "1", "--packets", "1", "--size", "1450"], "--size 1450 does not fit into --mtu 1400"),
        (["localhost", "--calls", "1", "--user", "%d%d"], "--user: '%d%d' has more than one number"),
        (["localhost", "--calls", "1", "--encryption", "often"], "--encryption is require, prefer or refuse"),
    ],
)
def test_wrong_arguments_are_exit_code_2(arguments: list[str], sentence: str):
    result = CliRunner().invoke(app, ["load", "--user", "user%d", "--password", "x", *arguments])
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.replace("│", "").split())


def test_a_password_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("POPTRIO_PASSWORD", raising=False)
    result = CliRunner().invoke(app, ["load", "localhost", "--calls", "1", "--user", "a"])
    assert result.exit_code == 2
    assert "give --password or set POPTRIO_PASSWORD" in " ".join(result.stderr.replace("│", "").split())


def test_too_few_descriptors(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("poptrio.cli.load.raise_limit", lambda: 1024)
    result = load("localhost", "--calls", "2000")
    assert result.exit_code == 1
    assert result.stderr.startswith("2000 calls need 2100 file descriptors, and this process may have 1024: raise the")
    assert result.stderr.endswith("or make 924 calls at most\n")


@pytest.fixture
def without_sockets(monkeypatch: pytest.MonkeyPatch):
    """A data path that needs no rights, and does nothing."""

    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        with self._running:
            await trio.sleep_forever()

    monkeypatch.setattr("poptrio.client.load_target.UserspaceDataPath.run", run)


def nobody() -> str:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_calls_that_fail(without_sockets):
    place = nobody()
    result = load(place, "--calls", "3")
    assert result.exit_code == 1
    assert "0 of 3 calls" in result.stdout
    port = place.partition(":")[2]
    assert f"3: 127.0.0.1, TCP port {port}: connection refused" in " ".join(result.stdout.split())
    assert result.stderr == ""


def test_calls_that_fail_as_json(without_sockets):
    result = load(nobody(), "--calls", "3", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["clean"], report["interrupted"], report["calls"]) == (False, False, 3)
    assert report["set_ups"]["up"] == 0
    assert [(failure["step"], failure["count"]) for failure in report["failures"]] == [("tcp", 3)]
    assert report["held"] is report["packets"] is report["lost"] is None


def test_a_signal_before_the_run_begins(without_sockets, monkeypatch: pytest.MonkeyPatch):
    async def resolve(host, port):
        signal.raise_signal(signal.SIGINT)
        await trio.testing.wait_all_tasks_blocked()
        return IPv4Address("127.0.0.1")

    monkeypatch.setattr("poptrio.client.load_target.resolve", resolve)
    result = load(nobody(), "--calls", "3", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["interrupted"], report["set_ups"]["begun"]) == (True, 0)


def test_a_machine_without_the_rights(monkeypatch: pytest.MonkeyPatch):
    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        raise PermissionError(1, "raw sockets need CAP_NET_RAW")

    monkeypatch.setattr("poptrio.client.load_target.UserspaceDataPath.run", run)
    result = load(nobody(), "--calls", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "poptrio cannot dial from this machine: raw sockets need CAP_NET_RAW\n"


def test_a_source_that_is_not_ours():
    result = load(nobody(), "--calls", "1", "--source", "192.0.2.77")
    assert result.exit_code == 1
    assert result.stderr.startswith("poptrio cannot dial from this machine: 192.0.2.77 is no address of this machine: ")


@contextmanager
def server_in(namespace: Namespace, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """``poptrio run`` in ``namespace``, with users 1 to 100, of whom 60 is missing."""
    (folder / "config.toml").write_text(
        '[server]\ninterface = "poptrio-load"\n[plugins.chap-secrets]\nfile = "chap-secrets"\n'
    )
    secrets = folder / "chap-secrets"
    secrets.write_text("".join(f'"user{number:03}" * "secret" *\n' for number in range(1, 101) if number != 60))
    secrets.chmod(0o600)
    command = namespace.command(sys.executable, "-m", "poptrio", "run", str(folder / "config.toml"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any("listening" in line for line in process.stderr)
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.mark.root
@pytest.mark.slow
def test_fifty_calls_over_a_real_network(tmp_path: Path):
    with Namespace("load-s") as server, Namespace("load-c") as client:
        join(server, "192.0.2.1", client, "192.0.2.2")
        client.run("ip", "address", "add", "198.51.100.0/24", "dev", "lo")
        server.run("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.2")
        program = client.command(sys.executable, "-m", "poptrio", "load", "192.0.2.1", "--user", "user%03d", "--json")
        with server_in(server, tmp_path) as process:
            shared = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            sources = ["--source", "198.51.100.1-10"]
            environment = os.environ | {"POPTRIO_PASSWORD": "secret"}
            options = ["--calls", "50", *sources, "--packets", "300", "--seconds", "1", "--size", "300"]
            done = subprocess.run([*program, *options], env=environment, timeout=60, check=False, **shared)
            assert (done.returncode, done.stderr) == (0, "")
            report = json.loads(done.stdout)
            assert report["clean"]
            assert report["set_ups"]["up"] == report["hang_ups"]["calls"] == 50
            assert report["set_ups"]["cpu"] > 0
            packets = report["packets"]
            assert packets["received"] > 0
            assert packets["lost"] == packets["sent"] - packets["received"]

            # One user is unknown; the others are held until we interrupt.
            options = ["--calls", "100", "--concurrency", "10", *sources, "--hold", "60"]
            with subprocess.Popen([*program, *options], env=environment, **shared) as running:
                ups = (line for line in process.stderr if "call up" in line)
                assert sum(1 for _ in itertools.islice(ups, 50 + 99)) == 50 + 99
                running.send_signal(signal.SIGINT)
                output, errors = running.communicate(timeout=30)
            assert (running.returncode, errors) == (1, "")
            report = json.loads(output)
            assert report["interrupted"]
            # The server may have known of the last ones before the client did.
            assert 89 <= report["set_ups"]["up"] == report["hang_ups"]["calls"] <= 99
            assert [(failure["step"], failure["count"]) for failure in report["failures"]] == [("authentication", 1)]
