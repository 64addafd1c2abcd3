"""Interoperability: Debian's pppd and pptp-linux, in a User Mode Linux guest, dial the server of this checkout.

    .venv/bin/python tests/interop/run.py [--datapath kernel] [--row NAME]… [--json] [--keep]

With ``--datapath kernel`` the server is in a second guest, whose kernel has PPTP.

Needs root and /dev/net/tun; installs missing Debian packages with apt-get. Exit status: 0 every row passed, 1 one
failed, 2 it cannot be run here.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from client import ClientError
from crowd import CrowdError
from guest import Guest, GuestError
from network import Network
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rows import KERNEL_ROWS, ROWS, Row
from server import ServerError
from service import ServiceError
from stage import Outcome, RowFailed, Stage

PACKAGES = (
    "user-mode-linux",
    "gcc",
    "libc6-dev",
    "iptables",
    "pptp-linux",
    "ppp",
    "tshark",
    "freeradius",
    "freeradius-utils",
    "freeradius-postgresql",
    "postgresql",
    "radsecproxy",
    "openssl",
    "slapd",
    "iputils-ping",
    "iproute2",
    "kmod",
    "procps",
    "util-linux",
)
FAILURES = (RowFailed, ClientError, ServerError, ServiceError, GuestError, CrowdError)
LOG_LINES_SHOWN = 25
TABLE_WIDTH = 160  # where there is no terminal that has one

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Result:
    """One row played: ``fault`` is None when it passed."""

    row: Row
    outcome: Outcome
    fault: str | None
    seconds: float
    folder: Path


def main() -> int:
    """Play the rows that were asked for; returns the exit status."""
    arguments = _arguments()
    table = KERNEL_ROWS if arguments.datapath == "kernel" else ROWS
    part, parts = arguments.part
    rows = [row for row in table if not arguments.row or row.name in arguments.row][part - 1 :: parts]
    if (obstacle := _obstacle()) is not None:
        progress.print(f"[red]make interop cannot run here:[/] {escape(obstacle)}")
        return 2
    _install_packages()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="poptrio-interop-"))
    keep = arguments.keep
    try:
        results = _play(rows, folder, server_in_guest=arguments.datapath == "kernel")
        keep = keep or any(result.fault for result in results)
    except GuestError as error:
        progress.print(f"[red]the guest failed:[/] {escape(str(error))}")
        keep = True
        return 1
    except KeyboardInterrupt:
        progress.print("interrupted")
        return 1
    finally:
        if keep:
            progress.print(f"logs and captures are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        print(json.dumps([_as_json(result) for result in results], indent=2))
    else:
        wide = None if sys.stdout.isatty() else TABLE_WIDTH
        Console(width=wide).print(_table(results))
    for result in results:
        if result.fault:
            _explain(result)
    return 1 if any(result.fault for result in results) else 0


def _interrupt(*_: object) -> None:
    """Leave through the `finally` and `with` blocks, undisturbed by further signals."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


def _play(rows: list[Row], folder: Path, *, server_in_guest: bool) -> list[Result]:
    Network.enter(server_in_guest=server_in_guest)
    started = time.monotonic()
    with Guest(Network.clients, folder) as guest, ExitStack() as exits:
        server_guest = exits.enter_context(Guest(Network.server, folder, fresh=False)) if server_in_guest else None
        progress.print(f"booted in {time.monotonic() - started:.1f} s")
        results = []
        for number, row in enumerate(rows, 1):
            progress.print(f"[{number}/{len(rows)}] {row.name} … ", end="", markup=False)
            result = _play_row(guest, server_guest, row, folder / row.name)
            progress.print(f"{_verdict(result)} ({result.seconds:.1f} s)")
            results.append(result)
    return results


def _play_row(guest: Guest, server_guest: Guest | None, row: Row, folder: Path) -> Result:
    folder.mkdir()
    started = time.monotonic()
    stage = Stage(guest, folder, {"alice": secrets.token_hex(8), "bob": secrets.token_hex(8)}, row.dial, server_guest)
    fault = None
    try:
        with stage:
            row.play(stage)
            stage.finish()
    except (
        RowFailed,
        ClientError,
        ServerError,
        ServiceError,
        GuestError,
        OSError,
        subprocess.SubprocessError,
    ) as error:
        fault = str(error) or repr(error)
    return Result(row, stage.outcome, fault, time.monotonic() - started, folder)


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not 1 <= int(part) <= int(parts):
        raise ValueError(text)
    return int(part), int(parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Dial poptrio with Debian's pppd and pptp-linux.")
    names = list(dict.fromkeys(row.name for row in (*ROWS, *KERNEL_ROWS)))
    parser.add_argument(
        "--row", action="append", choices=names, metavar="NAME", help=f"only this row ({', '.join(names)})"
    )
    parser.add_argument("--datapath", choices=("userspace", "kernel"), default="userspace", help="the server's")
    parser.add_argument(
        "--part", type=_part, default=(1, 1), metavar="K/N", help="every Nth row, from the Kth on: N run side by side"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    parser.add_argument("--keep", action="store_true", help="keep logs and captures of a run that passed, too")
    return parser.parse_args()


def _obstacle() -> str | None:
    """Why this machine cannot play, or None."""
    if os.geteuid() != 0:
        return "it needs root, for a network namespace, taps and captures"
    if not Path("/dev/net/tun").exists():
        return "it needs /dev/net/tun"
    if shutil.which("dpkg-query") is None:
        return f"it needs the Debian packages {' '.join(PACKAGES)}"
    return None


def _install_packages() -> None:
    missing = [package for package in PACKAGES if not _is_installed(package)]
    if not missing:
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *missing]):
        progress.print(f"running: {' '.join(command)}")
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.startswith("ii")


def _verdict(result: Result) -> str:
    return "[red]FAIL[/]" if result.fault else "[green]PASS[/]"


def _table(results: list[Result]) -> Table:
    table = Table(title="pppd + pptp-linux → poptrio")
    for heading in ("row", "", "authentication", "encryption", "address", "MTU", "set-up ms", "server ms", "seen"):
        table.add_column(heading, justify="right" if heading.endswith("ms") else "left", no_wrap=heading == "row")
    for result in results:
        calls, set_ups = result.outcome.calls, result.outcome.set_ups
        table.add_row(
            result.row.name,
            _verdict(result),
            _unique(call.authentication for call in calls),
            _unique(call.encryption for call in calls),
            _unique(call.address for call in calls),
            _unique(str(call.mtu) for call in calls),
            "\n".join(f"{set_up.total * 1e3:.1f}" for set_up in set_ups),
            "\n".join(f"{set_up.server * 1e3:.1f}" for set_up in set_ups),
            escape(result.outcome.note),
        )
    return table


def _unique(values: Iterable[str]) -> str:
    return "\n".join(dict.fromkeys(values))


def _as_json(result: Result) -> dict[str, object]:
    return {
        "row": result.row.name,
        "passed": result.fault is None,
        "fault": result.fault,
        "seconds": round(result.seconds, 2),
        **asdict(result.outcome),
    }


def _explain(result: Result) -> None:
    progress.rule(f"{result.row.name} failed")
    progress.print(escape(result.fault or ""))
    for file in sorted(result.folder.glob("*.log")):
        progress.print(f"[bold]{file}[/], its last lines:")
        for line in file.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]:
            progress.print(f"  {line}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
