"""The journal: failures are remembered, listeners hear everything, and a slow one costs nobody else anything."""

from datetime import UTC, datetime
from ipaddress import IPv4Address

from poptrio.errors import CauseOfEnd
from poptrio.observe import journal
from poptrio.observe.journal import CallEvent, Happening, Journal
from poptrio.observe.remedies import remedy

PEER = IPv4Address("203.0.113.9")
NOTHING_WRONG = {
    CauseOfEnd.CLIENT_HUNG_UP,
    CauseOfEnd.IDLE_TIMEOUT,
    CauseOfEnd.SESSION_TIMEOUT,
    CauseOfEnd.QUOTA_REACHED,
    CauseOfEnd.REPLACED,
    CauseOfEnd.ADMIN_RESET,
    CauseOfEnd.SERVER_SHUTDOWN,
}


def event(happening, number=0):
    return CallEvent(happening=happening, time=datetime.now(UTC), peer=PEER, call=number)


async def test_listeners_hear_everything_in_its_order():
    journal = Journal()
    with journal.listener() as one, journal.listener() as other:
        events = [event(Happening.STARTING), event(Happening.UP), event(Happening.DOWN)]
        for each in events:
            journal.happened(each)
        assert [await one.next() for _ in events] == events
        assert [await other.next() for _ in events] == events


async def test_a_listener_that_does_not_read_misses_events_and_the_others_do_not():
    log = Journal()
    with log.listener() as slow, log.listener() as quick:
        for number in range(journal.EVENTS_WAITING + 7):
            log.happened(event(Happening.UP, number))
            assert (await quick.next()).call == number
        assert (slow.missed, quick.missed) == (7, 0)


def test_nobody_is_told_after_leaving():
    log = Journal()
    assert not log.heard
    with log.listener() as listener:
        assert log.heard
    log.happened(event(Happening.UP))
    assert (listener.missed, log.heard) == (0, False)


def test_failures_are_remembered_and_bounded():
    log = Journal()
    log.happened(event(Happening.DOWN))
    for number in range(journal.FAILURES_KEPT + 1):
        log.happened(event(Happening.FAILED, number))
    log.refused(PEER, "too many")
    assert len(log.failures) == journal.FAILURES_KEPT + 1
    assert (log.failures[0].why, log.failures[0].call, log.failures[1].call) == (
        "too many",
        None,
        journal.FAILURES_KEPT,
    )


def test_clients_that_are_refused_all_the_time_push_out_no_failure():
    log = Journal()
    log.happened(event(Happening.FAILED, 1))
    for _ in range(journal.FAILURES_KEPT + 1):
        log.refused(PEER, "too fast")
    log.happened(event(Happening.FAILED, 2))
    assert len(log.failures) == journal.FAILURES_KEPT + 2
    assert (log.failures[0].call, log.failures[-1].call) == (2, 1)


def test_every_cause_but_the_harmless_ones_has_a_remedy():
    assert {cause for cause in CauseOfEnd if not remedy(cause)} == NOTHING_WRONG
    assert remedy(None) == ""
