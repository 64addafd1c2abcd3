"""``poptrio stats``: what the server counts."""

from collections.abc import Mapping
from typing import Any

import typer
from rich.table import Table

from poptrio.cli.common import Json, print_json
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
    if watch and as_json:
        raise typer.BadParameter("--watch shows a table; leave --json out")
    with asking(socket) as client:
        if as_json:
            print_json(client.get("/v1/stats"))
        else:
            show(lambda: _drawn(client.get("/v1/stats")), watch, interval)


def _drawn(counts: Mapping[str, Any]) -> Table:
    drawn = table("", "")
    drawn.show_header = False
    workers = counts["workers"]
    rows = {
        "version": counts["version"],
        "runs for": human_seconds(counts["seconds"]) + (", and stops now" if counts["stopping"] else ""),
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


def _most(ended: tuple[str, int]) -> int:
    return -ended[1]
