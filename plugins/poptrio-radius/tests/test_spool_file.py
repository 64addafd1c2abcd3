"""The spool on disk: what it keeps, and the files that it refuses."""

import sqlite3
from contextlib import closing

import pytest

from poptrio.api import AccountingKind, Traffic
from poptrio_radius.spool_file import Batch, OpenSession, Record, SpoolError, SpoolFile, judge

START, INTERIM, STOP = AccountingKind.START, AccountingKind.INTERIM, AccountingKind.STOP

TRAFFIC = Traffic(2**40, 2**41, 3, 4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "accounting.sqlite"


def record(number, kind=START, session_id="a"):
    return Record(number=number, session_id=session_id, kind=kind, time=number + 0.5, attributes=bytes([number]))


def write(path, *batches):
    with closing(SpoolFile(path)) as file:
        for batch in batches:
            file.write(batch)


def recover(path):
    with closing(SpoolFile(path)) as file:
        return file.recover(stop_of)


def stop_of(session):
    return session.attributes + repr(session.traffic).encode()


def open_session(session_id, time, attributes, traffic=TRAFFIC):
    session = OpenSession(session_id=session_id, time=time, seconds=1.5, traffic=traffic, attributes=attributes)
    return {session_id: session}


def test_what_was_written_is_there_again(path):
    write(path, Batch(added={1: record(1), 2: record(2, STOP)}))
    assert recover(path) == [record(1), record(2, STOP)]


def test_what_was_removed_is_gone(path):
    write(path, Batch(added={1: record(1), 2: record(2, STOP)}), Batch(removed={1}))
    assert recover(path) == [record(2, STOP)]


def test_a_batch_may_be_written_twice(path):
    batch = Batch(added={1: record(1), 2: record(2, STOP)}, removed={2}, sessions=open_session("b", 1.0, b""))
    write(path, batch, batch)
    assert [r.session_id for r in recover(path)] == ["a", "b"]


def test_a_session_left_open_gets_its_stop_behind_what_there_is(path):
    write(path, Batch(added={7: record(7)}, sessions=open_session("a", 9.0, b"last known")))
    start, stop = recover(path)
    assert start == record(7)
    assert stop == Record(
        number=8, session_id="a", kind=STOP, time=9.0, attributes=b"last known" + repr(TRAFFIC).encode()
    )
    assert recover(path) == [start, stop], "and only once"


def test_the_last_that_was_said_of_a_session_counts(path):
    write(
        path,
        Batch(sessions=open_session("a", 1.0, b"first") | open_session("b", 1.0, b"gone")),
        Batch(sessions=open_session("a", 2.0, b"second") | {"b": None}),
    )
    assert [(r.session_id, r.attributes) for r in recover(path)] == [("a", b"second" + repr(TRAFFIC).encode())]


def test_batches_are_joined_in_their_order():
    earlier = Batch(added={1: record(1), 2: record(2)}, removed={0}, sessions=open_session("a", 1.0, b""))
    joined = earlier.followed_by(Batch(added={3: record(3)}, removed={2}, sessions={"a": None}))
    assert joined == Batch(added={1: record(1), 3: record(3)}, removed={0, 2}, sessions={"a": None})
    assert not Batch()
    assert joined


def test_a_failed_write_changes_nothing(path):
    with closing(SpoolFile(path)) as file:
        file.write(Batch(added={1: record(1)}))
        broken = Record(number=2, session_id=None, kind=START, time=0.0, attributes=b"")
        with pytest.raises(sqlite3.IntegrityError):
            file.write(Batch(added={3: record(3), 2: broken}, removed={1}))
        assert file.recover(stop_of) == [record(1)]


def test_the_file_is_its_owners_alone(path):
    write(path)
    assert path.stat().st_mode & 0o777 == 0o600


def refusal(path):
    with pytest.raises(SpoolError) as caught:
        SpoolFile(path)
    return str(caught.value)


def test_a_missing_folder_is_named(path):
    assert refusal(path.parent / "missing" / "x") == f"its folder does not exist: mkdir -p {path.parent}/missing"


def test_a_folder_in_its_place_is_refused(tmp_path):
    assert refusal(tmp_path) == "cannot be written: Is a directory"


def test_a_second_process_is_refused(path):
    with closing(SpoolFile(path)):
        assert refusal(path).startswith("is in use by another process")
    write(path)


def test_another_kind_of_file_is_refused(path):
    path.write_bytes(b"not a database, but long enough to be looked at" * 40)
    assert refusal(path) == "is no SQLite database; name another file"


def test_the_database_of_another_program_is_refused(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    assert refusal(path) == "is the database of another program; name another file"


def test_another_version_is_refused(path):
    write(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    assert refusal(path) == "has tables of version 99, this poptrio-radius knows 1"


def test_a_damaged_file_is_refused(path):
    write(path, Batch(added={number: record(number % 250, session_id="x" * 2000) for number in range(1, 200)}))
    data = bytearray(path.read_bytes())
    assert len(data) > 3 * 4096, "it is no longer in the journal only"
    data[4096 + 8 :] = b"\xff" * (len(data) - 4096 - 8)
    path.write_bytes(data)
    assert refusal(path).startswith("is damaged; move it away")


def test_a_file_is_judged_while_another_process_has_it(tmp_path):
    path = tmp_path / "spool"
    judge(path)
    assert not path.exists()
    spool = SpoolFile(path)
    with pytest.raises(SpoolError, match="in use by another process"):
        SpoolFile(path)
    judge(path)
    spool.close()
    judge(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_text("accounting" * 20), "is no SQLite database"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(52) + b"\x0f\x05\x51\x12"), "of another program"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
    ],
)
def test_what_can_be_no_spool_is_judged_so(tmp_path, make, why):
    make(tmp_path / "spool")
    with pytest.raises(SpoolError, match=why):
        judge(tmp_path / "spool")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SpoolError, match=f"mkdir -p {tmp_path}/none"):
        judge(tmp_path / "none" / "spool")
