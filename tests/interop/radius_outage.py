"""What is billed when something dies: FreeRADIUS under load, and poptrio itself."""

import time
from collections import Counter

from crowd import Crowd, CrowdReport
from freeradius import FreeRadius, Record
from stage import Stage, expect

CALLERS = 12
LOAD_SECONDS = 14.0
BEFORE_THE_KILL = 4.0  # seconds of load
DOWN = 5.0  # seconds without FreeRADIUS
SEED = 3


def freeradius_dies_under_load(stage: Stage) -> None:
    """FreeRADIUS is killed and started again while calls come and go: every call is billed once, to the octet."""
    radius = stage.backend.one(FreeRadius)
    with Crowd("alice", stage.secret, callers=CALLERS, seconds=LOAD_SECONDS, seed=SEED) as crowd:
        time.sleep(BEFORE_THE_KILL)
        radius.kill()
        time.sleep(DOWN)
        radius.start()
        report = crowd.report()
    radius.wait_until(
        lambda: len(_sessions(radius.records(), "Stop")) >= len(report.calls), f"{len(report.calls)} Stops", 30.0
    )
    _agree(_without_repeats(radius.records()), report)
    stage.outcome.note = f"{len(report.calls)} calls, each billed once, to the octet; {report.failures} refused"


def server_dies_with_calls(stage: Stage) -> None:
    """poptrio is killed with a call up and FreeRADIUS down: at the next start the call gets its Stop, once."""
    radius = stage.backend.one(FreeRadius)
    _, call = stage.dial_up()
    start = radius.record("Start", Framed_IP_Address=call.address)
    stage.carries(call)
    radius.kill()
    stage.server.kill()
    radius.start()
    stage.server.start()
    stop = radius.record("Stop", Acct_Session_Id=start["Acct-Session-Id"])
    expect(stop["Acct-Terminate-Cause"] == "NAS-Reboot", f"Acct-Terminate-Cause is {stop['Acct-Terminate-Cause']}")
    radius.record("Accounting-On")
    _once_each(radius.records())
    stage.end_calls()
    stage.outcome.note = f"the call got its Stop, {stop['Acct-Terminate-Cause']}, at the next start"


def server_dies_under_load(stage: Stage) -> None:
    """poptrio is killed while calls come and go: every call that was billed has one Start and one Stop in the end."""
    radius = stage.backend.one(FreeRadius)
    with Crowd("alice", stage.secret, callers=CALLERS, seconds=LOAD_SECONDS, seed=SEED) as crowd:
        time.sleep(BEFORE_THE_KILL)
        stage.server.kill()
        stage.server.start()
        crowd.report()
    radius.wait_until(lambda: not _without_stop(radius.records()), "a Stop for every Start", 30.0)
    records = _without_repeats(radius.records())
    _once_each(records)
    cut_off = sum(record.get("Acct-Terminate-Cause") == "NAS-Reboot" for record in records)
    expect(cut_off > 0, "no call was up when the server was killed")
    stage.outcome.note = f"{len(_sessions(records, 'Start'))} calls, each with its Stop; {cut_off} of them were cut off"


def _agree(records: list[Record], report: CrowdReport) -> None:
    """Starts, Stops and what the clients counted are of the same calls with the same octets."""
    _once_each(records)
    billed = Counter(
        (record["Framed-IP-Address"], int(record["Acct-Input-Octets"]), int(record["Acct-Output-Octets"]))
        for record in records
        if record["Acct-Status-Type"] == "Stop"
    )
    counted = Counter(report.calls)
    expect(billed == counted, f"only billed: {billed - counted}; only counted: {counted - billed}")


def _without_repeats(records: list[Record]) -> list[Record]:
    """The records without those that came again: whoever dies between record and answer is sent it once more.

    Billing tells them by Acct-Session-Id, status and time (RFC 5080 §2.2.2). At most one can be under way like that for
    each session; more would be a fault.
    """
    seen = Counter(
        (record.get("Acct-Session-Id"), record["Acct-Status-Type"], record["Event-Timestamp"]) for record in records
    )
    expect(max(seen.values(), default=0) <= 2, f"records that came more than twice: {seen.most_common(1)}")
    unique = {
        (record.get("Acct-Session-Id"), record["Acct-Status-Type"], record["Event-Timestamp"]): record
        for record in records
    }
    return list(unique.values())


def _once_each(records: list[Record]) -> None:
    """Each session has one Start and one Stop."""
    kinds: dict[str, list[str]] = {}
    for record in records:
        if record["Acct-Status-Type"] in ("Start", "Stop"):
            kinds.setdefault(record["Acct-Session-Id"], []).append(record["Acct-Status-Type"])
    wrong = {session: seen for session, seen in kinds.items() if sorted(seen) != ["Start", "Stop"]}
    expect(not wrong, f"sessions without one Start and one Stop: {wrong}")


def _sessions(records: list[Record], kind: str) -> set[str]:
    """The sessions of which there is a record of this kind; one that came again counts once."""
    return {record["Acct-Session-Id"] for record in records if record["Acct-Status-Type"] == kind}


def _without_stop(records: list[Record]) -> set[str]:
    return _sessions(records, "Start") - _sessions(records, "Stop")
