"""``poptrio pools``: the pools of inner addresses, and who holds what."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

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
    show,
    table,
)

if TYPE_CHECKING:
    from poptrio.management.client import Client

PAGE = 1000


def pools(
    pool: Annotated[str, typer.Option("--pool", help="Show who holds the addresses of this pool.")] = "",
    watch: Watch = False,
    interval: Interval = DEFAULT_INTERVAL,
    as_json: Json = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Show the pools of addresses and how full they are; with `--pool`, who holds what."""
    if watch and as_json:
        raise typer.BadParameter("--watch shows a table; leave --json out")
    with asking(socket) as client:
        if as_json:
            print_json(list(_leases(client, pool)) if pool else client.get("/v1/pools")["pools"])
        elif pool:
            show(lambda: _drawn_leases(list(_leases(client, pool))), watch, interval)
        else:
            show(lambda: _drawn_pools(client.get("/v1/pools")["pools"]), watch, interval)


def _leases(client: "Client", pool: str) -> Iterator[Mapping[str, Any]]:
    offset, more = 0, True
    while more:
        page = client.get(f"/v1/pools/{quote(pool, safe='')}", offset=offset, limit=PAGE)
        yield from page["leases"]
        offset, more = offset + PAGE, page["more"]


def _drawn_pools(pools: Sequence[Mapping[str, Any]]) -> Table:
    drawn = table("pool", "plugin", "size", "held", "free", "full", right=("size", "held", "free", "full"))
    for pool in pools:
        full = f"{100 * pool['held'] / pool['size']:.0f} %" if pool["size"] else ""
        numbers = (f"{pool[key]:,}" for key in ("size", "held", "free"))
        drawn.add_row(*map(printed, (pool["pool"], pool["plugin"], *numbers, full)))
    return drawn


def _drawn_leases(leases: Sequence[Mapping[str, Any]]) -> Table:
    drawn = table("address", "user", "session")
    for lease in leases:
        drawn.add_row(*map(printed, (lease["address"], lease["user"], lease["session_id"])))
    return drawn
