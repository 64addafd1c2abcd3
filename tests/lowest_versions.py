"""Print the lower bounds of pyproject.toml as pip constraints, so that ``make test-lowest`` tests what they promise."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text())["project"]
for requirement in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
    print(requirement.replace(">=", "=="))
