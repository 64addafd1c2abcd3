"""A guest: a User Mode Linux kernel with PPP, PPTP and MPPE, booted once for all rows, and commands in it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from guest_agent import PORT as AGENT_PORT
from network import GuestLinks

HERE = Path(__file__).resolve().parent
BOOT_TIMEOUT = 60.0  # seconds; it takes 3 to 4 on an idle machine


class GuestError(Exception):
    """The guest did not boot, or a command that had to succeed in it failed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command in the guest came to: exit status, and its output and errors together."""

    status: int
    output: str


class Guest:
    """A running guest. Use as a context manager; it is halted on the way out."""

    def __init__(self, links: GuestLinks, artefacts: Path, *, fresh: bool = True) -> None:
        """``fresh``: commands see files that have changed on the host; that costs programs that run their cache."""
        self._links = links
        self._fresh = fresh
        self._console = artefacts / f"{links.name}-console.log"
        self._uml_folder = artefacts / f"uml-{links.name}"
        self._process: subprocess.Popen[bytes] | None = None
        self.address = links.address

    def __enter__(self) -> "Guest":
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, command: str, *, stdin: str = "", timeout: float = 20.0) -> Finished:
        """Run a shell command in the guest and wait at most ``timeout`` seconds for its end (status 124 after that)."""
        request = {"command": command, "stdin": stdin, "timeout": timeout, "fresh": self._fresh}
        with socket.create_connection((self._links.agent_address, AGENT_PORT), timeout + 10.0) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        if not line:
            raise GuestError(f"the guest's agent closed the connection during: {command}")
        return Finished(**json.loads(line))

    def must(self, command: str, *, stdin: str = "", timeout: float = 20.0) -> str:
        """Run a command that has to succeed and return its output; raises `GuestError` when it fails."""
        finished = self.run(command, stdin=stdin, timeout=timeout)
        if finished.status != 0:
            raise GuestError(f"in the guest, `{command}` ended with {finished.status}: {finished.output.strip()}")
        return finished.output

    def _boot(self) -> None:
        self._uml_folder.mkdir()
        kernel = [
            # A harness that is killed outright must not leave a kernel behind.
            "setpriv", "--pdeathsig", "KILL",
            "linux.uml", "mem=256M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={HERE / 'guest-init'}",
            "con=null", "con0=fd:0,fd:1", "ssl=null", f"uml_dir={self._uml_folder}/", "umid=guest",
            f"eth0=tuntap,{self._links.tap}", f"eth1=tuntap,{self._links.agent_tap}",
            f"ADDRESS={self._links.address}/24", f"AGENT_ADDRESS={self._links.agent_address}/29",
            f"PYTHON={os.path.realpath(sys.executable)}", f"AGENT={HERE / 'guest_agent.py'}",
        ]  # fmt: skip
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                kernel,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=os.environ | _help_for_wide_processors(self._uml_folder),
                start_new_session=True,
            )
        deadline = time.monotonic() + BOOT_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise GuestError(f"the guest halted while it booted; its console: {self._console}")
            try:
                self.run("true", timeout=5.0)
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise GuestError(f"the guest did not answer within {BOOT_TIMEOUT:.0f} s; its console: {self._console}")

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            try:
                self.run("kill $PPID", timeout=3.0)  # the agent; guest-init halts when it ends
                process.wait(5.0)
            except (OSError, GuestError, subprocess.TimeoutExpired):
                pass
        # The kernel runs each guest process as a process of the host, all of them in the session made above.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _help_for_wide_processors(folder: Path) -> dict[str, str]:
    """User Mode Linux ends while it boots on a processor with AMX, unless it is helped (`wide_xstate.c`)."""
    if "amx_tile" not in Path("/proc/cpuinfo").read_text():
        return {}
    library = folder / "wide_xstate.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "wide_xstate.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}
