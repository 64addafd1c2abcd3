"""Which records are kept, in which order they go, and which are dropped."""

from poptrio.api import AccountingKind
from poptrio_radius.backlog import Backlog
from poptrio_radius.spool_file import Record

START, INTERIM, STOP = AccountingKind.START, AccountingKind.INTERIM, AccountingKind.STOP


def record(number, kind, session_id="a"):
    return Record(number=number, session_id=session_id, kind=kind, time=float(number), attributes=b"")


def backlog_of(*records, limit=100):
    backlog = Backlog(limit)
    dropped = [dropped.number for record in records for dropped in backlog.add(record)]
    return backlog, dropped


def drain(backlog, session_id="a"):
    """The numbers in the order in which they go."""
    numbers = []
    while (record := backlog.take(session_id)) is not None:
        numbers.append(record.number)
        backlog.acknowledge(record)
    return numbers


def test_a_session_goes_in_order():
    backlog, _ = backlog_of(record(1, START), record(2, STOP))
    assert drain(backlog) == [1, 2]
    assert len(backlog) == 0
    assert not backlog.has("a")


def test_one_record_of_a_session_is_under_way_at_a_time():
    backlog, _ = backlog_of(record(1, START), record(2, STOP), record(3, START, "b"))
    first = backlog.take("a")
    assert backlog.take("a") is None
    assert backlog.take("b").number == 3
    backlog.acknowledge(first)
    assert backlog.take("a").number == 2


def test_nothing_is_taken_from_a_session_without_records():
    assert Backlog(1).take("a") is None


def test_a_newer_interim_takes_the_place_of_one_that_waits():
    backlog, dropped = backlog_of(record(1, START), record(2, INTERIM), record(3, INTERIM))
    assert dropped == [2]
    assert drain(backlog) == [1, 3]


def test_a_stop_takes_the_place_of_an_interim_that_waits():
    backlog, dropped = backlog_of(record(1, START), record(2, INTERIM), record(3, STOP))
    assert dropped == [2]
    assert drain(backlog) == [1, 3]


def test_an_interim_alone_is_replaced_and_its_session_goes_on():
    backlog, dropped = backlog_of(record(1, INTERIM), record(2, STOP))
    assert dropped == [1]
    assert drain(backlog) == [2]


def test_an_interim_under_way_is_not_replaced():
    backlog, _ = backlog_of(record(1, INTERIM))
    interim = backlog.take("a")
    assert backlog.add(record(2, STOP)) == []
    backlog.acknowledge(interim)
    assert drain(backlog) == [2]


def test_an_interim_that_comes_back_is_dropped_when_a_later_record_covers_it():
    backlog, _ = backlog_of(record(1, INTERIM))
    interim = backlog.take("a")
    backlog.add(record(2, STOP))
    assert backlog.put_back(interim) == [interim]
    assert drain(backlog) == [2]


def test_a_start_that_comes_back_goes_first_again():
    backlog, _ = backlog_of(record(1, START), record(2, STOP))
    assert backlog.put_back(backlog.take("a")) == []
    assert drain(backlog) == [1, 2]


def test_beyond_the_limit_the_oldest_interim_goes():
    backlog, dropped = backlog_of(record(1, INTERIM, "a"), record(2, INTERIM, "b"), record(3, START, "c"), limit=2)
    assert dropped == [1]
    assert backlog.sessions() == ["b", "c"]
    assert not backlog.is_over_limit


def test_an_interim_that_came_back_is_the_oldest_again():
    backlog, _ = backlog_of(record(1, INTERIM, "a"), record(2, INTERIM, "b"), limit=2)
    backlog.put_back(backlog.take("a"))
    assert [r.number for r in backlog.add(record(3, START, "c"))] == [1]


def test_starts_and_stops_are_never_dropped():
    backlog, dropped = backlog_of(*(record(number, STOP, str(number)) for number in range(5)), limit=2)
    assert dropped == []
    assert len(backlog) == 5
    assert backlog.is_over_limit


def test_an_interim_for_which_there_is_no_room_is_dropped_itself():
    backlog, dropped = backlog_of(record(1, START, "a"), record(2, START, "b"), record(3, INTERIM, "c"), limit=2)
    assert dropped == [3]
    assert not backlog.has("c")
