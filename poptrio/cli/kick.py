"""``poptrio kick``: end calls."""

from typing import Annotated, Any

import typer

from poptrio.cli.common import ExitCode, Json, print_json
from poptrio.cli.managing import DEFAULT_SOCKET, Socket, asking, counted
from poptrio.cli.selecting import Address, Call, Peer, User, Yes

All = Annotated[bool, typer.Option("--all", help="All calls.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the log; at most 500 characters.")]

MOST_NAMED = 20
"""Call IDs that the answer names."""


def kick(
    user: User = None,
    call: Call = None,
    address: Address = None,
    peer: Peer = None,
    everybody: All = False,
    reason: Reason = "",
    yes: Yes = False,
    as_json: Json = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """End calls with goodbyes: those that all given options fit, or with `--all` all of them, after a question.

    Says how many it has ended; when that is none, the exit code is 1.
    """
    selected: dict[str, Any] = {"user": user, "call": call, "address": address, "peer": peer}
    if everybody == any(value is not None for value in selected.values()):
        raise typer.BadParameter("say which calls: --user, --call, --address, --peer, or --all alone")
    with asking(socket) as client:
        if everybody and not yes:
            count = client.get("/v1/stats")["calls_total"]
            typer.confirm(f"End {'the only call' if count == 1 else f'all {count:,} calls'}?", abort=True, err=True)
        order = {name: value if name in ("user", "call") else value and str(value) for name, value in selected.items()}
        kicked = client.post("/v1/kick", **order, all=everybody or None, reason=reason)
    if as_json:
        print_json(kicked)
    else:
        typer.echo(_sentence(kicked["calls"]))
    if not kicked["ended"]:
        raise typer.Exit(ExitCode.FAILED)


def _sentence(calls: list[int]) -> str:
    if not calls:
        return "ended no call: there is none that fits"
    named = ", ".join(map(str, calls[:MOST_NAMED])) + (", …" if len(calls) > MOST_NAMED else "")
    return f"ended {counted(len(calls))}: {named}"
