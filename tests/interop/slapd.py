"""Debian's slapd with one user, who has a password to bind with and an NT hash; simple binds need StartTLS."""

import shutil
import socket
import subprocess
from pathlib import Path

from certificates import Authority
from service import Service

from poptrio.crypto.mschap import nt_password_hash

TEMPLATES = Path(__file__).resolve().parent / "slapd"
ADDRESS = "127.0.0.1"
URL = f"ldap://{ADDRESS}:389"
SERVICE_DN = "cn=poptrio,dc=example,dc=org"


class Slapd(Service):
    """A slapd in a folder of its own; ``authority`` has signed its certificate."""

    def __init__(self, folder: Path, password: str) -> None:
        self.authority = Authority(folder / "certificates")
        certificate = self.authority.sign("slapd", f"IP:{ADDRESS}")
        own = folder / "slapd"
        shutil.copytree(TEMPLATES, own)
        (own / "db").mkdir()
        words = {
            "@FOLDER": str(own),
            "@CERTIFICATE": str(certificate.file),
            "@CA": str(self.authority.file),
            "@KEY": str(certificate.key),
            "@PASSWORD": password,
            "@NTHASH": nt_password_hash(password).hex().upper(),
        }
        for file in TEMPLATES.iterdir():
            text = file.read_text()
            for word, value in words.items():
                text = text.replace(word, value)
            (own / file.name).write_text(text)
        config = str(own / "slapd.conf")
        subprocess.run(
            ["slapadd", "-f", config, "-l", str(own / "people.ldif")],
            check=True,
            capture_output=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        super().__init__("slapd", ["slapd", "-d", "0", "-f", config, "-h", URL], own, _listens)


def _listens() -> bool:
    try:
        socket.create_connection((ADDRESS, 389), 1.0).close()
    except OSError:
        return False
    return True
