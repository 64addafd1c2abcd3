"""Logs: nothing that a peer chose can forge a line or a field, and no secret is written."""

import json
import logging
from ipaddress import IPv4Address

import pytest
import structlog

from poptrio.observe import log

pytestmark = pytest.mark.usefixtures("restored_logging")


def console_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was logged, without its time."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    time, _, rest = captured.err.partition(" ")
    assert time.endswith("Z")
    return rest.strip()


def test_console_lines_have_level_event_and_values_in_order(capsys: pytest.CaptureFixture[str]):
    log.configure("info", "console")
    structlog.get_logger().bind(call=7, peer=IPv4Address("192.0.2.9")).info("call ended", user=r"CORP\bob", seconds=1.5)
    assert console_line(capsys) == r"[info     ] call ended call=7 peer=192.0.2.9 user=CORP\bob seconds=1.5"


def test_json_lines_are_objects_with_a_utc_time(capsys: pytest.CaptureFixture[str]):
    log.configure("info", "json")
    structlog.get_logger().warning("call refused", peer=IPv4Address("192.0.2.9"), limits=(1, None, True))
    record = json.loads(capsys.readouterr().err)
    assert record.pop("timestamp").endswith("Z")
    assert record == {"event": "call refused", "level": "warning", "peer": "192.0.2.9", "limits": [1, None, True]}


def test_less_urgent_levels_are_left_out(capsys: pytest.CaptureFixture[str]):
    log.configure("warning", "console")
    structlog.get_logger().info("call ended")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("eve\n2030-01-01 [info] call ended", r'"eve\\n2030-01-01 [info] call ended"'),
        ("eve user=root", '"eve user=root"'),
        ('eve" user="root', r'"eve\" user=\"root"'),
        ('x\\" cause=none user="admin', r'"x\\\" cause=none user=\"admin"'),
        ("eve \\", r'"eve \\"'),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x85\u2028\u202e", r"\x85\u2028\u202e"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\udce9"),
        ("Zoë", "Zoë"),
        ("", '""'),
    ],
)
def test_a_name_cannot_forge_a_line_or_a_field(capsys: pytest.CaptureFixture[str], value: str, written: str):
    log.configure("info", "console")
    structlog.get_logger().info("authentication failed", user=value)
    assert console_line(capsys) == f"[info     ] authentication failed user={written}"


def test_a_value_of_any_length_makes_a_short_line(capsys: pytest.CaptureFixture[str]):
    log.configure("info", "json")
    structlog.get_logger().info("call ended", user="\x80" * 65_000, seen=["x" * 65_000])
    written = capsys.readouterr().err
    assert len(written) < 7 * log.LONGEST_VALUE
    assert "(63000 more)" in written


def test_values_inside_containers_are_escaped_too(capsys: pytest.CaptureFixture[str]):
    log.configure("info", "json")
    structlog.get_logger().info("options", seen={"a\n": ["b\n", ("c\n",)]}, error=ValueError("d\n"))
    record = json.loads(capsys.readouterr().err)
    assert record["seen"] == {r"a\n": [r"b\n", [r"c\n"]]}
    assert record["error"] == r"d\n"


@pytest.mark.parametrize("name", ["password", "secret", "key", "start_key", "shared_secret", "Password", "keys"])
def test_values_under_the_name_of_a_secret_are_hidden(capsys: pytest.CaptureFixture[str], name: str):
    log.configure("info", "json")
    structlog.get_logger().info("plugin", **{name: "hunter2", "table": {name: "hunter2"}})
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert written.count(log.HIDDEN) == 2


def test_a_traceback_is_written_once_and_its_text_cannot_start_a_line(capsys: pytest.CaptureFixture[str]):
    log.configure("info", "console")
    try:
        raise ValueError("bad\n2030-01-01 [info] forged\x1b[2J")
    except ValueError:
        structlog.get_logger().exception("internal error", call=7)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("internal error call=7")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)
    assert rest[-1] == r"    2030-01-01 [info] forged\x1b[2J"


def test_warnings_of_libraries_take_the_same_way(capsys: pytest.CaptureFixture[str]):
    log.configure("debug", "json")
    logging.getLogger("trio").info("not urgent")
    logging.getLogger("trio").error("accept failed: %s", "too many\nfiles")
    record = json.loads(capsys.readouterr().err)
    assert record["event"] == r"accept failed: too many\nfiles"
    assert record["level"] == "error"
