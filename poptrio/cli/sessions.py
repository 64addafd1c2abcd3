"""``poptrio sessions`` and ``poptrio show``: who is on, and all that is known of one call."""

from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import IPv4Address
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from rich.console import Group
from rich.table import Table

from poptrio.cli.common import Json, print_json
from poptrio.cli.managing import (
    DEFAULT_INTERVAL,
    DEFAULT_SOCKET,
    Interval,
    Socket,
    Watch,
    asking,
    console,
    counted,
    printed,
    rate,
    show,
    table,
)
from poptrio.cli.selecting import Address, Call, CallNumber, Peer, User
from poptrio.management.paging import LARGEST_PAGE
from poptrio.observe.diagnosis import human_bytes, human_seconds

if TYPE_CHECKING:
    from poptrio.management.client import Client

State = Literal["starting", "authenticating", "negotiating", "up", "ending"]
Order = Literal["started", "user", "peer", "address", "seconds", "bytes_in", "bytes_out", "rate_in", "rate_out"]

OneState = Annotated[State | None, typer.Option("--state", help=f"Calls in this state: {', '.join(get_args(State))}.")]
Search = Annotated[
    str | None,
    typer.Option(
        "--search", help="Calls with this text in the user or the host name, or at the beginning of an address."
    ),
]
Ordered = Annotated[Order, typer.Option("--order", help=f"What they are ordered by: {', '.join(get_args(Order))}.")]
Descending = Annotated[bool, typer.Option("--descending", help="The largest first.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="So many calls at most; without it, all.")]


def sessions(
    user: User = None,
    peer: Peer = None,
    address: Address = None,
    call: Call = None,
    state: OneState = None,
    search: Search = None,
    order: Ordered = "started",
    descending: Descending = False,
    limit: Limit = None,
    watch: Watch = False,
    interval: Interval = DEFAULT_INTERVAL,
    as_json: Json = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Show who is on: every call, in whatever state, or those that all given options fit.

    A name with a question mark is what the client says; nobody has accepted it yet. Octets are those of IP packets from
    the client (in) and to it (out).
    """
    query = {
        "user": user,
        "peer": peer,
        "address": address,
        "call": call,
        "state": state,
        "search": search,
        "order": order,
        "descending": descending or None,
    }
    with asking(socket) as client:
        show(
            lambda: _drawn(*_found(client, limit, query)),
            lambda: _found(client, limit, query)[0],
            as_json=as_json,
            watch=watch,
            interval=interval,
        )


def show_call(call: CallNumber, as_json: Json = False, socket: Socket = DEFAULT_SOCKET) -> None:
    """Show all that is known of one call."""
    with asking(socket) as client:
        session = client.get(f"/v1/sessions/{call}")
    if as_json:
        print_json(session)
        return
    rows = table("", "")
    rows.show_header = False
    for name, value in lines(session):
        rows.add_row(name, printed(value))
    console().print(rows)


def _found(client: "Client", limit: int | None, query: Mapping[str, object]) -> tuple[list[dict[str, Any]], int]:
    """The calls that fit, and how many there are of them on the server."""
    page = client.page("/v1/sessions", "sessions", **query, limit=min(limit or LARGEST_PAGE, LARGEST_PAGE))
    if page["total"] <= LARGEST_PAGE or (limit is not None and limit <= LARGEST_PAGE):
        return page["sessions"], page["total"]
    # In any other order, calls change their places while one page is asked for after the other.
    by_start = {name: value for name, value in query.items() if name not in ("order", "descending")}
    found = list(client.pages("/v1/sessions", "sessions", "session_id", **by_start))
    order, descending = str(query["order"]), bool(query["descending"])
    if order not in ("started", "seconds"):
        found.sort(key=_KEYS.get(order, itemgetter(order)), reverse=descending)
    elif descending == (order == "started"):  # seconds are not compared: those of each page are of another moment
        found.reverse()
    return found[:limit], len(found)


_KEYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "user": lambda session: (session["user"] or session["seen_as"]).casefold(),
    "peer": lambda session: IPv4Address(session["peer"]),
    "address": lambda session: IPv4Address(session["address"] or 0),
}
"""What calls are ordered by, where that is not a number of theirs."""


def _drawn(found: list[dict[str, Any]], total: int) -> Group:
    drawn = table(
        "call", "user", "peer", "address", "state", "time", "in", "out", "in/s", "out/s",
        right=("call", "time", "in", "out", "in/s", "out/s"),
    )  # fmt: skip
    for session in found:
        drawn.add_row(
            str(session["call"]),
            who(session),
            printed(session["peer"]),
            printed(session["address"]),
            printed(session["state"]),
            human_seconds(session["seconds"]),
            human_bytes(session["bytes_in"]),
            human_bytes(session["bytes_out"]),
            rate(session["rate_in"]),
            rate(session["rate_out"]),
        )
    return _with_count(drawn, len(found), total)


def who(session: Mapping[str, Any]) -> str:
    """The user of a call, or with a question mark the name that nobody has accepted yet."""
    return printed(session["user"]) if session["user"] or not session["seen_as"] else f"{printed(session['seen_as'])}?"


def _with_count(drawn: Table, shown: int, total: int) -> Group:
    calls = counted(total)
    count = calls if shown == total else f"{shown:,} of {calls}"
    return Group(drawn, count) if shown else Group(count)


def lines(session: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Every field of a call, as people read it."""
    steps = ", ".join(f"{step} {milliseconds:.0f} ms" for step, milliseconds in session["steps_ms"].items())
    drops = ", ".join(f"{name} {count}" for name, count in session["drops"].items())
    timeouts = {
        name: "none" if session[name] is None else human_seconds(session[name])
        for name in ("session_timeout", "idle_timeout")
    }
    traffic = {
        side: f"{human_bytes(session[f'bytes_{side}'])} in {session[f'packets_{side}']:,} packets, "
        f"{rate(session[f'rate_{side}'])} now"
        for side in ("in", "out")
    }
    lines: list[tuple[str, object]] = [
        ("call", session["call"]),
        ("state", session["state"]),
        ("user", session["user"]),
        ("seen as", session["seen_as"]),
        ("peer", session["peer"]),
        ("address", session["address"]),
        ("routes", ", ".join(session["routes"])),
        ("time", human_seconds(session["seconds"])),
        ("started", local_time(session["started"], "%Y-%m-%d %H:%M:%S %Z")),
        ("steps", steps),
        ("in", traffic["in"]),
        ("out", traffic["out"]),
        ("drops", drops or "none"),
        ("authentication", session["authentication"]),
        ("encryption", session["encryption"]),
        ("plugin", session["plugin"]),
        ("session timeout", timeouts["session_timeout"]),
        ("idle timeout", timeouts["idle_timeout"]),
        ("filters", ", ".join(session["filter_ids"])),
        ("host name", session["host_name"]),
        ("vendor", session["vendor"]),
        ("firmware", session["firmware"]),
        ("phone number", session["phone_number"]),
        ("server", session["server"]),
        ("peer's call", session["peer_call"]),
        ("session id", session["session_id"]),
        ("connection id", session["connection_id"]),
    ]
    if session["cause"]:
        lines += [("ends by", session["cause"]), ("why", session["why"])]
    return lines


def local_time(text: str, form: str = "%H:%M:%S") -> str:
    """A time of the API, in this machine's time zone."""
    return datetime.fromisoformat(text).astimezone().strftime(form)
