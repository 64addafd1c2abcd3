"""What differs between two configurations, and that every key says when a change of it counts."""

import pytest
from pydantic import BaseModel, ConfigDict

from poptrio.api import ConfigError, read_config
from poptrio.config import Config
from poptrio.config.changes import diff, kept
from poptrio.config.effects import EFFECTS, Effect


def test_every_key_has_one_effect_and_no_other_has():
    keys = {
        (table, key)
        for table, field in Config.model_fields.items()
        if table != "plugins"
        for key in field.annotation.model_fields
    }
    assert {(table, key) for table, effects in EFFECTS.items() for key in effects} == keys


def test_a_change_of_any_key_is_found():
    config = Config()
    for table, effects in EFFECTS.items():
        for key, effect in effects.items():
            if key in ("pools", "domains", "areas"):
                continue  # compared name by name
            section = getattr(config, table)
            values = {name: getattr(section, name) for name in type(section).model_fields}
            other = type(section).model_construct(**values | {key: "another"})
            (change,) = diff(config, config.model_copy(update={table: other}))
            assert change.setting == f"{table}.{key}"
            named = change.setting in ("authentication.plugins", "addresses.plugins", "accounting.plugins")
            assert change.effect is (Effect.RESTART if named else effect)


def test_secrets_are_hidden_wherever_they_are():
    servers = 'servers = [{{address = "10.0.0.1", secret = "{0}"}}]'
    text = f'[plugins.radius]\n{servers}\nbind_password = "{{0}}"\nsalt-key = "{{0}}"'
    changes = diff(Config.model_validate({}), _with_plugin(text.format("sesame")))
    changes += diff(_with_plugin(text.format("sesame")), _with_plugin(text.format("other")))
    assert len([change for change in changes if change.key_path[0] == "plugins"]) == 6
    assert "sesame" not in str(changes)
    assert "other" not in str(changes)
    assert '[{"address": "10.0.0.1", "secret": "(hidden)"}]' in str(changes)


@pytest.mark.parametrize(
    "text",
    [
        'passwords = {{alice = "{}"}}',
        'passwords = [{{alice = ["{}"]}}]',
        '[plugins.radius.secrets]\n"10.0.0.1" = "{}"',
        'sharedsecret = "{}"',
        'bindpw = "{}"',
        'apikey = "{}"',
        'authPassword = "{}"',
        'url = "ldaps://cn=admin:{}@10.0.0.1/"',
        'urls = [["ldaps://:{}@10.0.0.1/"]]',
    ],
)
def test_a_secret_is_known_by_any_name_that_leads_to_it_and_in_an_address(text):
    changes = diff(_with_plugin(f"[plugins.radius]\n{text.format('sesame')}"), _with_plugin("[plugins.radius]\n"))
    assert "(hidden)" in str(changes)
    assert "sesame" not in str(changes)


def test_what_is_no_secret_is_shown():
    text = '[plugins.radius]\nmonkey = "a"\npassenger = "b"\nurl = "ldap://10.0.0.1:389/a@b"'
    changes = diff(_with_plugin(text), _with_plugin(""))
    assert {change.old for change in changes if change.key_path[0] == "plugins"} == {
        '"a"', '"b"', '"ldap://10.0.0.1:389/a@b"'}  # fmt: skip


class _Server(BaseModel):
    address: str
    secret: str


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True)

    servers: list[_Server]
    password: str = ""


@pytest.mark.parametrize(
    "table",
    [
        {"servers": [{"secret": "sesame"}]},
        {"servers": {"secret": "sesame"}},
        {"secret": "sesame"},
        {"servers": [], "password": ["sesame"]},
    ],
)
def test_a_fault_of_a_plugins_table_shows_no_secret_that_stands_there(table):
    with pytest.raises(ConfigError) as refused:
        read_config(_Settings, table, "plugins.radius")
    assert "sesame" not in str(refused.value.faults)


def _with_plugin(text):
    return Config.parse(f'[authentication]\nplugins = ["radius"]\n{text}')


def test_tables_of_names_are_compared_name_by_name():
    old = Config.parse('[addresses.pools]\ngold = ["10.1.0.2"]\nblue = ["10.2.0.2"]')
    new = Config.parse('[addresses.pools]\ngold = ["10.1.0.2"]\nred = ["10.3.0.2"]')
    assert [(change.setting, change.old, change.new) for change in diff(old, new)] == [
        ("addresses.pools.blue", '["10.2.0.2"]', "(none)"),
        ("addresses.pools.red", "(none)", '["10.3.0.2"]'),
    ]


def test_what_needs_a_restart_keeps_its_old_value():
    old = Config.parse('[addresses]\nserver = "10.90.0.1"\n[plugins.chap-secrets]\nfile = "a"')
    new = Config.parse('[addresses]\nserver = "10.90.0.9"\npool = ["10.91.0.2"]\n[plugins.chap-secrets]\nfile = "b"')
    assert old.addresses.all_ranges
    assert new.addresses.all_ranges  # computed before, and not to be copied
    mixed = kept(old, new, diff(old, new))
    assert str(mixed.addresses.server) == "10.90.0.1"
    assert [str(first) for first, _ in mixed.addresses.all_ranges] == ["10.91.0.2"]
    assert mixed.plugins == {"chap-secrets": {"file": "b"}}
