"""The page about services, and the units that come with poptrio: what they say of each other, and what systemd says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poptrio.cli import app
from poptrio.cli.systemd import Unit
from poptrio.config import Config
from poptrio.runtime.activation import MANAGEMENT
from poptrio.runtime.privileges import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_RAW, KEPT
from poptrio.runtime.service_manager import STATUS_INTERVAL

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "run-as-a-service.md").read_text("utf-8")
UNITS = ROOT / "poptrio" / "system"
SERVICE = (UNITS / "poptrio.service").read_text("utf-8")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing (Debian: systemd)"
)


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.M)


@needs_systemd
def test_the_exposure_on_the_page_is_what_systemd_says():
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / "poptrio.service")]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    (figure,) = re.findall(r"Overall exposure level for poptrio.service: ([\d.]+)", said)
    assert f"an exposure of {figure} of 10" in PAGE
    assert float(figure) <= 2.5


@needs_systemd
def test_systemd_understands_the_units(tmp_path):
    for unit in Unit:
        printed = CliRunner().invoke(app, ["systemd-unit", unit.value]).stdout
        (tmp_path / unit.value).write_text(printed)
    command = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True)
    about_ours = [line for line in done.stderr.splitlines() if "poptrio" in line]
    assert about_ours == []


def test_the_service_has_the_capabilities_that_the_server_keeps():
    names = {CAP_NET_ADMIN: "CAP_NET_ADMIN", CAP_NET_RAW: "CAP_NET_RAW", CAP_NET_BIND_SERVICE: "CAP_NET_BIND_SERVICE"}
    for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
        (value,) = values(SERVICE, key)
        assert set(value.split()) == {names[bit] for bit in KEPT}


def test_the_sockets_are_those_of_the_default_configuration():
    port = (UNITS / "poptrio.socket").read_text("utf-8")
    api = (UNITS / "poptrio-management.socket").read_text("utf-8")
    assert values(port, "ListenStream") == [str(listen) for listen in Config().server.listen]
    assert values(api, "ListenStream") == [Config().management.socket]
    assert values(api, "FileDescriptorName") == [MANAGEMENT]
    assert values(api, "SocketMode") == ["0660"]


def test_the_watchdog_on_the_page_is_that_of_the_unit():
    (seconds,) = map(int, values(SERVICE, "WatchdogSec"))
    assert f"Every {min(seconds / 2, STATUS_INTERVAL):g} seconds a sign of life" in PAGE
    assert f"after {seconds} without one" in PAGE


def test_the_program_and_the_configuration_of_this_machine_are_put_in():
    def exec_start(*options: str) -> str:
        (line,) = values(CliRunner().invoke(app, ["systemd-unit", *options]).stdout, "ExecStart")
        return line

    called = f"{sys.executable} -P -m poptrio run "
    assert exec_start() == called + "/etc/poptrio/config.toml"
    assert exec_start("--config", "/srv/my vpn/100%.toml") == called + '"/srv/my vpn/100%%.toml"'
    assert CliRunner().invoke(app, ["systemd-unit", "poptrio.mount"]).exit_code == 2


def test_the_reference_has_every_variable_of_scripts():
    page = (ROOT / "docs" / "reference" / "scripts.md").read_text("utf-8")
    source = (ROOT / "poptrio" / "plugins" / "scripts.py").read_text("utf-8").partition("def environment")[2]
    names = set(re.findall(r'"([A-Z][A-Z_]+)"', source)) - {"DNS", "WINS"}
    assert {"IFNAME", "PEERNAME", "CONNECT_TIME", "CAUSE", "FILTER_ID"} <= names
    for name in names | {"DNS1", "DNS2", "WINS1", "WINS2"}:
        assert f"`{name}`" in page
