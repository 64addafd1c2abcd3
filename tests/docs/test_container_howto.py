"""The page about containers: the capabilities that it names are enough, and are those that it names everywhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from poptrio.testing.namespaces import Namespace, join

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "run-in-a-container.md").read_text("utf-8")
DOCKER = re.findall(r"--cap-add (\w+)", PAGE)
POPTRIO = (sys.executable, "-m", "poptrio")


def with_capabilities(names, *arguments):
    """A command line for root without all other capabilities, as in a container."""
    allowed = ",".join(["-all", *(f"+{name.lower()}" for name in names)])
    return ["setpriv", f"--bounding-set={allowed}", "--inh-caps=-all", *POPTRIO, *arguments]


def test_the_capabilities_are_the_same_everywhere():
    table = re.findall(r"^\| capability `(\w+)` \|", PAGE, re.M)
    (ambient,) = re.findall(r"^AmbientCapabilities=(.*)$", PAGE, re.M)
    (bounding,) = re.findall(r"^CapabilityBoundingSet=(.*)$", PAGE, re.M)
    assert DOCKER == table == [name.removeprefix("CAP_") for name in ambient.split()]
    assert ambient == bounding


@pytest.mark.root
def test_they_are_enough_for_a_call(tmp_path):
    (tmp_path / "config.toml").write_text("")
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
