"""``poptrio run`` where it cannot start: a sentence and an exit code, no traceback."""

import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poptrio.cli import app

pytestmark = pytest.mark.usefixtures("restored_logging")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        '[server]\nlisten = ["127.0.0.1:1"]\n[plugins.chap-secrets]\nfile = "chap-secrets"\n[management]\nsocket = ""\n'
    )
    return path


@pytest.mark.root
def test_a_plugin_that_does_not_start_is_exit_code_2(config: Path):
    result = CliRunner().invoke(app, ["run", str(config)])
    assert result.exit_code == 2
    assert f"{config.parent}/chap-secrets: cannot be read: No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.root
def test_a_port_that_is_taken_is_said_and_nothing_is_started(config: Path):
    (config.parent / "chap-secrets").write_text('"test" * "hunter2" *\n')
    (config.parent / "chap-secrets").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config.write_text(config.read_text().replace("127.0.0.1:1", f"127.0.0.1:{port}"))
        result = CliRunner().invoke(app, ["run", str(config)])
    assert result.exit_code == 2
    assert f"127.0.0.1:{port} cannot be listened on" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root has every capability")
def test_missing_rights_are_said_plainly(config: Path):
    result = CliRunner().invoke(app, ["run", str(config)])
    assert result.exit_code == 1
    assert "CAP_NET_RAW is missing, which GRE packets need. Run as root" in result.stderr
