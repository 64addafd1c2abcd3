"""Pages that are generated from code say what the code says."""

import runpy
from pathlib import Path

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.automaton import Action, Event, State

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("generator", "function", "page"),
    [
        ("generate_cli.py", "reference_page", "reference/cli.md"),
        ("generate_api.py", "reference_page", "reference/api.md"),
        ("generate_causes.py", "reference_page", "reference/causes.md"),
        ("generate_automaton.py", "page", "explanation/automaton.md"),
    ],
)
def test_the_page_is_up_to_date(generator, function, page):
    generated = runpy.run_path(str(DOCS / generator))[function]()
    assert (DOCS / page).read_text("utf-8") == generated, f"docs/{page} is out of date: run `make docs`"


@pytest.mark.parametrize("name", list(runpy.run_path(str(DOCS / "generate_plugins.py"))["PAGES"]))
def test_the_keys_of_plugins_are_up_to_date(name):
    generated = runpy.run_path(str(DOCS / "generate_plugins.py"))["reference_page"](name)
    page = (DOCS / "reference" / name).read_text("utf-8")
    assert page == generated, f"docs/reference/{name} is out of date: run `make docs`"
    assert page.count("| `") > 5


@pytest.mark.parametrize("cause", CauseOfEnd, ids=[cause.label for cause in CauseOfEnd])
def test_every_cause_has_a_row_and_its_windows_errors(cause):
    page = (DOCS / "reference" / "causes.md").read_text("utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{cause.label}` |")]
    assert cause.sentence in row
    for number in cause.windows_errors:
        (by_number,) = [line for line in page.splitlines() if line.startswith(f"| {number} |")]
        assert f"`{cause.label}`" in by_number


def test_the_automaton_page_explains_every_name():
    page = (DOCS / "explanation" / "automaton.md").read_text("utf-8")
    for name in [*Event, *Action]:
        assert f"\n| {name.value} | " in page
    for state in State:
        assert f'state "{state:d} ' in page
