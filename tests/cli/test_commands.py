"""The commands: what they print, and their exit codes."""

import json
import os
import re
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poptrio import __version__
from poptrio.cli import app, managing
from poptrio.server.plugins import Plugin

pytestmark = pytest.mark.usefixtures("restored_logging")


def poptrio(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a chap-secrets file beside it."""
    path = tmp_path / "config.toml"
    path.write_text('[plugins.chap-secrets]\nfile = "chap-secrets"\n')
    secrets = tmp_path / "chap-secrets"
    secrets.write_text('"test" * "hunter2" *\n')
    secrets.chmod(0o600)
    return path


def test_version():
    result = poptrio("--version")
    assert (result.exit_code, result.stdout) == (0, f"poptrio {__version__}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_a_line_and_exit_code_1():
    command = [sys.executable, "-m", "poptrio", "--version"]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert result.stderr == "what is to be said cannot be written: No space left on device\n"
    assert result.returncode == 1


def test_what_the_encoding_has_not_is_escaped():
    code = "import sys; from poptrio.cli import app, main; app.command('say')(lambda: print('zo\\xeb \\u2192')); main()"
    command = [sys.executable, "-c", code, "say"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert (result.stdout, result.stderr) == ("zo\\xeb \\u2192\n", "")


def test_what_is_said_to_a_closed_output_is_lost(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", None)
    managing.console().print("nothing")


def test_a_table_for_somebody_who_has_gone_is_a_broken_pipe(monkeypatch: pytest.MonkeyPatch):
    """And no exit by rich: `asking` makes that the end of the command, for all that is printed."""
    reading, writing = os.pipe()
    os.close(reading)
    pipe = open(writing, "w")  # noqa: SIM115 - closing it fails, too
    monkeypatch.setattr(sys, "stdout", pipe)
    with pytest.raises(BrokenPipeError):
        managing.console().print("nothing")
    with suppress(BrokenPipeError):
        pipe.close()


@pytest.mark.parametrize("arguments", [["nonsense"], ["check"], ["run", "--nonsense", "x"], ["plugins", "a", "b"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]):
    assert poptrio(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["run", "check", "plugins"])
def test_a_bad_configuration_is_reported_whole_and_is_exit_code_2(command: str, tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("[ppp]\nmtu = 1\n[server]\nmax_cals = 1\n")
    result = poptrio(command, path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{path}:2: ppp.mtu: 1 is too little; it must be at least 576",
        f'{path}:4: server.max_cals: unknown key; did you mean "max_calls"?',
    ]


@pytest.mark.parametrize("command", ["check", "plugins"])
def test_faults_as_json(command: str, tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("[ppp]\nmtu = 1\n")
    result = poptrio(command, path, "--json")
    assert result.exit_code == 2
    fault = {"place": f"{path}:2", "message": "ppp.mtu: 1 is too little; it must be at least 576"}
    assert json.loads(result.stdout) == {"faults": [fault]}


def test_a_plugin_that_is_not_installed_as_json(config: Path):
    config.write_text('[authentication]\nplugins = ["chap-secret"]\n')
    result = poptrio("plugins", config, "--json")
    assert result.exit_code == 2
    assert len(json.loads(result.stdout)["faults"]) == 1


def test_a_plugin_without_keys_does_not_list_them(config: Path):
    config.write_text(config.read_text() + "[plugins.ip-pool]\nsize = 3\n")
    result = poptrio("check", config)
    assert "plugins.ip-pool.size: unknown table or key; there are none here" in result.stdout


def test_plugins_are_shown_in_order(config: Path):
    result = poptrio("plugins", config)
    assert result.exit_code == 0
    lines = [line.split()[:3] for line in result.stdout.splitlines() if line[1] != " "]
    assert [line[0] for line in lines] == ["plugin", "chap-secrets", "ip-pool"]
    assert lines[1][1] == "poptrio"


def test_a_row_of_plugins_is_one_line_whatever_they_are_called(monkeypatch: pytest.MonkeyPatch, config: Path):
    hooks = tuple(f"poptrio_hook_number_{number}" for number in range(20))
    plugin = Plugin("evil\x1b[31m", "dist\nribution", "1", hooks, {})
    monkeypatch.setattr("poptrio.server.hooks.Hooks.table", lambda self: [plugin])
    header, row = poptrio("plugins", config).stdout.splitlines()
    assert header.split() == ["plugin", "distribution", "version", "hooks"]
    assert row.startswith(r"evil\x1b[31m  dist\nribution  1        hook_number_0, ")
    assert row.rstrip().endswith("hook_number_19")


def test_plugins_as_json(config: Path):
    records = json.loads(poptrio("plugins", config, "--json").stdout)
    assert [record["name"] for record in records] == ["chap-secrets", "ip-pool"]
    assert "authenticate" in records[0]["hooks"]
    assert "allocate_address" in records[1]["hooks"]
    assert set(records[0]) == {"name", "distribution", "version", "hooks"}


def test_a_plugin_that_is_not_installed_is_exit_code_2(config: Path):
    config.write_text('[authentication]\nplugins = ["chap-secret"]\n')
    result = poptrio("plugins", config)
    assert result.exit_code == 2
    assert 'did you mean "chap-secrets"?' in result.stderr


def test_check_lists_findings_with_their_remedies(config: Path):
    findings = json.loads(poptrio("check", config, "--json").stdout)
    assert {"level": "ok", "subject": "config", "sentence": f"{config} is valid", "remedy": ""} in findings
    subjects = {finding["subject"] for finding in findings}
    assert subjects >= {"plugins", "CAP_NET_ADMIN", "CAP_NET_RAW", "tun", "interface", "port", "gre", "ip_forward"}
    for finding in findings:
        assert (finding["level"] == "ok") == (finding["remedy"] == ""), finding


def test_check_prints_a_line_for_each_finding(config: Path):
    result = poptrio("check", config)
    assert re.search(rf"^ok +config +{config} is valid$", result.stdout, re.MULTILINE)
    assert result.exit_code == (1 if re.search(r"^fault ", result.stdout, re.MULTILINE) else 0)


def test_check_starts_the_plugins(config: Path):
    """A plugin that does not accept its table is a fault, although the configuration is one."""
    (config.parent / "chap-secrets").unlink()
    result = poptrio("check", config, "--json")
    assert result.exit_code == 1
    faults = [finding for finding in json.loads(result.stdout) if finding["level"] == "fault"]
    assert any(finding["subject"] == "plugins" and "chap-secrets" in finding["sentence"] for finding in faults)


def test_check_says_what_insecure_settings_mean(config: Path):
    config.write_text('[ppp]\nauthentication = ["mschap-v2", "pap"]\nencryption = "prefer"\n')
    findings = json.loads(poptrio("check", config, "--json").stdout)
    warnings = [finding["sentence"] for finding in findings if finding["subject"] == "security"]
    assert len(warnings) == 2
    assert "passwords cross the network in clear" in warnings[0]


def test_secrets_init_writes_one_user_whom_only_the_owner_can_read(tmp_path: Path):
    file = tmp_path / "chap-secrets"
    result = poptrio("secrets", "init", file, "--user", "alice")
    assert result.exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    row = re.fullmatch(r'# .*\n"alice"  \*  "([A-Za-z0-9]{16})"  \*\n', file.read_text())
    assert row is not None
    assert f"rasdial poptrio alice {row[1]}" in result.stdout
    assert "--nolaunchpppd" in result.stdout


def test_secrets_init_keeps_a_file_that_exists(tmp_path: Path):
    file = tmp_path / "chap-secrets"
    file.write_text("precious")
    result = poptrio("secrets", "init", file)
    assert result.exit_code == 1
    assert file.read_text() == "precious"


def test_two_files_have_different_passwords(tmp_path: Path):
    for name in ("one", "two"):
        assert poptrio("secrets", "init", tmp_path / name).exit_code == 0
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


def test_secrets_init_says_how_this_poptrio_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "some where" / "poptrio"
    monkeypatch.setattr("sys.argv", [str(program), "secrets", "init"])
    assert f"\n  '{program}' dial " in poptrio("secrets", "init", tmp_path / "one").stdout
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert "\n  poptrio dial " in poptrio("secrets", "init", tmp_path / "two").stdout
    monkeypatch.setattr("sys.argv", ["/some/where/__main__.py"])
    assert f"\n  {sys.executable} -m poptrio dial " in poptrio("secrets", "init", tmp_path / "three").stdout


@pytest.mark.parametrize("user", ["", "-x", "two words", 'quo"te', "new\nline"])
def test_secrets_init_refuses_names_that_would_need_quoting(tmp_path: Path, user: str):
    file = tmp_path / "chap-secrets"
    assert poptrio("secrets", "init", file, f"--user={user}").exit_code == 2
    assert not file.exists()
