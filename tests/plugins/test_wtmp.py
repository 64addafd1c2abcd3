"""The wtmp plugin: glibc's records, which last(1) reads; appended under its lock, ended after a kill."""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import trio

from poptrio.api import (
    Accept,
    AccountingKind,
    AccountingRecord,
    CallInfo,
    CauseOfEnd,
    ConfigError,
    ServerInfo,
    Traffic,
)
from poptrio.plugins import utmp_file
from poptrio.plugins.utmp_file import Kind, LoginRecord, append, layout_of, update
from poptrio.server.hooks import Hooks

LAYOUT = layout_of("x86_64")
CALL = CallInfo(
    session_id="s1",
    call_id=0xBEEF,
    peer_call_id=2,
    peer=IPv4Address("203.0.113.9"),
    server=IPv4Address("198.51.100.1"),
    started=datetime(2025, 1, 1, tzinfo=UTC),
)
UP = AccountingRecord(
    kind=AccountingKind.START,
    call=CALL,
    accept=Accept(user="alice"),
    address=IPv4Address("10.90.0.2"),
    seconds=0.0,
    traffic=Traffic(),
    timestamp=datetime(2025, 3, 1, 10, 0, 0, tzinfo=UTC),
)
DOWN = replace(
    UP,
    kind=AccountingKind.STOP,
    timestamp=datetime(2025, 3, 1, 11, 30, 0, tzinfo=UTC),
    cause=CauseOfEnd.CLIENT_HUNG_UP,
)
LOGIN = LoginRecord(7, 42, "pptp48879", "beef", "alice", "203.0.113.9", 1740823200.5, IPv4Address("203.0.113.9"))

SERVER = ServerInfo(folder=Path(), name="poptrio", address=IPv4Address("10.90.0.1"), pool=())


@asynccontextmanager
async def running(folder, *, server=SERVER, **config):
    hooks = Hooks.load([], [], ["wtmp"])
    async with hooks.lifespan({"wtmp": config}, replace(server, folder=folder)):
        yield hooks.account


@pytest.fixture
def wtmp(tmp_path):
    (tmp_path / "wtmp").touch()
    return tmp_path / "wtmp"


def records(path, layout=LAYOUT):
    data = path.read_bytes()
    return [LoginRecord.unpack(data[at : at + layout.size], layout) for at in range(0, len(data), layout.size)]


def test_records_are_as_long_as_glibcs_and_their_fields_where_it_has_them():
    """From bits/utmp.h: offsets 0, 4, 8, 40, 44, 76; then times in 32 bits on x86-64, in 64 on AArch64."""
    narrow, wide = LOGIN.pack(layout_of("x86_64")), LOGIN.pack(layout_of("aarch64"))
    assert (len(narrow), len(wide)) == (384, 400)
    for octets in (narrow, wide):
        assert struct.unpack_from("<hxxi", octets) == (7, 42)
        assert [octets[at : at + 9] for at in (8, 40, 44, 76)] == [
            b"pptp48879",
            b"beefalice",
            b"alice\0\0\0\0",
            b"203.0.113",
        ]
    assert struct.unpack_from("<iii4s", narrow, 336) == (0, 1740823200, 500000, bytes([203, 0, 113, 9]))
    assert struct.unpack_from("<qqq4s", wide, 336) == (0, 1740823200, 500000, bytes([203, 0, 113, 9]))
    assert LoginRecord.unpack(narrow, LAYOUT) == LOGIN


def test_long_texts_are_cut():
    record = LoginRecord.unpack(replace(LOGIN, user="ü" * 40, line="x" * 99).pack(LAYOUT), LAYOUT)
    assert (record.user, len(record.line)) == ("ü" * 16, 32)


def test_another_machine_has_no_known_layout():
    with pytest.raises(LookupError, match="of vax are not known"):
        layout_of("vax")


