"""The page about chap-secrets: its example file and its configuration are what the plugin takes."""

import re
import tomllib
from pathlib import Path

from poptrio.plugins.chap_secrets import ChapSecretsConfig
from poptrio.plugins.secrets_file import parse_secrets

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "chap-secrets.md").read_text("utf-8")


def test_the_example_file_is_understood():
    (example,) = re.findall(r"^```\n(.*?)^```$", PAGE, re.M | re.S)
    rows = parse_secrets(example.encode(), "example", {Path("/etc/secrets/carol"): b"sesame"}.__getitem__)
    assert [row.client for row in rows] == ["alice", "bob", "OFFICE\\carol", "dave"]
    assert rows[3].secret.nt_hash is not None


def test_the_page_shows_every_key_with_its_default():
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)
    assert tomllib.loads(block)["plugins"]["chap-secrets"] == ChapSecretsConfig().model_dump()
