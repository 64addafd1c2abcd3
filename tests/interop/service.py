"""A server program that a row needs beside poptrio: started, watched, killed and started again."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

POLL_INTERVAL = 0.05
READY_TIMEOUT = 20.0  # seconds


class ServiceError(Exception):
    """A back end did not start, or did not do what the row needs of it."""


class Service:
    """One program in the foreground, its output in ``folder``. A context manager: it runs inside."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, ready: Callable[[], bool]) -> None:
        self.name = name
        self.folder = folder
        self.log_file = folder.parent / f"{name}.log"
        self._command = list(command)
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it serves."""
        program = shutil.which(self._command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            raise ServiceError(f"{self._command[0]} is not installed")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", program, *self._command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until(self._ready, f"{self.name} to serve", READY_TIMEOUT)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: it has no time to say goodbye."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        self._end(signal.SIGTERM)

    def log(self) -> str:
        """Everything that it has written so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_until(self, happened: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
        """Wait until ``happened``; `ServiceError` with ``what`` when it does not, or when the program has ended."""
        deadline = time.monotonic() + timeout
        while not happened():
            if self._process is not None and self._process.poll() is not None:
                raise ServiceError(f"{self.name} has ended: {self.log()[-500:]}")
            if time.monotonic() > deadline:
                raise ServiceError(f"waited {timeout:.0f} s in vain for {what}: {self.log()[-500:]}")
            time.sleep(POLL_INTERVAL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
