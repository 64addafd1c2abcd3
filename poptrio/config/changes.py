"""What differs between two configurations, and what becomes of it in a server that runs."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from poptrio.config import cross_checks
from poptrio.config.config import Config
from poptrio.config.effects import PLUGIN_LISTS, Effect, effect_of
from poptrio.config.faults import KeyPath
from poptrio.hiding import without_secrets

NOTHING = "(none)"
LONGEST_VALUE = 300
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key with another value; ``old`` and ``new`` are their texts, ``(hidden)`` for secrets."""

    key_path: KeyPath
    old: str
    new: str
    effect: Effect

    @property
    def setting(self) -> str:
        """The key as it is written in sentences."""
        return ".".join(self.key_path)


def diff(old: Config, new: Config, *, kernel: bool = False) -> tuple[Change, ...]:
    """Every key that differs, in the order of the tables; ``kernel`` says that the data path is the kernel's.

    What the tables of plugins come to, only their plugins know; they stand here as if they counted at once.
    """
    before, after = dict(_leaves(old)), dict(_leaves(new))
    others = named_plugins(old) ^ named_plugins(new)
    found = []
    for key_path in dict.fromkeys((*before, *after)):
        was, becomes = before.get(key_path, _ABSENT), after.get(key_path, _ABSENT)
        if was != becomes or type(was) is not type(becomes):
            effect = _effect(key_path, others, kernel)
            found.append(Change(key_path, shown(was, key_path), shown(becomes, key_path), effect))
    order = {name: place for place, name in enumerate(Config.model_fields)}
    return tuple(sorted(found, key=lambda change: order[change.key_path[0]]))


def kept(old: Config, new: Config, changes: Iterable[Change]) -> Config:
    """``new``, with the values of ``old`` for those ``changes`` that need a restart."""
    restart = dict.fromkeys(_whole_key(change.key_path) for change in changes if change.effect is Effect.RESTART)
    tables: dict[str, Any] = {}
    for table, key in restart:
        if table != "plugins":
            section = tables.get(table) or getattr(new, table)
            values = {name: getattr(section, name) for name in type(section).model_fields}
            # Made anew, not copied: a copy would keep what was computed from the other values.
            tables[table] = type(section).model_construct(**values | {key: getattr(getattr(old, table), key)})
    plugins = dict(new.plugins)
    for name in named_plugins(old) ^ named_plugins(new):
        plugins.pop(name, None)
        if name in old.plugins:
            plugins[name] = old.plugins[name]
    for change in changes:
        if change.effect is Effect.RESTART and change.key_path[0] == "plugins":
            _keep_in_table(plugins, old.plugins, *change.key_path[1:3])
    return new.model_copy(update={**tables, "plugins": plugins})


def named_plugins(config: Config) -> frozenset[str]:
    """All plugins that the lists name."""
    return frozenset(cross_checks.named_plugins(config.authentication, config.addresses, config.accounting))


def shown(value: object, key_path: KeyPath = ()) -> str:
    """A value as it stands in TOML, nearly; no secret is in it."""
    if value is _ABSENT:
        return NOTHING
    text = json.dumps(without_secrets(value, key_path), default=str, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


_ABSENT = object()


def _effect(key_path: KeyPath, others: frozenset[str], kernel: bool) -> Effect:
    if others and (key_path[:2] in PLUGIN_LISTS or (key_path[0] == "plugins" and key_path[1] in others)):
        return Effect.RESTART
    if kernel and key_path == ("ppp", "clamp_mss"):
        return Effect.RESTART  # there it is one rule of nftables for all calls
    return effect_of(key_path)


def _whole_key(key_path: KeyPath) -> KeyPath:
    return key_path[:2]


def _keep_in_table(
    tables: dict[str, dict[str, object]], old: Mapping[str, Mapping[str, object]], name: str, key: str
) -> None:
    """Give ``key`` in the table of a plugin its old value back, or take it away where it had none."""
    table = dict(tables.get(name, {}))
    table.pop(key, None)
    if key in old.get(name, {}):
        table[key] = old[name][key]
    tables[name] = table
    if not table and name not in old:
        del tables[name]


def _leaves(value: object, key_path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(getattr(value, name), (*key_path, name))
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*key_path, name))
    else:
        yield key_path, value
