"""Debian's FreeRADIUS for the rows that authenticate and account by RADIUS, and what it has written down."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from service import Service, ServiceError

RADDB = Path(__file__).resolve().parent / "raddb"
ADDRESS = "127.0.0.1"
SECRET = "testing123"
COA_PORT = 3799

CONFIG: dict[str, object] = {
    "servers": [{"address": ADDRESS, "secret": SECRET}],
    "timeout": 1.0,
    "tries": 2,
    "nas_identifier": "poptrio",
    "coa": {"listen": f"{ADDRESS}:{COA_PORT}", "clients": [{"address": ADDRESS, "secret": SECRET}]},
}
"""``[plugins.radius]`` of a server that asks it, but for the spool."""

Record = Mapping[str, str]
"""One accounting request by attribute; of an attribute that came several times, the last value."""


class FreeRadius(Service):
    """A FreeRADIUS with the users of ``raddb/users``, all with one password."""

    def __init__(self, folder: Path, password: str) -> None:
        self.raddb = folder / "raddb"
        super().__init__(
            "freeradius", ["freeradius", "-f", "-l", "stdout", "-d", str(self.raddb)], self.raddb, self._up
        )
        shutil.copytree(RADDB, self.raddb)
        for file in self.raddb.iterdir():
            text = file.read_text()
            file.write_text(text.replace("@FOLDER", str(self.raddb)).replace("@PASSWORD", password))

    def records(self) -> list[Record]:
        """The accounting requests that it has acknowledged, in the order in which they came."""
        detail = self.raddb / "detail"
        text = detail.read_text(errors="replace") if detail.exists() else ""
        return [_record(paragraph) for paragraph in text.split("\n\n") if paragraph.strip()]

    def record(self, kind: str, timeout: float = 10.0, **attributes: str) -> Record:
        """Wait for the newest ``kind`` ("Start", "Interim-Update", "Stop") with these attributes (``_`` is ``-``)."""
        wanted = {"Acct-Status-Type": kind, **{name.replace("_", "-"): value for name, value in attributes.items()}}

        def matching() -> list[Record]:
            return [record for record in self.records() if wanted.items() <= record.items()]

        self.wait_until(lambda: bool(matching()), f"an Accounting-Request with {wanted}", timeout)
        return matching()[-1]

    def _up(self) -> bool:
        # Each start writes it once more.
        return self.log().count("Ready to process requests") > self._readies

    def start(self) -> None:
        self._readies = self.log().count("Ready to process requests")
        super().start()


def send(kind: str, attributes: Mapping[str, str], *, port: int = COA_PORT, secret: str = SECRET) -> str:
    """Send a ``disconnect`` or ``coa`` request by radclient; returns everything that it prints of the answer."""
    lines = "".join(f'{name} = "{value}"\n' for name, value in attributes.items())
    done = subprocess.run(
        ["radclient", "-x", "-r", "2", "-t", "2", f"{ADDRESS}:{port}", kind, secret],
        input=f"Message-Authenticator = 0x00\n{lines}",
        capture_output=True,
        text=True,
        check=False,
        timeout=20.0,
    )
    answer = re.search(r"^Received .*", done.stdout, re.MULTILINE | re.DOTALL)
    if answer is None:
        raise ServiceError(f"radclient got no answer: {done.stdout}{done.stderr}")
    return answer[0]


def _record(paragraph: str) -> Record:
    pairs = re.findall(r"^\t([\w-]+)(?::\d+)? = (.*)$", paragraph, re.MULTILINE)
    return {name: value.strip('"') for name, value in pairs}
