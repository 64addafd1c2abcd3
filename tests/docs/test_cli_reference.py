"""The reference page of the command line has every command and every option, each with a sentence."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "reference" / "cli.md").read_text("utf-8")
COMMANDS = dict(runpy.run_path(str(DOCS / "generate_cli.py"))["commands"]())
PARAMETERS = [(path, parameter) for path, command in COMMANDS.items() for parameter in command.params]


def section(path):
    return PAGE.partition(f"\n## {path} ")[2].partition("\n## ")[0]


def test_the_commands_are_those_of_the_program():
    assert set(COMMANDS) == {
        f"poptrio {name}" for name in ("run", "check", "plugins", "dial", "load", "systemd-unit", "secrets init")
    }


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
