"""The reference page of the hooks says what the specifications say, and everything in it has a sentence."""

import runpy
from pathlib import Path

import pytest

from poptrio import api, hookspecs

ROOT = Path(__file__).resolve().parents[2]
HOOKS = [name for name in vars(hookspecs) if name.startswith(hookspecs.PREFIX)]


def test_the_page_is_up_to_date():
    page = (ROOT / "docs" / "reference" / "hooks.md").read_text("utf-8")
    generator = runpy.run_path(str(ROOT / "docs" / "generate_hooks.py"))
    assert page == generator["reference_page"](), "docs/reference/hooks.md is out of date: run `make docs`"


def test_there_are_eleven_hooks():
    assert len(HOOKS) == 11


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented(name):
    page = (ROOT / "docs" / "reference" / "hooks.md").read_text("utf-8")
    assert getattr(hookspecs, name).__doc__
    assert f"def {name}(" in page


@pytest.mark.parametrize("name", api.__all__)
def test_every_name_of_the_api_exists_and_has_a_line(name):
    assert hasattr(api, name)
    page = (ROOT / "docs" / "reference" / "hooks.md").read_text("utf-8")
    line = next(line for line in page.splitlines() if line.startswith(f"- `{name}`: "))
    assert len(line) > len(name) + 10
