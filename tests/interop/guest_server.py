"""The server under test in a guest: poptrio with the kernel's data path, which the machine outside does not have."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import traffic
from guest import Guest
from server import Poptrio, ServerError

PROGRAM = Path(traffic.__file__).resolve()
PORT = 5001
_PATHS = "export PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


class GuestTransfer:
    """The server's end of a TCP transfer, in the guest."""

    def __init__(self, guest: Guest, address: str, folder: str) -> None:
        self.port = PORT
        self._guest = guest
        self._result = f"{folder}/transfer"
        serve = f"{sys.executable} -S -E -B {PROGRAM} serve {address} {PORT} > {self._result} 2>&1"
        listening = f"grep -q ':{PORT:04X} 00000000:0000 0A' /proc/net/tcp"
        guest.must(
            f"rm -f {self._result}*; ({serve}; echo $? > {self._result}.status) < /dev/null > /dev/null 2>&1 &"
            f" until {listening}; do sleep 0.05; done"
        )

    def fault(self) -> str | None:
        """Wait for the end of the transfer; None when every byte came as it was sent, else what was wrong."""
        wait = f"until [ -s {self._result}.status ]; do sleep 0.05; done; cat {self._result}.status {self._result}"
        status, _, text = self._guest.must(wait, timeout=4 * traffic.TIMEOUT).partition("\n")
        return None if status == "0" else text or f"ended with status {status}"


class GuestPoptrio(Poptrio):
    """A `Poptrio` whose process, files, devices and routes are the guest's. Its log is copied at the end."""

    extra_settings: Mapping[str, object] = {"datapath": "kernel"}
    # A system call takes a hundred times as long in the guest.
    pause = 1.000
    set_up_share = 0.150

    def __init__(
        self, guest: Guest, folder: Path, secrets: Mapping[str, str], tables: Mapping[str, Mapping[str, object]]
    ) -> None:
        super().__init__(folder, secrets, tables)
        self.guest = guest
        self._there = f"/run/interop/{folder.name}"

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._log_file.write_text(self.log())

    def run(self, *command: str, timeout: float = 30.0) -> str:
        """Run a command in the guest, and return its output and errors."""
        return self.guest.run(f"{_PATHS}; {' '.join(command)}", timeout=timeout).output

    def transfer(self) -> GuestTransfer:
        """The server's end of a TCP transfer; the client's can begin."""
        return GuestTransfer(self.guest, self.inner_address, self._there)

    def log(self) -> str:
        """Everything that the server has written so far."""
        return self.guest.run(f"cat {self._there}/log 2>/dev/null").output

    def _write(self, name: str, text: str) -> None:
        self.guest.must(f"umask 077; mkdir -p {self._there}; cat > {self._there}/{name}", stdin=text)

    def _launch(self) -> None:
        there = self._there
        poptrio = f"{Path(sys.executable).parent / 'poptrio'} run {there}/config.toml"
        shell = f"{poptrio} >> {there}/log 2>&1 & echo $! > {there}/pid; wait $!; echo $? > {there}/status"
        environment = "export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 NO_COLOR=1"
        self.guest.must(
            f"{_PATHS}; {environment}; rm -f {there}/status {there}/pid;"
            f" setsid sh -c '{shell}' < /dev/null > /dev/null 2>&1 & until [ -s {there}/pid ]; do sleep 0.05; done"
        )

    def _status(self) -> int | None:
        output = self.guest.run(f"cat {self._there}/status 2>/dev/null || [ -e {self._there}/pid ] || echo 0").output
        return int(output) if output.strip() else None

    def _signal(self, number: signal.Signals) -> None:
        self.guest.run(f"kill -{number.value} $(cat {self._there}/pid)")

    def _wait_status(self, timeout: float) -> int | None:
        wait = f"timeout {timeout} sh -c 'until [ -s {self._there}/status ]; do sleep 0.05; done'"
        if self.guest.run(wait, timeout=timeout + 5.0).status not in (0, 124):
            raise ServerError("the guest of the server does not answer")
        return self._status()
