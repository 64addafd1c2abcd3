"""The how-to for an ISP, done as it stands there: PostgreSQL and FreeRADIUS on a machine that keeps nothing of it."""

import re
import subprocess
from pathlib import Path

from service import Service, ServiceError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "isp-with-freeradius.md"
COMMAND_TIMEOUT = 60.0  # seconds

# /etc and /var of the machine, but what is written there goes to a tmpfs, which ends with the namespace.
MAKE_MACHINE = """
mount -t tmpfs tmpfs /mnt
for folder in etc var; do
    mkdir /mnt/$folder /mnt/$folder.work
    mount -t overlay overlay -o lowerdir=/$folder,upperdir=/mnt/$folder,workdir=/mnt/$folder.work /$folder
done
mount -t tmpfs -o mode=755 tmpfs /run
install -d -m 2775 -o postgres -g postgres /run/postgresql
touch /mnt/made
exec sleep infinity
"""


def blocks(kind: str) -> list[str]:
    """The page's code blocks of this kind, in their order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


class IspMachine(Service):
    """A machine on which the page's commands were carried out; nothing of it is left afterwards."""

    def __init__(self, folder: Path) -> None:
        isolated = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        super().__init__("isp", [*isolated, "sh", "-ec", MAKE_MACHINE], folder / "isp", self._made)

    def start(self) -> None:
        """Make the machine, and do what the page says."""
        super().start()
        for commands in blocks("sh"):
            self.run(f"set -e\n{commands}")

    def run(self, commands: str) -> str:
        """Carry out shell commands on the machine; returns their output."""
        done = subprocess.run(
            [*self._inside(), "sh", "-c", f"export PGPASSWORD=radpass; {commands}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT,
        )
        if done.returncode != 0:
            raise ServiceError(f"a command of the page failed: {commands.strip()[:200]}: {done.stdout}")
        return done.stdout

    def bill(self) -> list[list[str]]:
        """The rows that the page's query finds, as lists of texts."""
        return self.query(blocks("sql")[0])

    def query(self, query: str) -> list[list[str]]:
        """The rows that a query finds, as lists of texts."""
        output = self.run(f"psql -h 127.0.0.1 -U radius radius --csv -t <<'END'\n{query}\nEND")
        return [line.split(",") for line in output.splitlines() if line]

    def _made(self) -> bool:
        try:
            self._inside()
        except OSError:
            return False
        return (
            subprocess.run([*self._inside(), "test", "-e", "/mnt/made"], check=False, capture_output=True).returncode
            == 0
        )

    def _inside(self) -> list[str]:
        """The command that enters the machine's namespaces; OSError until they are there."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        if not children:
            raise OSError("unshare has no child yet")
        return ["nsenter", "--target", children[0], "--mount", "--pid"]
