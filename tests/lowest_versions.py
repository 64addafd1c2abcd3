"""Print the lower bounds of every pyproject.toml as pip constraints: ``make test-lowest`` tests what they promise."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

for file in [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]:
    project = tomllib.loads(file.read_text())["project"]
    for requirement in [*project["dependencies"], *project.get("optional-dependencies", {}).get("test", ())]:
        if not requirement.startswith("poptrio"):
            print(requirement.replace(">=", "=="))
