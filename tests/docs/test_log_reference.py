"""The reference page of the log has every event that the code logs, and every field that it gives it."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "log.md").read_text("utf-8")
LEVELS = {"debug", "info", "warning", "error", "exception"}
EVERYWHERE = {"call", "peer", "exc_info", "detail"}
"""Fields that the page explains once for many events."""


def logged() -> dict[str, set[str]]:
    """The fields by event, from every call of a logger and every note of a PPP session in the packages."""
    events: dict[str, set[str]] = defaultdict(set)
    packages = [ROOT / "poptrio", *ROOT.glob("plugins/*/poptrio_*")]
    for file in (file for package in packages for file in package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            logs = node.func.attr in LEVELS and ast.unparse(node.func.value).rpartition(".")[2].strip("_") == "log"
            if not logs and node.func.attr != "_note":
                continue
            event = node.args[0]
            if isinstance(event, ast.Constant):
                events[event.value] |= {keyword.arg for keyword in node.keywords if keyword.arg}
    return events


EVENTS = logged()


def section(event):
    return PAGE.partition(f"\n### {event}\n")[2].partition("\n#")[0]


def test_the_search_finds_events_of_every_kind():
    assert {"call ended", "listening", "plugin failed", "identification", "data path error"} <= set(EVENTS)


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_documented(event):
    assert section(event), f"docs/reference/log.md has no section ### {event}"
    for field in EVENTS[event] - EVERYWHERE:
        assert f"`{field}`" in section(event), f"the field {field} of {event!r} is not documented"


def test_no_section_is_about_an_event_that_is_gone():
    sections = {line.removeprefix("### ") for line in PAGE.splitlines() if line.startswith("### ")}
    assert sections == set(EVENTS)
