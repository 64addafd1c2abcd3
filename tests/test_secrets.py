"""Secrets in the configuration: said there, in a file, or in the environment; never shown."""

import os

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from poptrio.api import ConfigError, Secret, read_config


class Table(BaseModel):
    """A table with a secret, as strict as those of plugins."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    secret: Secret


def test_a_secret_is_what_stands_there(tmp_path):
    assert read_config(Table, {"secret": "sesame"}, "plugins.x").secret.resolve(tmp_path) == "sesame"


@pytest.mark.parametrize("content", ["open sesame", "open sesame\n", "open sesame\r\n"])
def test_a_file_is_read_without_the_end_of_its_line(tmp_path, content):
    (tmp_path / "key").write_bytes(content.encode())
    assert Secret("file:key").resolve(tmp_path) == "open sesame"


def test_an_absolute_file_is_not_looked_up_beside_the_configuration(tmp_path):
    (tmp_path / "key").write_text("sesame")
    assert Secret(f"file:{tmp_path}/key").resolve(tmp_path / "elsewhere") == "sesame"


def test_variables_are_replaced_wherever_they_stand(tmp_path):
    environment = {"FIRST": "open", "SECOND": "${FIRST}"}
    assert Secret("${FIRST}-${SECOND}").resolve(tmp_path, environment) == "open-${FIRST}"
    assert Secret("$FIRST").resolve(tmp_path, environment) == "$FIRST"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("${MISSING}", "the environment has no variable MISSING"),
        ("${EMPTY}", "the secret is empty"),
        ("file:nothing", "cannot read the secret from .*nothing: No such file or directory"),
        ("file:.", "Is a directory"),
        ("file:pipe", "cannot read the secret from .*pipe: it is no regular file"),
        ("file:empty", "the secret is empty"),
        ("file:binary", "is not UTF-8 text"),
        ("file:large", "more than 65536 octets"),
    ],
)
def test_what_cannot_be_found_is_a_sentence(tmp_path, text, sentence):
    (tmp_path / "empty").write_bytes(b"\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(bytes(70_000))
    with pytest.raises(ValueError, match=sentence):
        Secret(text).resolve(tmp_path, {"EMPTY": ""})


@pytest.mark.parametrize("value", [4711, ["sesame"], "", None])
def test_what_is_no_text_is_a_fault_that_does_not_show_it(value):
    with pytest.raises(ConfigError, match=r"^plugins\.x\.secret: ") as caught:
        read_config(Table, {"secret": value}, "plugins.x")
    assert "4711" not in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_secret_is_hidden_wherever_a_model_is_shown():
    table = Table(secret=Secret("sesame"))
    assert "sesame" not in f"{table!r} {table} {table.model_dump()} {table.model_dump_json()}"
    assert Table.model_json_schema()["properties"]["secret"]["type"] == "string"


def test_a_strict_model_takes_no_other_kind():
    with pytest.raises(ValidationError):
        Table.model_validate({"secret": b"sesame"})
