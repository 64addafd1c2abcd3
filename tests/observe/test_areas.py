"""Every logger has an area: one of poptrio's own, or the name of the plugin that it is in."""

import ast
import tomllib
from pathlib import Path

import pytest

from poptrio.config import Config
from poptrio.errors import ConfigError
from poptrio.observe.areas import AREAS, TRACE, area_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "log.md").read_text("utf-8")


def loggers(package):
    """The names in all calls of ``get_logger``, with their files."""
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "structlog.get_logger":
                (name,) = node.args or [ast.Constant("")]
                yield file, name.value if isinstance(name, ast.Constant) else None


def plugins_of(pyproject):
    return set(tomllib.loads(pyproject.read_text("utf-8"))["project"]["entry-points"]["poptrio"])


def test_every_logger_of_poptrio_has_a_known_area():
    ours = plugins_of(ROOT / "pyproject.toml")
    found = set()
    for file, name in loggers(ROOT / "poptrio"):
        area = area_of(name or "")
        assert area in {*AREAS, TRACE} | ours, f"{file}: {name!r} is in no area"
        assert (area in ours) == ("plugins" in file.relative_to(ROOT).parts), file
        found.add(area)
    assert {"server", "connection", "call", "ppp", "plugins", "datapath", "workers", TRACE, "chap-secrets"} <= found


@pytest.mark.parametrize("project", sorted(ROOT.glob("plugins/*/pyproject.toml")), ids=lambda path: path.parent.name)
def test_the_area_of_a_plugin_is_its_name(project):
    (plugin,) = plugins_of(project)
    found = [name for _, name in loggers(next(project.parent.glob("poptrio_*")))]
    assert found
    assert set(map(area_of, found)) == {plugin}


def test_the_page_lists_the_areas():
    table = PAGE.partition("\n## Areas\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{area}` | {what} |" for area, what in AREAS.items()]


def test_an_area_that_does_not_exist_is_a_fault_with_those_that_do():
    with pytest.raises(ConfigError, match=r"log\.areas\.radios.*there is no such area; there are server, .*ip-pool"):
        Config.parse('[log.areas]\nradios = "debug"')
    with pytest.raises(ConfigError, match=r"log\.areas\.ppp"):
        Config.parse('[log.areas]\nppp = "loud"')
    assert Config.parse('[log.areas]\nchap-secrets = "debug"').log.levels.of("chap-secrets") == "debug"


@pytest.mark.parametrize(
    ("logger", "area"),
    [("poptrio.ppp", "ppp"), ("poptrio.datapath.kernel", "datapath"), ("trio", ""), ("", ""), ("poptrio", "")],
)
def test_the_area_is_the_first_component_of_the_name(logger, area):
    assert area_of(logger) == area
