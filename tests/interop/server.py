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

from network import Network, ip, link_exists

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
        self._config_file = self._folder / "config.toml"
        self._config_file.write_text(_toml(config))
        secrets_file = self._folder / "chap-secrets"
        secrets_file.touch(mode=0o600)
        secrets_file.write_text("".join(f'"{user}" * "{secret}" *\n' for user, secret in self._secrets.items()))
        self.start()
        return self

    def start(self) -> None:
        """Start it, as for a second time after `kill`, and wait until it listens."""
        starts = self.log().count(LISTENING)
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", Path(sys.executable).parent / "poptrio", "run", self._config_file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
                start_new_session=True,
            )
        try:
            self._wait(lambda: self.log().count(LISTENING) > starts, "its line that it is listening", READY_TIMEOUT)
        except BaseException:
            self._kill()
            raise

    def kill(self) -> None:
        """SIGKILL: it has no time to say goodbye to anybody."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self._kill()

    def _table_names(self) -> list[str]:
        """Those of the defaults and of the row, but without the tables of plugins that the row does not use."""
        plugins = self._tables.get("authentication", DEFAULTS["authentication"])["plugins"]
        assert isinstance(plugins, list)
        names = dict.fromkeys([*DEFAULTS, *self._tables])
        return [name for name in names if not name.startswith("plugins.") or name.split(".")[1] in plugins]

    def log(self) -> str:
        """Everything that the server has written so far."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def wait_for(self, pattern: str, timeout: float = 10.0) -> str:
        """Wait until the log has a match of ``pattern`` and return its line; `ServerError` if it does not come."""

        def matching() -> str | None:
            return next((line for line in self.log().splitlines() if re.search(pattern, line, re.IGNORECASE)), None)

        self._wait(lambda: matching() is not None, f"/{pattern}/ in its log", timeout)
        found = matching()
        assert found is not None
        return found

    def terminate(self) -> None:
        """Send SIGTERM; returns at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait_stopped(self, timeout: float = 15.0) -> None:
        """Wait for the end after `terminate`; `ServerError` unless status is 0 and no device or route is left."""
        assert self._process is not None
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerError(f"the server was still running {timeout:.0f} s after SIGTERM") from None
        if status != 0:
            raise ServerError(f"the server ended with status {status} after SIGTERM")
        if link_exists(self.interface):
            raise ServerError(f"the server left {self.interface} behind")
        routes = [line for line in ip("route", "show").splitlines() if line.startswith(INNER)]
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
            if self._process is not None and self._process.poll() is not None and not happened():
                raise ServerError(f"the server ended before there was {what}")
            if time.monotonic() > deadline:
                raise ServerError(f"the server: waited {timeout:.0f} s in vain for {what}")
            time.sleep(POLL_INTERVAL)

    def _kill(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


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
