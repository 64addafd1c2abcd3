"""A slapd of our own for the tests marked ``slapd``: certificates, a small directory, start, kill, start again.

tmp/  slapd.conf  ldif  db/  ca.pem  server.pem  server.key  other-ca.pem
slapd -h "ldap://127.0.0.1:PORT ldaps://127.0.0.1:PORT"
"""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

SLAPD = Path("/usr/sbin/slapd")
SCHEMAS = Path("/etc/ldap/schema")
HERE = Path(__file__).parent
BIND_DN = "cn=poptrio,dc=example,dc=org"
BIND_PASSWORD = "service"


class Slapd:
    """OpenLDAP in ``folder`` with the entries of ``directory.ldif``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.tls_port = itertools.islice(_free_ports(), 2)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "db").mkdir()
        _make_certificates(folder)
        text = (HERE / "slapd.conf").read_text().replace("@FOLDER@", str(folder)).replace("@SCHEMAS@", str(SCHEMAS))
        self._configuration = folder / "slapd.conf"
        self._configuration.write_text(text.replace("@TESTS@", str(HERE)))
        _run(["/usr/sbin/slapadd", "-q", "-f", self._configuration, "-l", HERE / "directory.ldif"])

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://127.0.0.1:{self.tls_port}"

    def start(self) -> None:
        """Returns when it answers."""
        urls = f"{self.url} {self.tls_url}"
        self._process = subprocess.Popen(
            [SLAPD, "-f", self._configuration, "-h", urls, "-d", "0"], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.tls_port)) == 0:
                    return
            time.sleep(0.005)
        raise AssertionError("slapd does not listen")

    def kill(self) -> None:
        """As by ``kill -9``; returns when it is gone."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # a thread on another core may still be answering

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None, "slapd does not run"
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self.kill()


@pytest.fixture
def log_output() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture(scope="session")
def slapd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slapd")


@pytest.fixture(scope="module")
def running_slapd(slapd_folder: Path) -> Iterator[Slapd]:
    slapd = Slapd(slapd_folder)
    slapd.start()
    yield slapd
    slapd.stop()


@pytest.fixture
def slapd(running_slapd: Slapd) -> Slapd:
    """It runs when a test begins, whatever the last one did to it."""
    if running_slapd._process is None:
        running_slapd.start()
    return running_slapd


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [str(path) for path in (SLAPD, SCHEMAS / "core.schema") if not path.exists()]
    missing += ["openssl"] if shutil.which("openssl") is None else []
    for item in items:
        if missing and item.get_closest_marker("slapd"):
            item.add_marker(pytest.mark.skip(reason=f"no {' and no '.join(missing)} here"))


def _make_certificates(folder: Path) -> None:
    """A CA, a certificate for 127.0.0.1 that it signed, and another CA that signed nothing."""
    new_ca = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for name in ("ca", "other-ca"):
        _run([*new_ca, "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", "-subj", f"/CN={name}"])
    signed = ["-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", folder / "server.key", "-out", folder / "server.pem", "-subj", "/CN=slapd"]
    _run([*new_ca, *files, *signed, "-addext", "basicConstraints=critical,CA:FALSE"])


def _free_ports() -> Iterator[int]:
    """Ports of which no socket picks one by itself, so that they stay free while slapd is down."""
    for port in range(20000 + os.getpid() % 10000, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                yield port


def _run(command: list[object]) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
