"""What the API needs over TCP: a token, a free port, and a certificate."""

import itertools
import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

TOKEN = "a token of the tests, long enough"


def make_certificate(folder: Path, days: int = 2) -> None:
    """``certificate.pem`` for localhost, and ``key.pem``."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", folder / "key.pem"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    out = ["-out", folder / "certificate.pem", "-days", str(days)]
    subprocess.run(["openssl", "req", "-x509", *key, *name, *out], check=True, capture_output=True)


_LOWEST, _COUNT, _EACH = 10_000, 20_000, 100
_ports = itertools.count()


def free_port() -> int:
    """A TCP port on which nobody listens, and nobody will: the kernel chooses higher ones by itself.

    Test processes side by side have different ones.
    """
    while True:
        port = _LOWEST + (os.getpid() * _EACH + next(_ports)) % _COUNT
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
