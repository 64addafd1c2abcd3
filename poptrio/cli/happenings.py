"""``poptrio failures`` and ``poptrio events``: why somebody is not on, and what happens."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.console import Group

from poptrio.cli.common import Json, json_text
from poptrio.cli.managing import (
    DEFAULT_INTERVAL,
    DEFAULT_SOCKET,
    Interval,
    Socket,
    Watch,
    asking,
    fail,
    printed,
    show,
    table,
)
from poptrio.cli.selecting import Peer, User
from poptrio.cli.sessions import local_time, who
from poptrio.management.paging import LARGEST_PAGE
from poptrio.observe.diagnosis import human_bytes, human_seconds
from poptrio.observe.log import escape

Cause = Annotated[
    str | None, typer.Option("--cause", help="Failures by this cause only, for instance no-gre (see causes.md).")
]
Most = Annotated[int, typer.Option("--limit", min=1, max=LARGEST_PAGE, help="So many failures, the newest first.")]
Lines = Annotated[bool, typer.Option("--json", help="Print a JSON object on a line for each event.")]


def failures(
    user: User = None,
    peer: Peer = None,
    cause: Cause = None,
    limit: Most = 20,
    watch: Watch = False,
    interval: Interval = DEFAULT_INTERVAL,
    as_json: Json = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Show why somebody is not on: calls that failed before they were up, and clients that were refused.

    Each with the sentence of the log, what to do about it, and the error numbers that Windows may show its user.
    """
    query = {"user": user, "peer": peer, "cause": cause, "limit": limit}
    with asking(socket) as client:

        def read() -> list[dict[str, Any]]:
            return client.get("/v1/failures", **query)["failures"]  # type: ignore[no-any-return]

        show(lambda: _drawn(read()), read, as_json=as_json, watch=watch, interval=interval)


def events(user: User = None, peer: Peer = None, as_json: Lines = False, socket: Socket = DEFAULT_SOCKET) -> None:
    """Show what happens from now on, a line for each event, until Ctrl-C: calls start, come up, go down or fail."""
    with suppress(KeyboardInterrupt), asking(socket) as client:
        for kind, event in client.events("/v1/events", user=user, peer=peer):
            line = json_text({"event": kind} | event, indent=None) if as_json else event_line(kind, event)
            print(line, flush=True)
        fail(f"{socket}: the server sends no more events: it stops")


def _drawn(failed: list[dict[str, Any]]) -> Group:
    if not failed:
        return Group("no failures")
    drawn = table("time", "peer", "user", "Windows", "why, and what to do")
    for failure in failed:
        drawn.add_row(
            local_time(failure["time"]),
            printed(failure["peer"]),
            who(failure),
            printed(" ".join(map(str, failure["windows_errors"]))),
            why(failure),
        )
    return Group(drawn)


def why(failure: Mapping[str, Any]) -> str:
    """The sentence of a failure, and on the next line the remedy."""
    return printed(failure["why"]) + (f"\n→ {escape(failure['remedy'])}" if failure["remedy"] else "")


def event_line(kind: str, event: Mapping[str, Any]) -> str:
    """An event as a line of text."""
    if kind == "missed":
        return f"-- {event['missed']} events were missed, because they were not read in time --"
    words = [local_time(event["time"]), f"{kind:<13}", f"{event['peer']:<15}", who(event)]
    if event["call"] is not None:
        words.append(f"call {event['call']}")
    if event["address"] is not None:
        words.append(f"address {event['address']}")
    if kind == "call-down":
        sides = f"in {human_bytes(event['bytes_in'])}, out {human_bytes(event['bytes_out'])}"
        words.append(f"after {human_seconds(event['seconds'])}, {sides}")
    line = " ".join(words)
    if event["why"]:
        line += f": {event['why']}"
    if event["remedy"] and kind != "call-down":
        line += f" → {event['remedy']}"
    return escape(line)
