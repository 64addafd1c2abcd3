"""A poptrio server in one namespace and clients in another, for the benchmarks that need whole processes."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from poptrio.testing.namespaces import Namespace, join

SERVER, CLIENT = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
SOURCES = 240
"""Client addresses, because the server takes only so many calls from each."""

FIRST_SOURCE = IPv4Address("198.18.0.1")
USER, PASSWORD = "bench", "bench"
START_TIMEOUT = 20.0
TICK = 1 / os.sysconf("SC_CLK_TCK")

Row = TypeVar("Row", bound=Any)  # a dataclass

CONFIG = """
[server]
max_calls = 15000
max_unauthenticated = 5000
[addresses]
pool = ["10.90.0.2-10.90.63.254"]
"""

MANAGEMENT = """
[management]
socket = "poptrio.sock"
"""


@dataclass(slots=True)
class Server:
    """A server process."""

    process: "subprocess.Popen[str]"
    log: Path
    longest_pause: float = 0.0

    def cpu(self) -> float:
        """Seconds of CPU time so far, kernel and user."""
        return cpu_of(self.process.pid)

    def resident(self) -> int:
        """Octets of resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def report(self) -> dict[str, Any]:
        """What `watched_server.py` says; ``longest_pause`` is the longest of all reports since it was set to 0."""
        self.process.send_signal(signal.SIGUSR1)
        assert self.process.stdout is not None
        facts: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.longest_pause = max(self.longest_pause, facts["longest_pause"])
        return facts


@dataclass(slots=True)
class Stage:
    """The two namespaces, and the folder with the server's files."""

    server_place: Namespace
    client_place: Namespace
    folder: Path

    @contextmanager
    def server(self, config: str = CONFIG, *, watched: bool = True) -> Iterator[Server]:
        """A running server; stopped at the end, killed if it does not stop. One that is not watched cannot report."""
        (self.folder / "config.toml").write_text(config + MANAGEMENT, "utf-8")
        secrets = self.folder / "chap-secrets"
        secrets.write_text(f"{USER} * {PASSWORD} *\n", "utf-8")
        secrets.chmod(0o600)
        log = self.folder / "log"
        program = [str(Path(__file__).with_name("watched_server.py"))] if watched else ["-m", "poptrio", "run"]
        command = self.server_place.command(sys.executable, *program, str(self.folder / "config.toml"))
        with log.open("w") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while "listening" not in log.read_text("utf-8"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server does not start: {log.read_text('utf-8')[-2000:]}")
                time.sleep(0.05)
            yield Server(process, log)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def load(self, calls: int, *options: str) -> "subprocess.Popen[str]":
        """`poptrio load` at work; its standard output is its JSON."""
        sources = f"{FIRST_SOURCE}-{FIRST_SOURCE + SOURCES - 1}"
        command = self.client_place.command(
            *(sys.executable, "-m", "poptrio", "load", str(SERVER), "--calls", str(calls), "--user", USER),
            *("--password", PASSWORD, "--source", sources, "--json", *options),
        )
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def cpu_of(pid: int) -> float:
    """Seconds of CPU time of a process so far, kernel and user."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def print_rows(about: str | None, measure: Callable[[Stage], list[Row]], shown: Callable[[Row], str]) -> None:
    """What such a benchmark does as a program: ``measure``, and print a line for each row, or JSON if it is asked."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    arguments = parser.parse_args()
    with stage() as place:
        rows = measure(place)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        for row in rows:
            print(shown(row))


def result_of(load: "subprocess.Popen[str]") -> dict[str, Any]:
    """What `poptrio load` found. Raises SystemExit with its complaint when it printed nothing."""
    output, errors = load.communicate()
    if not output:
        raise SystemExit(f"poptrio load failed: {errors}")
    found: dict[str, Any] = json.loads(output)
    return found


@contextmanager
def stage() -> Iterator[Stage]:
    """The namespaces, joined by a cable; the client has many addresses."""
    with (
        Namespace("s") as server,
        Namespace("c") as client,
        tempfile.TemporaryDirectory(prefix="poptrio-bench-") as folder,
    ):
        join(server, str(SERVER), client, str(CLIENT))
        for number in range(SOURCES):
            client.run("ip", "address", "add", f"{FIRST_SOURCE + number}/32", "dev", "lo")
        server.run("ip", "route", "add", "198.18.0.0/15", "via", str(CLIENT))
        yield Stage(server, client, Path(folder))
