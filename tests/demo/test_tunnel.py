"""`make demo`, run as a newcomer runs it."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "demo" / "tunnel.py"


@pytest.mark.root
def test_it_shows_a_tunnel_and_leaves_nothing_behind():
    before = set(os.listdir("/run/netns")) if Path("/run/netns").exists() else set()
    shown = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for step in ("tcp", "control", "gre", "lcp", "authentication", "encryption", "addresses"):
        assert f"✓ {step} " in shown.stdout
    assert "none of the" in shown.stdout
    assert "call ended" in shown.stdout
    left = {name for name in set(os.listdir("/run/netns")) - before if "-demo-" in name}
    assert not left


def test_it_says_what_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert runpy.run_path(str(DEMO))["main"]() == 2
    assert "sudo make demo" in capsys.readouterr().out
