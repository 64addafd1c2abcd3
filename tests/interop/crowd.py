"""A second host on the bridge, for the many clients of `callers.py`: a namespace that ends with its process."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from network import Network, ip

PROGRAM = Path(__file__).resolve().parent / "callers.py"
ADDRESS = "192.0.2.3"


class CrowdError(Exception):
    """The crowd did not run as it should."""


@dataclass(frozen=True, slots=True)
class CrowdReport:
    """How many calls failed, and of each that was up: inner address, octets sent and received by the client."""

    failures: int
    calls: list[tuple[str, int, int]]


class Crowd:
    """Clients that dial for a while, started at once; `report` waits for their end. A context manager."""

    def __init__(self, user: str, password: str, *, callers: int, seconds: float, seed: int) -> None:
        self._seconds = seconds
        self._host = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "600"])
        self._arguments = [Network.server_address, user, password, str(callers), str(seconds), str(seed)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Crowd":
        try:
            self._join_bridge()
            command = [*self._inside(), sys.executable, str(PROGRAM), *self._arguments]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._process, self._host):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    def report(self) -> CrowdReport:
        """Wait until every call is over, and tell what the clients counted."""
        assert self._process is not None
        output, errors = self._process.communicate(timeout=self._seconds + 60.0)
        if self._process.returncode != 0:
            raise CrowdError(f"the clients failed: {errors[-500:]}")
        report = json.loads(output)
        calls = [(call["address"], call["sent"], call["received"]) for call in report["calls"]]
        return CrowdReport(report["failures"], calls)

    def _join_bridge(self) -> None:
        home = Path("/proc/self/ns/net").readlink()
        theirs = Path(f"/proc/{self._host.pid}/ns/net")
        while theirs.readlink() == home:  # until unshare(1) has done its work
            time.sleep(0.01)
        pid = str(self._host.pid)
        ip("link", "add", "interop-crowd", "type", "veth", "peer", "name", "eth0", "netns", pid)
        ip("link", "set", "interop-crowd", "master", Network.bridge, "up")
        for command in (f"address add {ADDRESS}/24 dev eth0", "link set eth0 up", "link set lo up"):
            subprocess.run([*self._inside(), "ip", *command.split()], check=True)

    def _inside(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._host.pid}/ns/net"]
