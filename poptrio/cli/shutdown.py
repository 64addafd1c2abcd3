"""``poptrio shutdown``: stop the server."""

import typer

from poptrio.cli.common import Json, print_json
from poptrio.cli.managing import DEFAULT_SOCKET, Socket, asking, counted
from poptrio.cli.selecting import Yes


def shutdown(yes: Yes = False, as_json: Json = False, socket: Socket = DEFAULT_SOCKET) -> None:
    """Stop the server with goodbyes to all calls, after a question; a second time, at once."""
    with asking(socket) as client:
        if not yes:
            count = client.get("/v1/stats")["calls_total"]
            calls = "its only call" if count == 1 else f"its {counted(count)}"
            typer.confirm(f"Stop the server{f' and end {calls}' if count else ''}?", abort=True, err=True)
        stopping = client.post("/v1/shutdown")
    if as_json:
        print_json(stopping)
    else:
        count = stopping["calls"]
        typer.echo(f"the server stops; {counted(count)} {'is' if count == 1 else 'are'} told goodbye")
