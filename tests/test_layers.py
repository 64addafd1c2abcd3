"""Imports go one way between the packages: who may know whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import poptrio

ROOT = Path(poptrio.__file__).parent
WORDS = "words"
"""Stands for the modules that lie beside the packages: what plugins and server say to each other."""

MAY_IMPORT = {
    # decides: no I/O, no clock (a lint rule holds that)
    "crypto": set(),
    "protocols": {"crypto", "errors", "hiding", "state"},
    # moves
    "datapath": {"crypto", "protocols", "errors", "address_ranges"},
    # schedules
    "runtime": {"protocols", "datapath", "errors", "measurements"},
    "observe": {"errors", "hiding", "calls", "measurements"},
    "config": {"observe", WORDS},
    "client": {"protocols", "datapath", "runtime", "errors"},
    "server": {"protocols", "datapath", "runtime", "observe", "config", WORDS},
    # around the server
    "workers": {"protocols", "datapath", "runtime", "observe", "config", "server", WORDS},
    "upgrade": {"crypto", "protocols", "datapath", "runtime", "config", "server", WORDS},
    "management": {"runtime", "observe", "config", "server", "upgrade", WORDS},
    # what is put on top
    WORDS: {"crypto", "protocols", "config"},
    "plugins": {"api"},
    "testing": {"crypto", "protocols", "datapath", "runtime", "config", "server", "upgrade", WORDS},
    "cli": {"protocols", "datapath", "runtime", "observe", "config", "client", "server", "workers", "upgrade",
            "management", WORDS},
}  # fmt: skip

PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def imports_of(package: str) -> Iterator[tuple[Path, str]]:
    """The files of a package, each with the packages and modules of ours that it imports."""
    files = ROOT.glob("[!_]*.py") if package == WORDS else (ROOT / package).rglob("*.py")
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, f"{file} has a relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                top, _, rest = name.partition(".")
                if top == "poptrio" and not rest.startswith("__version__"):
                    yield file.relative_to(ROOT), rest.partition(".")[0]


def test_every_package_has_its_place():
    assert set(PACKAGES) | {WORDS} == set(MAY_IMPORT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package):
    allowed = MAY_IMPORT[package] | {package}
    wrong = {
        f"{file} imports {name}"
        for file, name in imports_of(package)
        if name not in allowed and not (WORDS in allowed and name not in PACKAGES)
    }
    assert wrong == set()


def test_nobody_is_above_whom_it_imports():
    """The table has no circles, but that the words of plugins and the configuration know each other."""
    known = {package: MAY_IMPORT[package] & set(PACKAGES) for package in PACKAGES}
    while known:
        lowest = {package for package, imports in known.items() if not imports & known.keys()}
        assert lowest, f"in a circle: {sorted(known)}"
        known = {package: imports for package, imports in known.items() if package not in lowest}
