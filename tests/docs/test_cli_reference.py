"""The reference page of the command line has every command and every option, each with a sentence."""

import re
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poptrio.cli import app

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "reference" / "cli.md").read_text("utf-8")
COMMANDS = dict(runpy.run_path(str(DOCS / "generate_cli.py"))["commands"]())
PARAMETERS = [(path, parameter) for path, command in COMMANDS.items() for parameter in command.params]


def section(path):
    return re.split(rf"\n## {path}(?: .*)?\n", PAGE)[1].partition("\n## ")[0]


def test_the_commands_are_those_of_the_program():
    """As a user sees them in the lists of ``--help``, which are made in another way."""
    assert re.findall(r"^## (poptrio [a-z -]+[a-z])", PAGE, re.M) == list(COMMANDS)
    names = {name.removeprefix("poptrio ").partition(" ")[0] for name in COMMANDS}
    listed = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    assert names == set(re.findall(r"^│ ([a-z][a-z-]*) ", listed, re.M))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_documented(path):
    assert len(COMMANDS[path].help.splitlines()[0]) > 20
    assert " ".join(COMMANDS[path].help.splitlines()[0].split()[:4]) in section(path)


@pytest.mark.parametrize(("path", "parameter"), PARAMETERS, ids=[f"{path} {each.name}" for path, each in PARAMETERS])
def test_every_argument_and_option_is_documented(path, parameter):
    name = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
    assert parameter.help, f"{path}: {name} has no help text"
    (row,) = [line for line in section(path).splitlines() if line.startswith((f"| `{name}`", f"| `{name} "))]
    assert parameter.help in row
