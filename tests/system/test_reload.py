"""`poptrio run` takes another configuration by SIGHUP, and drains, with real processes, routes and calls."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from tcp_door import make_certificate

from poptrio.testing.namespaces import Namespace, join

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces, raw sockets and /dev/net/tun"),
]

PATIENCE = 30.0
PROGRAM = (sys.executable, "-m", "poptrio")
CONFIG = """
[server]
workers = {workers}
[addresses]
pool = ["{pool}"]
[log]
format = "json"
[management]
socket = "poptrio.sock"
listen = ["127.0.0.1:8443"]
"""
ASK = """
import ssl, sys, urllib.request
_, certificate, token = sys.argv
request = urllib.request.Request("https://127.0.0.1:8443/v1/stats", headers={"Authorization": f"Bearer {token}"})
urllib.request.urlopen(request, context=ssl.create_default_context(cafile=certificate), timeout=5).close()
"""


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another process does, and nobody signals."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.05)


class Program:
    """`poptrio run` in ``folder``, with its log."""

    def __init__(self, folder: Path, namespace: Namespace, workers: int) -> None:
        self.folder = folder
        self._namespace = namespace
        self._workers = workers
        self.configure("10.90.0.2-254")
        self.passwords("old")
        self.renew("the token of the beginning")
        with (folder / "log").open("w") as stderr:
            command = namespace.command(*PROGRAM, "run", str(folder / "config.toml"))
            self.process = subprocess.Popen(command, stderr=stderr)

    def configure(self, pool: str, more: str = "") -> None:
        (self.folder / "config.toml").write_text(CONFIG.format(workers=self._workers, pool=pool) + more)

    def passwords(self, password: str) -> None:
        (self.folder / "new").write_text(f"* * {password} *\n")
        (self.folder / "new").chmod(0o600)
        (self.folder / "new").rename(self.folder / "chap-secrets")

    def renew(self, token: str) -> None:
        """Another certificate and this token for the API over TCP."""
        make_certificate(self.folder)
        (self.folder / "token").write_text(token)
        (self.folder / "token").chmod(0o600)

    def answers(self, token: str) -> bool:
        """Whether the API shows the certificate that is in the folder now, and takes the token."""
        command = self._namespace.command(sys.executable, "-c", ASK, str(self.folder / "certificate.pem"), token)
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def logged(self, event: str) -> list[dict]:
        lines = (self.folder / "log").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def routes(self) -> set[str]:
        found = json.loads(self._namespace.run("ip", "-json", "route", "show"))
        return {route["dst"] for route in found if route["dev"] == "poptrio0"}

    async def reload(self, event: str) -> None:
        before = len(self.logged(event))
        self.process.send_signal(signal.SIGHUP)
        await until(lambda: len(self.logged(event)) > before)


@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_changes_pools_and_secrets_under_a_call_and_a_drain_ends_it(workers, tmp_path):
    with (
        Namespace("server") as server,
        Namespace("client") as client,
        Namespace("other") as other,
        trio.fail_after(PATIENCE),
    ):
        join(server, "192.0.2.1", client, "192.0.2.2")
        join(server, "198.51.100.1", other, "198.51.100.2")
        program = Program(tmp_path, server, workers)
        calls = []

        def dial(host: Namespace, gateway: str, password: str) -> None:
            line = host.command(*PROGRAM, "dial", gateway, "--user", "alice", "--password", password)
            calls.append(subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        try:
            await until(lambda: program.logged("listening"))
            dial(client, "192.0.2.1", "old")
            await until(lambda: len(program.logged("call up")) == 1)

            program.configure("10.91.0.1-254")
            program.passwords("new")
            assert program.answers("the token of the beginning")
            program.renew("the token that came later")
            await program.reload("reloaded")
            assert {"10.90.0.0/24", "10.91.0.0/24"} <= program.routes() or workers == 2
            assert program.answers("the token that came later")
            assert not program.answers("the token of the beginning")
            dial(other, "198.51.100.1", "new")
            await until(lambda: len(program.logged("call up")) == 2)
            addresses = [entry["address"] for entry in program.logged("call up")]
            assert addresses == ["10.90.0.2", "10.91.0.1"]
            for address in addresses:  # the older call goes on, on an address that is in no pool any more
                await trio.run_process(server.command("ping", "-c1", "-W5", address), capture_stdout=True)

            program.configure("10.92.0.2-254", "group = 7")
            await program.reload("reload refused")
            (fault,) = program.logged("reload refused")[0]["faults"]
            assert fault.startswith(f"{tmp_path}/config.toml:11: management.group: 7 is a whole number")
            assert not any(route.startswith("10.92.") for route in program.routes())

            calls[0].terminate()
            await until(lambda: "10.90.0.0/24" not in program.routes())
            drain = [*PROGRAM, "drain", "--seconds", "0", "--socket", str(tmp_path / "poptrio.sock")]
            await trio.run_process(drain, capture_stdout=True)
            await until(lambda: program.process.poll() is not None)
            assert program.process.returncode == 0
            assert [entry["cause"] for entry in program.logged("call ended")] == ["client-hung-up", "server-shutdown"]
        finally:
            for process in (*calls, program.process):
                process.kill()
                process.wait()
