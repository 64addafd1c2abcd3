"""The page about containers: the capabilities that it names are enough, and are those that it names everywhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from poptrio.testing.namespaces import Namespace, join

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "run-in-a-container.md").read_text("utf-8")
(RUN,) = re.findall(r"^podman run (?:.*\\\n)*.*$", PAGE, re.M)
DOCKER = re.findall(r"--cap-add (\w+)", RUN)
CONTAINERFILE = ROOT / "poptrio" / "system" / "Containerfile"
POPTRIO = (sys.executable, "-m", "poptrio")


def with_capabilities(names, *arguments):
    """A command line for root without all other capabilities, as in a container."""
    allowed = ",".join(["-all", *(f"+{name.lower()}" for name in names)])
    return ["setpriv", f"--bounding-set={allowed}", "--inh-caps=-all", *POPTRIO, *arguments]


def test_the_capabilities_are_the_same_everywhere():
    table = re.findall(r"^\| capability `(\w+)` \|", PAGE, re.M)
    unit = (ROOT / "poptrio" / "system" / "poptrio.service").read_text("utf-8")
    (ambient,) = re.findall(r"^AmbientCapabilities=(.*)$", unit, re.M)
    assert DOCKER == table == [name.removeprefix("CAP_") for name in ambient.split()]
    assert "--privileged" not in RUN
    assert "--cap-drop ALL" in RUN
    assert "--device /dev/net/tun" in RUN


def instructions():
    """The lines of the Containerfile as instruction and words."""
    text = re.sub(r"\\\n", " ", CONTAINERFILE.read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_the_containerfile_copies_what_there_is_and_starts_what_there_is():
    found = instructions()
    assert found[0][0] == "FROM"
    for instruction, words in found:
        if instruction == "COPY":
            assert all((ROOT / source).exists() for source in words.split()[:-1])
    words = dict(found)
    command = [*json.loads(words["ENTRYPOINT"]), *json.loads(words["CMD"])]
    assert command == ["poptrio", "run", "/etc/poptrio/config.toml"]
    assert str(CONTAINERFILE.relative_to(ROOT)) in PAGE


@pytest.mark.root
def test_they_are_enough_for_a_call(tmp_path):
    (tmp_path / "config.toml").write_text('[management]\nsocket = "api"\n')
    (tmp_path / "chap-secrets").write_text("alice * secret *\n")
    (tmp_path / "chap-secrets").chmod(0o600)
    config = str(tmp_path / "config.toml")
    dial = ("dial", "192.0.2.1", "--user", "alice", "--password", "secret", "--probe")
    with Namespace("container") as container, Namespace("client") as client:
        join(container, "192.0.2.1", client, "192.0.2.2")
        assert "fault" not in container.run(*with_capabilities(DOCKER, "check", config))
        server = subprocess.Popen(
            container.command(*with_capabilities(DOCKER, "run", config)), stderr=subprocess.PIPE, text=True
        )
        try:
            assert any("listening" in line for line in server.stderr)
            assert "all steps passed" in client.run(*with_capabilities(["NET_RAW"], *dial))
        finally:
            server.terminate()
            server.communicate(timeout=15)
    assert server.returncode == 0
