"""What the commands share: exit codes, the CONFIG argument, the ``--json`` option, and how faults are reported."""

import json
from collections.abc import Collection
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer

from poptrio.config import Config
from poptrio.errors import ConfigError, ConfigFault
from poptrio.observe.log import escape


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    FAILED = 1
    USAGE = 2


ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, usually config.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def load_config(path: Path, *, as_json: bool = False) -> Config:
    """Read the configuration, or report everything that is wrong with it and exit with `ExitCode.USAGE`."""
    try:
        return Config.load(path)
    except ConfigError as error:
        report_faults(error.faults, as_json=as_json)
        raise typer.Exit(ExitCode.USAGE) from error


def report_faults(faults: Collection[ConfigFault], *, as_json: bool = False) -> None:
    """Print each fault on a line of standard error; with ``as_json`` also as JSON on standard output."""
    for fault in faults:
        typer.echo(escape(str(fault)), err=True)
    if as_json:
        print_json({"faults": [{"place": fault.place, "message": fault.message} for fault in faults]})


def print_json(value: object) -> None:
    """Print ``value`` as JSON on standard output."""
    typer.echo(json_text(value))


def json_text(value: object, indent: int | None = 2) -> str:
    """``value`` as JSON; of what is not printable, which clients may have put into their names, only escapes."""
    return "\n".join(
        line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
        for line in json.dumps(value, indent=indent, ensure_ascii=False).split("\n")
    )
