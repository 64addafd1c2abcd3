"""Write ``docs/reference/config.md`` and the annotated ``config.toml`` from the models in `poptrio.config`.

``python docs/generate_config.py`` writes both; a test compares them, so that neither can fall behind.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from poptrio.config import Config
from poptrio.config.effects import EFFECTS, Effect

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference" / "config.md"
CONFIG_TOML = ROOT / "config.toml"

REFERENCE_INTRODUCTION = """\
# config.toml

Every table and key, with its default and the values it takes. This page and the annotated `config.toml` at the top of
the repository are generated from the models in `poptrio/config/` by `make docs`.

All tables and keys may be left out. Times are in seconds. Whatever is wrong (an unknown key, a wrong type, a value out
of range, settings that contradict each other) is reported at once with its line; the tables of plugins are checked by
the plugins when they start, after all else is right, and their faults name the key without a line. `poptrio run` then
ends with exit code 2 and takes no calls. `poptrio check CONFIG` says the same and looks at the machine as well.

Each key says when a change of it counts in a server that runs, after a
[reload](../howto/change-settings-while-running.md).
"""

CONFIG_TOML_INTRODUCTION = """\
Configuration of poptrio. Every key is here with its default value; what you do not change may be deleted.
`poptrio check config.toml` says what is wrong with it. Times are in seconds.
"""

_EFFECTS = {
    Effect.AT_ONCE: "A change counts at once.",
    Effect.NEW_CALLS: "A change counts for new calls.",
    Effect.RESTART: "A change needs a restart.",
}

PLUGIN_TABLES = """
# Tables of plugins, each checked by its plugin.

[plugins.chap-secrets]
# Users and passwords in the format of pppd's chap-secrets, relative to this file. Read again when it changes.
file = "chap-secrets"
"""


def reference_page() -> str:
    """The text of ``docs/reference/config.md``."""
    parts = [REFERENCE_INTRODUCTION]
    for name, section in _sections():
        parts.append(f"## [{name}]\n\n{_paragraph(section.__doc__)}\n")
        parts += _keys_of(section, {key: _EFFECTS[effect] for key, effect in EFFECTS[name].items()})
        for key, table in _named_tables(section):
            parts.append(f"## [{name}.{key}.NAME]\n\n{_paragraph(table.__doc__)}\n")
            parts += _keys_of(table, {})
    parts.append(f"## [plugins.NAME]\n\n{_paragraph(Config.model_fields['plugins'].description)}\n")
    return "\n".join(parts)


def _keys_of(section: type[BaseModel], effects: Mapping[str, str]) -> Iterator[str]:
    """A section of the page for every key of ``section``; ``effects`` say when a change of it counts."""
    schema = section.model_json_schema()["properties"]
    for key, field in section.model_fields.items():
        value = field.get_default(call_default_factory=True)
        default = f"{key} = {_toml(value)}" if value != {} else "none"
        effect = f"{effects[key]}\n\n" if key in effects else ""
        yield f"### {key}\n\n`{default}` ({_kind(schema[key])})\n\n{effect}{_paragraph(field.description)}\n"


def annotated_config() -> str:
    """The text of ``config.toml``."""
    lines = [_comment(CONFIG_TOML_INTRODUCTION)]
    for name, section in _sections():
        lines += ["", _comment(section.__doc__), f"[{name}]"]
        for key, field in section.model_fields.items():
            value = field.get_default(call_default_factory=True)
            lines += ["", _comment(field.description)]
            if value != {}:  # an empty inline table would forbid [table.key] further down
                lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n" + PLUGIN_TABLES


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def _named_tables(section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The keys of ``section`` that hold tables of their own, one for each name that the operator chooses."""
    for key, field in section.model_fields.items():
        for kind in get_args(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield key, kind


def _kind(schema: dict[str, Any]) -> str:
    """The values that a JSON schema allows, in words."""
    match schema:
        case {"type": "array", "items": items}:
            # pydantic says minLength where the limit stands outside of a validator, minItems where inside.
            least, most = (
                schema.get("minLength", schema.get("minItems")),
                schema.get("maxLength", schema.get("maxItems")),
            )
            limits = ("; not empty" if least else "") + (f"; at most {most}" if most else "")
            return f"list, each {_kind(items)}{limits}"
        case {"enum": values}:
            return " or ".join(f"`{json.dumps(value)}`" for value in values)
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"format": "ipv4"}:
            return "IPv4 address"
        case {"format": other}:
            return f'"{other}"'
        case {"type": "integer"}:
            return f"whole number{_limits(schema)}"
        case {"type": "object", "additionalProperties": {"$ref": _}}:
            return "a table for each name"
        case {"type": "object", "additionalProperties": values}:
            return f"table; each value a {_kind(values)}"
        case {"type": "number", "unit": unit}:
            return f"{unit}{_limits(schema)}"
        case {"type": "number"}:
            return f"seconds{_limits(schema)}"
        case {"type": "boolean"}:
            return "`true` or `false`"
        case _:
            return "text"


def _limits(schema: dict[str, Any]) -> str:
    match schema:
        case {"minimum": least, "maximum": most}:
            return f", {least} to {most}"
        case {"exclusiveMinimum": least, "maximum": most}:
            return f", more than {least} and at most {most}"
        case {"minimum": least}:
            return f", at least {least}"
        case {"exclusiveMinimum": least}:
            return f", more than {least}"
        case _:
            return ""


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, default=str)


def _paragraph(text: str | None) -> str:
    return textwrap.fill(" ".join((text or "").split()), width=118, break_long_words=False, break_on_hyphens=False)


def _comment(text: str | None) -> str:
    return textwrap.indent(_paragraph(text), "# ")


def main() -> None:
    """Write both files."""
    REFERENCE.write_text(reference_page(), "utf-8")
    CONFIG_TOML.write_text(annotated_config(), "utf-8")


if __name__ == "__main__":
    main()
