"""The configuration reference and the annotated config.toml say what the models say, about every key."""

import runpy
from pathlib import Path

import pytest
from pydantic import BaseModel

from poptrio.config import Config

ROOT = Path(__file__).resolve().parents[2]
GENERATED = "is not what the models say: run `make docs`"

KEYS = [
    (name, key, field)
    for name, table in Config.model_fields.items()
    if isinstance(table.annotation, type) and issubclass(table.annotation, BaseModel)
    for key, field in table.annotation.model_fields.items()
]


@pytest.fixture(scope="module")
def generator() -> dict:
    return runpy.run_path(str(ROOT / "docs" / "generate_config.py"))


def test_the_reference_page_is_up_to_date(generator: dict):
    page = (ROOT / "docs" / "reference" / "config.md").read_text("utf-8")
    assert page == generator["reference_page"](), f"docs/reference/config.md {GENERATED}"


def test_the_annotated_config_is_up_to_date(generator: dict):
    text = (ROOT / "config.toml").read_text("utf-8")
    assert text == generator["annotated_config"](), f"config.toml {GENERATED}"


@pytest.mark.parametrize(("table", "key", "field"), KEYS, ids=[f"{table}.{key}" for table, key, _ in KEYS])
def test_every_key_is_documented(table: str, key: str, field):
    assert field.description, f"{table}.{key} has no docstring"
    page = (ROOT / "docs" / "reference" / "config.md").read_text("utf-8")
    section = page.partition(f"## [{table}]\n")[2].partition("\n## ")[0]
    assert f"\n### {key}\n" in section


def test_the_annotated_config_is_the_default():
    config = Config.load(ROOT / "config.toml")
    assert config.model_dump(exclude={"plugins"}) == Config.parse("").model_dump(exclude={"plugins"})
    assert config.plugins == {"chap-secrets": {"file": "chap-secrets"}}
    assert config.insecure_settings() == ()
