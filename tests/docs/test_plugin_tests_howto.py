"""The how-to about tests of plugins: its code blocks are written to files, and pytest runs them."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "test-a-plugin.md"
BLOCK = re.compile(r"^```(?:python|ini)\n# (\S+)\n(.*?)^```$", re.M | re.S)


def test_the_tests_of_the_page_pass(tmp_path):
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    assert [name for name, _ in blocks] == [
        "conftest.py",
        "pytest.ini",
        "members.py",
        "test_members.py",
        "test_accounting.py",
    ]
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout
