"""``poptrio systemd-unit``: the units that come with poptrio, with the paths of this machine."""

import shutil
import sys
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

_PROGRAM = "/usr/local/bin/poptrio"
_CONFIG = "/etc/poptrio/config.toml"
"""What stands for both in the file."""


class Unit(Enum):
    """The units, by the names of their files."""

    SERVICE = "poptrio.service"
    SOCKET = "poptrio.socket"
    MANAGEMENT_SOCKET = "poptrio-management.socket"


Name = Annotated[
    Unit, typer.Argument(metavar="UNIT", help="poptrio.service, poptrio.socket, poptrio-management.socket.")
]
ConfigPath = Annotated[Path, typer.Option("--config", help="The configuration that the service runs with.")]


def systemd_unit(unit: Name = Unit.SERVICE, config: ConfigPath = Path(_CONFIG)) -> None:
    """Print a systemd unit: the hardened service, or a socket that systemd opens for it."""
    text = files("poptrio").joinpath("system", unit.value).read_text("utf-8")
    typer.echo(text.replace(f"{_PROGRAM} run {_CONFIG}", f"{_program()} run {_word(str(config.absolute()))}"), nl=False)


def _program() -> str:
    """How this very program is started."""
    called = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == "poptrio" else None
    return _word(str(Path(called).absolute())) if called else f"{_word(sys.executable)} -P -m poptrio"


def _word(text: str) -> str:
    """``text`` as one word of ExecStart= (systemd.service(5), "Command lines")."""
    escaped = text.replace("%", "%%").replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if any(c.isspace() or c in "\"'\\;" for c in text) else escaped
