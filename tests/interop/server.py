"""The server under test: `poptrio run` with a config of the row's, its log, and what it must leave behind: nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from network import Network
from traffic import Transfer, TransferServer

READY_TIMEOUT = 20.0  # seconds, from the start to the line that says listening
POLL_INTERVAL = 0.05
LISTENING = "listening"
INNER = ("10.90.", "10.91.", "10.92.", "10.77.")  # networks that only calls have
INTERFACE = "poptrio0"

DEFAULTS: dict[str, dict[str, object]] = {
    "server": {"listen": [f"{Network.server_address}:1723"], "interface": INTERFACE},
    "ppp": {
        "mtu": 1400,
        "authentication": ["mschap-v2"],
        "encryption": "require",
        "encryption_bits": [128],
        "encryption_mode": "any",
    },
    "addresses": {"server": "10.90.0.1", "pool": ["10.90.0.2-10.90.0.254"]},
    "authentication": {"plugins": ["chap-secrets"]},
    "management": {"socket": "poptrio.sock"},
    "plugins.chap-secrets": {"file": "chap-secrets"},
}


class ServerError(Exception):
    """The server did not do what the row expects of it."""


class Poptrio:
    """One run of the server. Use as a context manager: it listens inside, and has ended outside."""

    address = Network.server_address
    inner_address = "10.90.0.1"
    interface = INTERFACE

    def __init__(self, folder: Path, secrets: Mapping[str, str], tables: Mapping[str, Mapping[str, object]]) -> None:
        self._folder = folder
        self._log_file = folder / "server.log"
        self._secrets = secrets
        self._tables = tables
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Poptrio":
        config = {name: DEFAULTS.get(name, {}) | dict(self._tables.get(name, {})) for name in self._table_names()}
        config["server"] |= self.extra_settings
        self._write("config.toml", _toml(config))
        self._write("chap-secrets", "".join(f'"{user}" * "{secret}" *\n' for user, secret in self._secrets.items()))
        self.start()
        return self

    def start(self) -> None:
        """Start it, as for a second time after `kill`, and wait until it listens."""
        starts = self.log().count(LISTENING)
        self._launch()
        try:
            self._wait(lambda: self.log().count(LISTENING) > starts, "its line that it is listening", READY_TIMEOUT)
        except BaseException:
            self._end()
            raise

    def kill(self) -> None:
        """SIGKILL: it has no time to say goodbye to anybody."""
        self._signal(signal.SIGKILL)
        self._wait_status(5.0)

    def __exit__(self, *_: object) -> None:
        self._end()

    def _table_names(self) -> list[str]:
        """Those of the defaults and of the row, but without the tables of plugins that the row does not use."""
        plugins = self._tables.get("authentication", DEFAULTS["authentication"])["plugins"]
        assert isinstance(plugins, list)
        names = dict.fromkeys([*DEFAULTS, *self._tables])
        return [name for name in names if not name.startswith("plugins.") or name.split(".")[1] in plugins]

    def wait_for(self, pattern: str, timeout: float = 10.0) -> str:
        """Wait until the log has a match of ``pattern`` and return its line; `ServerError` if it does not come."""

        def matching() -> str | None:
            return next((line for line in self.log().splitlines() if re.search(pattern, line, re.IGNORECASE)), None)

        self._wait(lambda: matching() is not None, f"/{pattern}/ in its log", timeout)
        found = matching()
        assert found is not None
        return found

    def upgrade(self) -> None:
        """Send SIGUSR2; returns at once."""
        self._signal(signal.SIGUSR2)

    def terminate(self) -> None:
        """Send SIGTERM; returns at once."""
        self._signal(signal.SIGTERM)

    def wait_stopped(self, timeout: float = 15.0) -> None:
        """Wait for the end after `terminate`; `ServerError` unless status is 0 and no device or route is left."""
        status = self._wait_status(timeout)
        if status is None:
            raise ServerError(f"the server was still running {timeout:.0f} s after SIGTERM")
        if status != 0:
            raise ServerError(f"the server ended with status {status} after SIGTERM")
        self.check_nothing_left()

    def check_nothing_left(self) -> None:
        """Raises `ServerError` when a device or a route of the server is there."""
        devices = [line for line in self.run("ip", "-brief", "link").splitlines() if line.startswith(self.interface)]
        if devices:
            raise ServerError(f"the server left {devices[0].split()[0]} behind")
        routes = [line for line in self.run("ip", "route", "show").splitlines() if line.startswith(INNER)]
        if routes:
            raise ServerError(f"the server left a route behind: {routes[0]}")

    def check_log(self) -> None:
        """Raises `ServerError` when the log has a traceback, or a password in it."""
        log = self.log()
        if "Traceback (most recent call last)" in log:
            raise ServerError("there is a traceback in the server's log")
        if any(secret in log for secret in self._secrets.values()):
            raise ServerError("there is a password in the server's log")

    def _wait(self, happened: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not happened():
            if self._status() is not None and not happened():
                raise ServerError(f"the server ended before there was {what}")
            if time.monotonic() > deadline:
                raise ServerError(f"the server: waited {timeout:.0f} s in vain for {what}")
            time.sleep(POLL_INTERVAL)

    def _end(self) -> None:
        if self._status() is None:
            self._signal(signal.SIGTERM)
            if self._wait_status(5.0) is None:
                self.kill()

    # What is different where it runs elsewhere (`guest_server`).

    extra_settings: Mapping[str, object] = {}
    pause = 0.150  # seconds: a server's share like this is no busy machine any more, but a pause
    set_up_share = 0.030  # seconds of a set-up that may be the server's own, where it is measured

    def run(self, *command: str, timeout: float = 30.0) -> str:
        """Run a command where the server is, and return its output and errors."""
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=timeout
        ).stdout

    def transfer(self) -> Transfer:
        """The server's end of a TCP transfer; the client's can begin."""
        return TransferServer(self.inner_address)

    def log(self) -> str:
        """Everything that the server has written so far."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def _write(self, name: str, text: str) -> None:
        file = self._folder / name
        file.touch(mode=0o600)
        file.write_text(text)

    def _launch(self) -> None:
        command = [Path(sys.executable).parent / "poptrio", "run", self._folder / "config.toml"]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
                start_new_session=True,
            )

    def _status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll() if self._process is not None else 0

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait_status(self, timeout: float) -> int | None:
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None


def _toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """The tables as TOML, each value on one line."""
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_toml_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    """Strings, numbers and booleans are written as in JSON; a mapping is an inline table."""
    match value:
        case Mapping():
            return "{ " + ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(_toml_value, value)) + "]"
        case _:
            return json.dumps(value)
