"""The tutorial, done: its commands are run in their order, in namespaces with other names. Needs root."""

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from poptrio.client.steps import Step

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial" / "first-tunnel.md").read_text("utf-8")
NAMESPACE = re.compile(r"(netns |netns add |netns exec |netns delete |ip -n )(server|client)\b")


class Reader:
    """Runs what the page says, in a folder with the shipped configuration."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "120",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, script, expected=0):
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == expected, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @contextmanager
    def stays(self, script, ready):
        """A command that stays in the foreground, from the moment it says ``ready`` to its Ctrl-C."""
        process = subprocess.Popen(
            ["bash", "-euc", f"exec {script.strip()}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = []
        try:
            for line in process.stdout:
                lines.append(line)
                if ready in line:
                    break
            else:
                pytest.fail(f"{script} ended: {''.join(lines)}")
            yield lines
            process.send_signal(signal.SIGINT)
            lines += process.communicate(timeout=15)[0].splitlines()
            assert process.returncode == 0, lines
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


def blocks(number):
    """The shell blocks of a section of the page, with namespaces that nobody else has."""
    section = PAGE.partition(f"\n## {number}. ")[2].partition("\n## ")[0]
    found = re.findall(r"^```\n(.*?)^```$", section, re.M | re.S)
    return [NAMESPACE.sub(rf"\1poptrio-docs-{os.getpid()}-\2", block) for block in found]


@pytest.mark.root
@pytest.mark.slow
def test_the_tutorial_works_as_it_is_written(tmp_path):
    reader = Reader(tmp_path)
    (tmp_path / "config.toml").write_text((ROOT / "config.toml").read_text().replace("/run/", ""))
    (cable,), (make_user,), (check, serve), (dial, shown, wrong) = map(blocks, (2, 3, 4, 5))
    (stay, look), (clean_up,) = blocks(6), blocks(7)
    with ExitStack() as cleaning:
        cleaning.callback(reader.run, clean_up)
        reader.run(cable)
        assert "alice" in reader.run(make_user)
        assert "fault" not in reader.run(check)
        with reader.stays(serve, "listening") as log:
            probed = reader.run(dial)
            for step in Step:
                assert f"✓ {step.label} " in probed
                assert f"✓ {step.label} " in shown
            assert "all steps passed" in probed
            assert "✗ authentication" in reader.run(wrong, expected=1)
            secret = (tmp_path / "chap-secrets").read_text().splitlines()[1].split()[2].strip('"')
            reader.environment["POPTRIO_PASSWORD"] = secret
            with reader.stays(stay, "up: "):
                looked = reader.run(look)
                assert " 0% packet loss" in looked
                assert "10.90.0.1 dev poptrio-dial" in looked
        assert sum("call up" in line for line in log) == 2
        assert sum("call ended" in line for line in log) == 3
