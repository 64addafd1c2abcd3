"""``poptrio pools``: the pools of inner addresses, and who holds what."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
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
    show,
    table,
)

if TYPE_CHECKING:
    from poptrio.management.client import Client


def pools(
    pool: Annotated[str, typer.Option("--pool", help="Show who holds the addresses of this pool.")] = "",
    plugin: Annotated[str, typer.Option("--plugin", help="Of this plugin, where two have a pool of that name.")] = "",
    watch: Watch = False,
    interval: Interval = DEFAULT_INTERVAL,
    as_json: Json = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Show the pools of addresses and how full they are; with `--pool`, who holds what."""
    if plugin and not pool:
        raise typer.BadParameter("--plugin says which pool of a name is meant; give --pool, too")
    with asking(socket) as client:
        draw = _drawn_leases if pool else _drawn_pools

        def read() -> list[Mapping[str, Any]]:
            return list(_leases(client, pool, plugin)) if pool else client.get("/v1/pools")["pools"]

        show(lambda: draw(read()), read, as_json=as_json, watch=watch, interval=interval)


def _leases(client: "Client", pool: str, plugin: str) -> Iterator[Mapping[str, Any]]:
    return client.pages(f"/v1/pools/{quote(pool, safe='')}", "leases", "address", plugin=plugin or None)


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