@pytest.mark.skipif(shutil.which("last") is None, reason="last(1) is not installed (Debian: util-linux)")
async def test_last_shows_the_call(wtmp):
    async with running(wtmp.parent, wtmp="wtmp") as account:
        await account(UP)
        assert "gone" in last(wtmp) or "still logged in" in last(wtmp)
        await account(DOWN)
    assert "alice    pptp48879    203.0.113.9      Sat Mar  1 10:00 - 11:30  (01:30)" in last(wtmp)


def last(path):
    return subprocess.check_output(["last", "-f", path], text=True, env={"TZ": "UTC", "LC_ALL": "C"})


async def test_utmp_has_who_is_there_and_reuses_the_place(wtmp):
    utmp = wtmp.parent / "utmp"
    utmp.touch()
    other = replace(LOGIN, id="tty1", line="tty1", user="root")
    update(utmp, other, LAYOUT)
    async with running(wtmp.parent, wtmp="", utmp="utmp") as account:
        await account(UP)
        assert [(one.user, one.kind) for one in records(utmp)] == [("root", 7), ("alice", 7)]
        assert records(utmp)[1].pid == os.getpid()
        await account(DOWN)
        assert [(one.user, one.kind, one.id) for one in records(utmp)] == [("root", 7, "tty1"), ("", 8, "beef")]
        await account(replace(UP, call=replace(CALL, session_id="s2"), accept=Accept(user="bob")))
        assert [one.user for one in records(utmp)] == ["root", "bob"]
    assert wtmp.read_bytes() == b""


async def test_the_logout_of_a_call_that_was_taken_over(wtmp):
    async with running(wtmp.parent, wtmp="wtmp") as account:
        await account(UP)
    async with running(wtmp.parent, server=replace(SERVER, continued=True), wtmp="wtmp") as account:
        await account(replace(DOWN, seconds=5400.0))
    assert [(one.kind, one.id) for one in records(wtmp)] == [(7, "beef"), (8, "beef")]


async def test_logins_of_a_server_that_was_killed_are_ended_at_the_next_start(wtmp):
    utmp = wtmp.parent / "utmp"
    utmp.touch()
    ended = await trio.lowlevel.open_process([sys.executable, "-c", ""])
    await ended.wait()
    for record in (
        replace(LOGIN, pid=ended.pid),
        replace(LOGIN, pid=os.getppid(), line="pptp5", id="0005", user="lives"),
        replace(LOGIN, pid=ended.pid, line="tty1", id="tty1", user="no call"),
    ):
        update(utmp, record, LAYOUT)
    async with running(wtmp.parent, wtmp="wtmp", utmp="utmp"):
        assert [one.user for one in records(utmp)] == ["", "lives", "no call"]
        (logout,) = records(wtmp)
        assert (logout.kind, logout.line) == (Kind.DEAD_PROCESS, "pptp48879")
        assert abs(logout.seconds - time.time()) < 60


@pytest.fixture
async def utmp(wtmp):
    """A utmp file with a login of a process that is gone, and one of our parent."""
    ended = await trio.lowlevel.open_process([sys.executable, "-c", ""])
    await ended.wait()
    utmp = wtmp.parent / "utmp"
    utmp.touch()
    update(utmp, replace(LOGIN, pid=ended.pid), LAYOUT)
    update(utmp, replace(LOGIN, pid=os.getppid(), line="pptp5", id="0005", user="bob"), LAYOUT)
    return utmp


async def test_logins_of_a_server_that_hands_over_are_of_the_new_process(wtmp, utmp):
    before = records(utmp)
    async with running(wtmp.parent, server=replace(SERVER, continued=True), wtmp="wtmp", utmp="utmp"):
        assert records(utmp) == [before[0], replace(before[1], pid=os.getpid())]
    assert records(wtmp) == []


@dataclass
class Up:
    """A call that is up, as far as it is needed here."""

    call: CallInfo


