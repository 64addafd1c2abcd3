"""Certificates for the rows with TLS: an authority, and what it has signed. Made by openssl, valid for a day."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """Two PEM files."""

    file: Path
    key: Path


class Authority:
    """A certificate authority in a folder of its own; ``file`` is its certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._own = Certificate(folder / "ca.pem", folder / "ca.key")
        self.file = self._own.file
        self._make(self._own, "/CN=interop authority", ["-x509", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])

    def sign(self, name: str, alternative: str) -> Certificate:
        """A certificate for ``name``; ``alternative`` is its subjectAltName, as ``IP:127.0.0.1``."""
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        signed_by = ["-x509", "-CA", str(self._own.file), "-CAkey", str(self._own.key)]
        extensions = (f"subjectAltName={alternative}", "basicConstraints=critical,CA:FALSE")
        self._make(made, f"/CN={name}", [*signed_by, *(word for text in extensions for word in ("-addext", text))])
        return made

    def _make(self, made: Certificate, subject: str, how: list[str]) -> None:
        command = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", subject]
        command += ["-keyout", str(made.key), "-out", str(made.file), *how]
        subprocess.run(command, check=True, capture_output=True)
