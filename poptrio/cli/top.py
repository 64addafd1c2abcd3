"""``poptrio top``: a live view of all calls that fills the terminal."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from poptrio.cli.managing import DEFAULT_SOCKET, Socket, asking, fail
from poptrio.management.paging import LARGEST_PAGE

Rows = Annotated[
    int, typer.Option("--rows", min=1, max=LARGEST_PAGE, help="So many calls are asked for, the first by order.")
]
Seconds = Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between two looks.")]

TIMEOUT = 5.0
"""Seconds until a server that does not answer is said to."""


def top(rows: Rows = 100, interval: Seconds = 1.0, socket: Socket = DEFAULT_SOCKET) -> None:
    """Watch all calls live: rates, order, search, details, failures; end a call. Waits for a server that goes away.

    Keys: Enter shows a call in detail, k ends it, s and a click on a column order, r reverses, / searches, f shows
    failures, c calls, q quits.
    """
    with asking(socket) as client:
        client.get("/v1/stats")  # what is wrong from the beginning is said where it stays
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail("poptrio top needs a terminal; `poptrio sessions --watch` does not")
    asyncio.run(_run(socket, interval, rows))


async def _run(socket: Path, interval: float, rows: int) -> None:
    from poptrio.cli.top_view import Top  # textual takes its time to load
    from poptrio.management.client import AsyncClient

    async with AsyncClient(socket, TIMEOUT) as client:
        await Top(client, interval, rows).run_async()
