"""What README and documentation point at exists: pages, commands, options, targets, keys; their configurations load."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from poptrio.config import Config

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
COMMANDS = dict(runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["commands"]())
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")

every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(text):
    """The lines of shell blocks that run poptrio, with continued lines joined, from the word poptrio on."""
    for language, block in FENCE.findall(text):
        if language in ("", "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                match = re.match(r"(?:sudo |ip netns exec \w+ )*(?:\.venv/bin/)?(poptrio \w.*)", line)
                if match:
                    yield shlex.split(match[1], comments=True)


@every_page
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} does not exist"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@every_page
def test_commands_and_options_exist(page):
    for words in command_lines(page.read_text("utf-8")):
        path = " ".join(words[:3] if words[1] == "secrets" else words[:2])
        if words[1] == "--version":
            continue
        known = {name for parameter in COMMANDS[path].params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, f"{words} has an unknown option"


def test_the_search_finds_commands():
    found = [words[1] for page in PAGES for words in command_lines(page.read_text("utf-8"))]
    assert {"run", "check", "dial", "secrets"} <= set(found)


@every_page
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"`make ([a-z]+)`|^(?:sudo )?make ([a-z]+)\b", page.read_text("utf-8"), re.M)
    for target in filter(None, (name for pair in targets for name in pair)):
        assert f"\n{target}:" in makefile, f"there is no target {target}"


@every_page
def test_configurations_load(page):
    if page.name == "write-an-auth-plugin.md":  # has other TOML as well, and a test of its own
        return
    for language, block in FENCE.findall(page.read_text("utf-8")):
        if language == "toml":
            Config.parse(block)


@every_page
def test_named_keys_exist(page):
    """Keys are named as ``[table] key`` or as ``table.key`` in code spans."""
    code = re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text("utf-8")))
    for text in code:
        match = re.match(r"\[(\w+)\] (\w+)|(server|gre|ppp|addresses|authentication|log)\.(\w+)\b(?!\()", text)
        if match is None or text.endswith((".md", ".py")) or "/" in text:
            continue
        table, key = (match[1], match[2]) if match[1] else (match[3], match[4])
        assert key in Config.model_fields[table].annotation.model_fields, f"`{text}` is no key"


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    listed = {(ROOT / "docs" / link).resolve() for link in LINK.findall(index)}
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - {ROOT / "docs" / "index.md"} == listed


def test_the_peers_file_is_the_same_everywhere():
    blocks = [
        block
        for name in ("README.md", "docs/howto/dial-from-clients.md")
        for _, block in FENCE.findall((ROOT / name).read_text("utf-8"))
        if block.startswith("pty ")
    ]
    assert len(blocks) == 2
    assert blocks[0] == blocks[1]
