"""Faults in a configuration: from pydantic's errors to sentences with a line, for somebody who edits TOML.

Python's tomllib keeps no positions, so the line of a key is found by scanning the text for table headers and keys.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from poptrio.errors import ConfigFault
from poptrio.hiding import without_secrets

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the key at ``key_path``, for instance ``("ppp", "mtu")``."""

    key_path: KeyPath
    sentence: str


def explain(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Every error of ``error`` as a fault; ``model`` is that of the whole configuration."""
    faults = []
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "too_short" and any(_is_inside(other["loc"], detail["loc"]) for other in details):
            continue  # the list is short of the items that have faults of their own
        key_path = tuple(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            sentence = _unknown(key_path, model)
        else:
            # What is missing is no secret, and what it is missing in has the names that matter.
            names = () if detail["type"] == "missing" else key_path
            value = without_secrets(detail["input"], names)
            sentence = _sentence(detail["type"], value, detail.get("ctx", {}), detail["msg"])
        faults.append(Fault(key_path, sentence))
    return faults


def _is_inside(place: tuple[int | str, ...], around: tuple[int | str, ...]) -> bool:
    return len(place) > len(around) and place[: len(around)] == around


def without(table: dict[str, Any], faults: Iterable[Fault]) -> dict[str, Any]:
    """``table`` without the keys (or whole tables) that ``faults`` are about."""
    rest = {name: dict(value) if isinstance(value, dict) else value for name, value in table.items()}
    for fault in faults:
        match fault.key_path:
            case (name,):
                rest.pop(name, None)
            case (name, key, *_) if isinstance(rest.get(name), dict):
                rest[name].pop(key, None)
    return rest


def syntax_fault(name: str, error: tomllib.TOMLDecodeError) -> ConfigFault:
    """The one fault of a text that is not TOML; ``name`` is its file."""
    sentence, _, position = str(error).partition(" (at line ")
    line = position.partition(",")[0]
    return ConfigFault(f"{name}:{line}" if line else name, f"not TOML: {sentence}")


class Places:
    """Knows on which line of a TOML text a table or key stands."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._lines = _lines_of_keys(text)

    def locate(self, faults: Iterable[Fault]) -> list[ConfigFault]:
        """The faults as an operator reads them, in the order of the file."""
        placed = sorted(((self._line(fault.key_path), fault) for fault in faults), key=lambda pair: pair[0])
        return [
            ConfigFault(f"{self._name}:{line}" if line else self._name, f"{_dotted(fault.key_path)}: {fault.sentence}")
            for line, fault in placed
        ]

    def _line(self, key_path: KeyPath) -> int:
        """The line of the longest part of ``key_path`` that the text has, counted from 1; 0 where it has none."""
        parts = (key_path[:length] for length in range(len(key_path), 0, -1))
        return next((self._lines[part] for part in parts if part in self._lines), 0)


_KEY_PART = r"""(?: [A-Za-z0-9_-]+ | "[^"\n]*" | '[^'\n]*' )"""
_KEY = rf"{_KEY_PART} (?: [ \t]*\.[ \t]* {_KEY_PART} )*"
_HEADER_OR_KEY = re.compile(
    rf"^[ \t]* (?: \[{{1,2}} [ \t]* (?P<table>{_KEY}) [ \t]* \] | (?P<key>{_KEY}) [ \t]* = )", re.X
)


def _lines_of_keys(text: str) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        found = _HEADER_OR_KEY.match(line)
        if found is None:
            continue
        if found["table"]:
            table = _parts(found["table"])
            lines.setdefault(table, number)
        else:
            lines.setdefault(table + _parts(found["key"]), number)
    return lines


def _parts(key: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in re.findall(_KEY_PART, key, re.X))


def _dotted(key_path: KeyPath) -> str:
    return ".".join(part for part in key_path if not part.isdecimal())  # the sentence shows which item it is about


_NEEDED = {
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}


def _sentence(kind: str, value: object, limits: dict[str, Any], message: str) -> str:
    """What is wrong with ``value``, by the ``kind`` of pydantic's error and the limits that it broke."""
    match kind:
        case "value_error":
            return str(limits["error"])
        case "literal_error":
            return f"{_shown(value)} is none of {limits['expected'].replace(chr(39), chr(34))}"
        case "greater_than_equal":
            return f"{_shown(value)} is too little; it must be at least {limits['ge']}"
        case "greater_than":
            return f"{_shown(value)} is too little; it must be more than {limits['gt']}"
        case "less_than_equal":
            return f"{_shown(value)} is too much; it must be at most {limits['le']}"
        case "finite_number":
            return "must be a finite number"
        case "too_short":
            return "must not be empty"
        case "too_long":
            return f"{limits['actual_length']} are too many; at most {limits['max_length']}"
        case _ if kind in _NEEDED:
            return f"{_shown(value)} is {_toml_type(value)}; {_NEEDED[kind]} is needed"
        case _:
            return f"{_shown(value)}: {message[:1].lower()}{message[1:]}"


def _unknown(key_path: KeyPath, model: type[BaseModel]) -> str:
    """The sentence for a table or key that does not exist, with the one that was probably meant."""
    keys = {name: list(table.model_fields) for name, table in _tables(model).items()}
    if len(key_path) == 1:
        home = next((f"; it belongs into [{name}]" for name in keys if key_path[0] in keys[name]), "")
        return f"unknown table or key{home or _nearest(key_path[0], list(model.model_fields))}"
    key, *deeper = key_path[1:]
    home = "" if deeper else next((f"; it belongs into [{other}]" for other in keys if key in keys[other]), "")
    return f"unknown key{home or _nearest(key_path[-1], _keys_at(model, key_path[:-1]))}"


def _keys_at(model: type[BaseModel], key_path: KeyPath) -> list[str]:
    """The keys of the table at ``key_path``, which may be one of a list of tables, or one that need not be there."""
    tables = [model]
    for part in key_path:
        fields = [table.model_fields[part].annotation for table in tables if part in table.model_fields]
        if fields:  # else it is the place in a list, or the name in a table of tables
            tables = [table for field in fields for table in _models_in(field)]
    return [key for table in tables for key in table.model_fields]


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that an annotation names: itself, or in a union, a list or a dictionary."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _tables(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    return {
        name: table
        for name, field in model.model_fields.items()
        if isinstance(table := field.annotation, type) and issubclass(table, BaseModel)
    }


def _nearest(word: str, known: list[str]) -> str:
    if not known:
        return "; there are none here"
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else f"; known are {', '.join(known)}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _toml_type(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"
