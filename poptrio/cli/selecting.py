"""Options that say which calls are meant; shells complete their values with what the server has now."""

import os
import re
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated

import typer

from poptrio.cli.managing import DEFAULT_SOCKET, SOCKET_VARIABLE
from poptrio.management.paging import LARGEST_PAGE

COMPLETION_TIMEOUT = 1.0
"""Seconds that a shell waits for values at most."""

MOST_VALUES = 100

_PLAIN = re.compile(r"[\w.@+][\w.@+-]*", re.ASCII)
"""What may be offered: shells put it on the command line as it is, and clients choose their names."""


def completed(field: str) -> Callable[[typer.Context, str], list[str]]:
    """Completes a value with ``field`` of the calls that there are; with nothing, when the server cannot be asked."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from poptrio.management.client import CannotAsk, Client

        path = Path(ctx.params.get("socket") or DEFAULT_SOCKET)
        if path == DEFAULT_SOCKET:  # typer 0.26 leaves the variable out while it completes
            path = Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)
        search = incomplete if incomplete and field != "call" else None
        try:
            with Client(path, COMPLETION_TIMEOUT) as client:
                found = client.get("/v1/sessions", search=search, limit=MOST_VALUES if search else LARGEST_PAGE)
            values = {str(session[field]) for session in found["sessions"] if session[field] not in (None, "")}
        except (CannotAsk, LookupError, TypeError):
            return []
        fit = (value for value in values if value.startswith(incomplete) and _PLAIN.fullmatch(value))
        return sorted(fit)[:MOST_VALUES]

    return complete


def an_address(text: str) -> IPv4Address:
    """The address that ``text`` names."""
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no IPv4 address") from error


Call = Annotated[
    int | None,
    typer.Option("--call", min=0, max=65535, help="The call with this Call ID.", autocompletion=completed("call")),
]
User = Annotated[
    str | None,
    typer.Option("--user", help="Calls of this user; case is ignored.", autocompletion=completed("user")),
]
Address = Annotated[
    IPv4Address | None,
    typer.Option(
        "--address",
        parser=an_address,
        metavar="IPV4",
        help="The call with this inner address.",
        autocompletion=completed("address"),
    ),
]
Peer = Annotated[
    IPv4Address | None,
    typer.Option(
        "--peer",
        parser=an_address,
        metavar="IPV4",
        help="Calls from this outer address.",
        autocompletion=completed("peer"),
    ),
]
CallNumber = Annotated[
    int,
    typer.Argument(metavar="CALL", min=0, max=65535, help="Its Call ID.", autocompletion=completed("call")),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant.")]
