"""The man page says what the commands say, groff has nothing to say about it, and pip installs it."""

import runpy
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "poptrio.1"
COMMANDS = dict(runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["commands"]())


def test_it_is_up_to_date():
    generated = runpy.run_path(str(ROOT / "docs" / "generate_man.py"))["man_page"]()
    assert PAGE.read_text("utf-8") == generated, "docs/reference/poptrio.1 is out of date: run `make docs`"


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_groff_reads_it_and_every_option_is_in_it():
    command = ["groff", "-man", "-Kutf8", "-Tutf8", "-ww", "-P-cbou", "-rLL=200n", str(PAGE)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    for path, command in COMMANDS.items():
        section = result.stdout.partition(f"\n   {path} ")[2].partition("\n   poptrio ")[0]
        for parameter in command.params:
            name = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
            assert name in section, f"{path}: {name} is missing"


def test_it_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert settings["tool"]["setuptools"]["data-files"] == {"share/man/man1": [str(PAGE.relative_to(ROOT))]}
