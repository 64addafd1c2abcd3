"""`Secret`: a configuration key that may say its secret itself, or where to find it: a file, the environment.

``"file:NAME"`` is the content of a file beside the configuration, without the end of its line; ``"${NAME}"`` anywhere
in the text is what the environment holds under that name. No secret is in a ``repr``, a fault or the log.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import CoreSchema, core_schema

from poptrio.regular_file import read_regular

_FILE = "file:"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_LONGEST = 64 * 1024
"""Octets of a file with a secret; a longer one is not one."""


@dataclass(frozen=True, slots=True)
class Secret:
    """The text of the key; `resolve` makes the secret of it. A pydantic field of this type takes a TOML string."""

    text: str = field(repr=False)

    def resolve(self, folder: Path, environment: Mapping[str, str] = os.environ) -> str:
        """The secret itself; relative files are looked up in ``folder``, that of the configuration file.

        Raises ValueError with a sentence when the file cannot be read, the variable is not set, or nothing is in it.
        """
        if self.text.startswith(_FILE):
            secret = _content(folder / self.text.removeprefix(_FILE))
        else:
            secret = _VARIABLE.sub(lambda found: _variable(found[1], environment), self.text)
        if not secret:
            raise ValueError("the secret is empty")
        return secret

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        """A TOML string, or a `Secret` that was made already. The faults do not show what was given instead."""
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _secret: "(hidden)"),
            metadata={"pydantic_js_functions": [lambda _schema, _handler: {"type": "string", "format": "password"}]},
        )

    @classmethod
    def _validate(cls, value: object) -> "Secret":
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueError('a secret is text: itself, "file:NAME" or "${NAME}"')
        if not value:
            raise ValueError("the secret is empty")
        return cls(value)


def _content(path: Path) -> str:
    try:
        octets = read_regular(path, _LONGEST + 1)
    except OSError as error:
        raise ValueError(f"cannot read the secret from {path}: {error.strerror}") from None
    if len(octets) > _LONGEST:
        raise ValueError(f"{path} has more than {_LONGEST} octets, which is no secret")
    try:
        return octets.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None


def _variable(name: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise ValueError(f"the environment has no variable {name}")
    return environment[name]
