"""Logs: nothing that a peer chose can forge a line or a field, and no secret is written."""

import errno
import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import structlog

from poptrio.errors import ConfigError
from poptrio.hiding import HIDDEN, names_a_secret
from poptrio.observe import journald, log
from poptrio.observe.areas import Levels

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


class _FullDisk(io.StringIO):
    full = True

    def flush(self):
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_whoever_logs_goes_on_when_the_disk_is_full(monkeypatch: pytest.MonkeyPatch):
    disk = _FullDisk()
    monkeypatch.setattr(sys, "stderr", disk)
    log.configure("info", "console")
    for _ in range(3):
        structlog.get_logger().info("call ended")
    disk.full = False
    disk.truncate(0)
    structlog.get_logger().info("call up")
    structlog.get_logger().info("call ended")
    lost, up, ended = disk.getvalue().lstrip("\0").splitlines()
    assert lost == "3 records of the log lost: standard error did not take them"
    assert "call up" in up
    assert "call ended" in ended


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


@pytest.mark.parametrize(
    "name",
    [
        *("password", "secret", "key", "start_key", "shared_secret", "Password", "keys", "sharedSecret"),
        *("token", "passphrase", "bindpw", "psk", "credentials", "pin", "api_key", "userpasswd"),
    ],
)
def test_values_under_the_name_of_a_secret_are_hidden(capsys: pytest.CaptureFixture[str], name: str):
    log.configure("info", "json")
    structlog.get_logger().info("plugin", **{name: "hunter2", "table": {name: "hunter2"}})
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert written.count(HIDDEN) == 2


def test_a_password_in_the_address_of_a_server_is_hidden(capsys: pytest.CaptureFixture[str]):
    log.configure("info", "json")
    try:
        raise OSError("no answer from ldap://root:hunter2@host/")
    except OSError as error:
        structlog.get_logger().exception("no answer", server="ldap://root:hunter2@host/", why=[error])
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert written.count(f"ldap://root:{HIDDEN}@host/") >= 3


def test_no_field_of_our_own_records_has_the_name_of_a_secret():
    page = Path(__file__).parents[2] / "docs/reference/log.md"
    fields = re.findall(r"^\| `(\w+)`", page.read_text(), re.MULTILINE)
    assert "user" in fields
    assert [field for field in fields if names_a_secret(field)] == []


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


def test_areas_have_levels_of_their_own_that_change_for_loggers_that_exist(capsys: pytest.CaptureFixture[str]):
    log.configure("info", "console", areas={"radius": "debug", "ppp": "error"})
    radius, ppp = (structlog.get_logger(f"poptrio.{area}").bind(call=7) for area in ("radius", "ppp"))
    nameless = structlog.get_logger()

    def written() -> list[str]:
        for logger in (radius, ppp, nameless):
            logger.debug("quiet")
            logger.warning("loud")
        return [" ".join(line.split()[1:]) for line in capsys.readouterr().err.splitlines()]

    assert written() == ["[debug ] quiet call=7", "[warning ] loud call=7", "[warning ] loud"]
    log.set_levels(Levels("error", {"ppp": "debug"}))
    assert written() == ["[debug ] quiet call=7", "[warning ] loud call=7"]
    log.set_levels(Levels("debug", {"ppp": "error"}))
    assert written() == ["[debug ] quiet call=7", "[warning ] loud call=7", "[debug ] quiet", "[warning ] loud"]


def test_a_trace_is_logged_at_any_level(capsys: pytest.CaptureFixture[str]):
    log.configure("error", "console")
    structlog.get_logger("poptrio.trace").debug("ppp packet")
    assert "ppp packet" in capsys.readouterr().err


def test_what_is_not_logged_is_not_rendered():
    """It costs the look-up of the logger and a comparison; no processor sees it."""
    log.configure("info", "console")
    seen: list[object] = []
    structlog.configure(processors=[lambda _logger, _method, event: seen.append(event) or ""])
    structlog.get_logger("poptrio.ppp").bind(call=7).debug("quiet")
    assert seen == []


def test_lines_on_a_standard_error_that_is_the_journal_have_priorities(tmp_path: Path):
    """In a process of its own, because standard error must be the very file that JOURNAL_STREAM names."""
    program = """
        import os, structlog
        from poptrio.observe.log import configure
        if os.environ["WITH"]:
            status = os.fstat(2)
            os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
        configure("info", "console")
        structlog.get_logger("poptrio.call").info("call ended")
        try:
            raise ValueError("two\\nlines")
        except ValueError:
            structlog.get_logger("poptrio.call").exception("internal error")
    """

    def lines(with_journal: str) -> list[str]:
        environment = {**os.environ, "WITH": with_journal, "JOURNAL_STREAM": "1:1"}
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=True, timeout=30)
        return done.stderr.splitlines()

    first, *rest = lines("yes")
    assert first.startswith("<6>2")
    assert all(line.startswith("<3>") for line in rest)
    assert rest[-1] == "<3>    lines"
    assert lines("")[0].startswith("2")


class JournalSocket:
    """What journald is to us: a datagram socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def entry(self) -> dict[str, str]:
        """The fields of the next record."""
        data, fields = self.socket.recv(1 << 20), {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                length = int.from_bytes(data[:8], "little")
                value, data = data[8 : 8 + length], data[8 + length + 1 :]
            fields[name.decode()] = value.decode()
        return fields


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JournalSocket]:
    fake = JournalSocket(tmp_path / "socket")
    monkeypatch.setattr(journald, "SOCKET", fake.path)
    yield fake
    fake.socket.close()


def test_the_journal_gets_every_field_apart(journal: JournalSocket, capsys: pytest.CaptureFixture[str]):
    log.configure("info", "json", output="journald")
    structlog.get_logger("poptrio.call").bind(call=7).warning("call refused", why="too\nmany", user="eve\nPRIORITY=0")
    assert journal.entry() == {
        "MESSAGE": r'call refused call=7 why=too\nmany user="eve\\nPRIORITY=0"',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "poptrio",
        "POPTRIO_EVENT": "call refused",
        "POPTRIO_CALL": "7",
        "POPTRIO_WHY": r"too\nmany",
        "POPTRIO_USER": r"eve\nPRIORITY=0",
    }
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("poptrio.call").exception("internal error")
    entry = journal.entry()
    assert entry["PRIORITY"] == "3"
    assert entry["POPTRIO_EXCEPTION"].splitlines()[-1] == "    ValueError: broken"
    logging.getLogger("trio").error("accept failed")
    assert journal.entry()["MESSAGE"] == "accept failed"
    assert capsys.readouterr().err == ""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_journal_that_is_slow_or_gone_holds_nobody_up(journal: JournalSocket, capsys: pytest.CaptureFixture[str]):
    log.configure("info", "json", output="journald")
    logger = structlog.get_logger("poptrio.call")
    written = 0
    while written < 5000:
        logger.info("call ended", user="x" * 1000)
        written += 1
    kept = 0
    with suppress(BlockingIOError):
        while True:
            journal.entry()
            kept += 1
    assert 0 < kept < written
    logger.info("listening")
    assert journal.entry()["POPTRIO_EVENT"] == "listening"
    assert journal.entry()["POPTRIO_COUNT"] == str(written - kept)
    journal.socket.close()
    logger.info("stopped")
    assert "MESSAGE=stopped\n" in capsys.readouterr().err


def test_without_a_journal_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journald, "SOCKET", tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r'there is no .*/nothing; use "stderr"'):
        log.configure("info", "console", output="journald")
