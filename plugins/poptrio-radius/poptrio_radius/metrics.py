"""What the plugin tells operators: its metrics and its health, from what servers, spool and the DM/CoA server count."""

import time
from collections.abc import Iterator, Sequence

from poptrio.api import Health, Measurement, Metric
from poptrio_radius.coa import CoaServer
from poptrio_radius.packets import Code
from poptrio_radius.server import Server
from poptrio_radius.spool import Spool

SERVER = ("server", "purpose")

UP = Metric("server_up", "gauge", "Does a server answer (1), or is it passed over as dead (0)?", SERVER)
ROUND_TRIPS = Metric("round_trip_seconds", "histogram", "How long do servers take to answer?", SERVER)
REQUESTS = Metric("requests", "counter", "How many requests were sent to a server for the first time?", SERVER)
RETRANSMISSIONS = Metric("retransmissions", "counter", "How many were sent again, because no answer came?", SERVER)
TIMEOUTS = Metric("timeouts", "counter", "How many requests got no answer after all tries?", SERVER)
PROBES = Metric("probes", "counter", "How often was a dead server asked for its status?", SERVER)
REPLIES = Metric("replies", "counter", "What do servers answer?", (*SERVER, "code"))
DROPPED = Metric("dropped_replies", "counter", "Which packets were no answer of a server?", (*SERVER, "reason"))
SPOOL = Metric("spool_records", "gauge", "How many accounting records has no server acknowledged yet?")
SPOOL_AGE = Metric("spool_oldest_record_age_seconds", "gauge", "How old is the oldest of them?")
SPOOL_LIMIT = Metric("spool_records_max", "gauge", "From how many on are Interims dropped (spool_max)?")
SPOOL_FAILING = Metric("spool_failing", "gauge", "Does the disk take no records (1)?")
SPOOL_DROPPED = Metric("spool_dropped_interims", "counter", "How many Interims were given up, most for a later record?")
COA = Metric("dynamic_authorizations", "counter", "Which Disconnect- and CoA-Requests came, and what came of them?",
             ("kind", "result"))  # fmt: skip

METRICS = (
    UP, ROUND_TRIPS, REQUESTS, RETRANSMISSIONS, TIMEOUTS, PROBES, REPLIES, DROPPED, SPOOL, SPOOL_AGE, SPOOL_LIMIT,
    SPOOL_FAILING, SPOOL_DROPPED, COA,
)  # fmt: skip


def measurements(servers: Sequence[Server], spool: Spool | None, coa: CoaServer | None) -> Iterator[Measurement]:
    """All that is counted. A server that is named twice for one purpose is told once."""
    told = set()
    for server in servers:
        labels = server.name, server.purpose
        if labels not in told:
            told.add(labels)
            yield from _of_server(server, labels)
    if spool is not None:
        oldest = spool.oldest
        yield SPOOL.at(spool.waiting)
        yield SPOOL_AGE.at(max(0.0, time.time() - oldest) if oldest is not None else 0.0)
        yield SPOOL_LIMIT.at(spool.limit)
        yield SPOOL_FAILING.at(spool.is_failing)
        yield SPOOL_DROPPED.at(spool.dropped)
    if coa is not None:
        yield from (COA.at(count, *labels) for labels, count in coa.results.items())


def _of_server(server: Server, labels: tuple[str, str]) -> Iterator[Measurement]:
    counters = server.counters
    yield UP.at(not server.dead, *labels)
    yield ROUND_TRIPS.at(counters.round_trips, *labels)
    yield REQUESTS.at(counters.requests, *labels)
    yield RETRANSMISSIONS.at(counters.retransmissions, *labels)
    yield TIMEOUTS.at(counters.timeouts, *labels)
    yield PROBES.at(counters.probes, *labels)
    yield from (REPLIES.at(count, *labels, _code(code)) for code, count in counters.codes.items())
    yield from (DROPPED.at(count, *labels, reason) for reason, count in counters.dropped.items())


def _code(code: int) -> str:
    """A packet type as the RFCs write it, for instance ``Access-Reject``."""
    try:
        return Code(code).name.replace("_", "-").title()
    except ValueError:
        return "other"


def health(servers: Sequence[Server], spool: Spool | None) -> Health:
    """Well while a server of each purpose is alive and the spool is written and not full."""
    details: dict[str, str | int | float | bool | None] = {
        f"{server.purpose} {server.name}": "dead" if server.dead else "alive" for server in servers
    }
    if spool is not None:
        details |= {"spool_records": spool.waiting, "spool_failing": spool.is_failing}
    for purpose in ("authentication", "accounting"):
        of_purpose = [server for server in servers if server.purpose == purpose]
        if of_purpose and all(server.dead for server in of_purpose):
            names = ", ".join(server.name for server in of_purpose)
            remedy = "see whether they run, and whether UDP gets there and back; secrets that differ look the same"
            return Health(ok=False, sentence=f"no {purpose} server answers: {names}", remedy=remedy, details=details)
    if spool is not None and spool.is_failing:
        remedy = "see whether its disk is full or cannot be written; records are kept in memory meanwhile"
        return Health(ok=False, sentence="the accounting spool cannot be written", remedy=remedy, details=details)
    if spool is not None and spool.is_full:
        remedy = "see why accounting servers take no records; Interims are dropped, Starts and Stops are kept"
        return Health(ok=False, sentence="the accounting spool is full", remedy=remedy, details=details)
    dead = [server.name for server in servers if server.dead]
    sentence = f"it works, without {', '.join(dead)}" if dead else "no server is dead"
    return Health(ok=True, sentence=sentence, details=details)
