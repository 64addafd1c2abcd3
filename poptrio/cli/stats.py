"""``poptrio stats``: what the server counts."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from rich.table import Table

from poptrio.cli.common import Json
from poptrio.cli.managing import (
    DEFAULT_INTERVAL,
    DEFAULT_SOCKET,
    Interval,
    Socket,
    Watch,
    asking,
    printed,
    rate,
    show,
    table,
)
from poptrio.observe.diagnosis import human_seconds


def stats(
    watch: Watch = False,
    interval: Interval = DEFAULT_INTERVAL,
    as_json: Json = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Show what the server counts: calls by state, how calls ended since the start, octets per second."""
    with asking(socket) as client:
        read = partial(client.get, "/v1/stats")
        show(lambda: _drawn(read()), read, as_json=as_json, watch=watch, interval=interval)


def _drawn(counts: Mapping[str, Any]) -> Table:
    drawn = table("", "")
    drawn.show_header = False
    workers = counts["workers"]
    rows = {
        "version": counts["version"],
        "runs for": human_seconds(counts["seconds"]) + (", and stops now" if counts["stopping"] else ""),
        "draining": _draining(counts),
        "workers": workers if workers > 1 else "none: one process",
        "calls": f"{counts['calls_total']:,}",
        **{f"  {state}": f"{count:,}" for state, count in counts["calls"].items()},
        "from clients": rate(counts["rate_in"]),
        "to clients": rate(counts["rate_out"]),
        "came up": f"{counts['up_total']:,}",
        "refused": f"{counts['refused_total']:,}",
        "ended": f"{sum(counts['ended_total'].values()):,}",
        **{f"  {cause}": f"{count:,}" for cause, count in sorted(counts["ended_total"].items(), key=_most)},
        "internal errors": f"{counts['internal_errors_total']:,}",
    }
    for name, value in rows.items():
        drawn.add_row(name, printed(value))
    return drawn


def _draining(counts: Mapping[str, Any]) -> str:
    if not counts["draining"]:
        return "no"
    left = counts["drain_seconds_left"]
    return "until its calls end by themselves" if left is None else f"for {human_seconds(left)} at most"


def _most(ended: tuple[str, int]) -> int:
    return -ended[1]