async def test_logins_come_back_when_the_new_process_does_not_come_up(wtmp, utmp):
    hooks = Hooks.load([], [], ["wtmp"])
    server = replace(SERVER, folder=wtmp.parent, sessions=[Up(replace(CALL, call_id=5))])  # type: ignore[arg-type]
    async with hooks.lifespan({"wtmp": {"utmp": "utmp"}}, server):
        taken = [replace(one, pid=1) for one in records(utmp)]
        with hooks.handed_over():
            for one in taken:
                update(utmp, one, LAYOUT)
        assert records(utmp) == [taken[0], replace(taken[1], pid=os.getpid())]


async def test_a_check_writes_nothing(wtmp, utmp):
    before = utmp.read_bytes()
    async with running(wtmp.parent, server=replace(SERVER, rehearsal=True), wtmp="wtmp", utmp="utmp"):
        pass
    assert (utmp.read_bytes(), wtmp.read_bytes()) == (before, b"")


async def test_a_call_that_was_over_before_its_login_was_written_is_there(wtmp):
    async with running(wtmp.parent, wtmp="wtmp") as account:
        await account(replace(DOWN, seconds=2.0))
    login, logout = records(wtmp)
    assert (login.kind, login.user, logout.kind) == (Kind.USER_PROCESS, "alice", Kind.DEAD_PROCESS)
    assert logout.seconds - login.seconds == 2.0


async def test_logins_of_a_killed_server_that_had_our_number_are_ended(tmp_path):
    """As in a container, where every server is process 1."""
    (tmp_path / "utmp").write_bytes(replace(LOGIN, pid=os.getpid()).pack(LAYOUT))
    async with running(tmp_path, wtmp="", utmp="utmp"):
        (record,) = records(tmp_path / "utmp")
    assert record.kind == Kind.DEAD_PROCESS


@pytest.mark.parametrize(("name", "written"), [("a\n\x1b[2Jb", "a??[2Jb"), ("root\0x", "root?x"), ("\udcff", "?")])
def test_a_name_means_nothing_to_a_terminal(name, written):
    assert LoginRecord.unpack(replace(LOGIN, user=name).pack(LAYOUT), LAYOUT).user == written


def test_what_was_left_half_written_is_cut_off(wtmp):
    wtmp.write_bytes(LOGIN.pack(LAYOUT) + b"half a record")
    append(wtmp, LOGIN, LAYOUT)
    assert records(wtmp) == [LOGIN, LOGIN]


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(wtmp):
    """Another process has the lock until its standard input is closed."""
    command = [sys.executable, "-c", HOLD, str(wtmp)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield holder


def test_a_file_that_stays_locked_is_given_up(wtmp, held, monkeypatch):
    monkeypatch.setattr(utmp_file, "LOCK_TIMEOUT", 0.05)
    with pytest.raises(OSError, match="is locked by another process"):
        append(wtmp, LOGIN, LAYOUT)
    assert wtmp.read_bytes() == b""


async def test_the_lock_of_another_process_is_waited_for_and_the_server_goes_on_meanwhile(wtmp, held):
    async with running(wtmp.parent, wtmp="wtmp") as account, trio.open_nursery() as nursery:
        nursery.start_soon(account, UP)
        await trio.sleep(0.05)  # the loop turns while the thread waits
        assert wtmp.read_bytes() == b""
        held.stdin.close()
    assert [one.user for one in records(wtmp)] == ["alice"]


def test_two_writers_at_once_leave_whole_records(wtmp):
    """The lock is fcntl's, as glibc's: whoever appends by it waits for us."""
    with wtmp.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        probe = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert subprocess.run([sys.executable, "-c", probe, wtmp], capture_output=True).returncode == 1


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"wtmp": ""}, "plugins.wtmp: names no file"),
        ({"wtmp": "none"}, "plugins.wtmp.wtmp: {folder}/none does not exist; make it: install -m 664"),
        ({"wtmpp": ""}, "plugins.wtmp.wtmpp"),
    ],
)
async def test_what_cannot_be_written_keeps_the_server_from_starting(tmp_path, config, why):
    with pytest.raises(ConfigError) as caught:
        async with running(tmp_path, **config):
            pass
    assert why.format(folder=tmp_path) in str(caught.value)
