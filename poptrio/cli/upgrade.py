"""``poptrio upgrade``: the running server's program anew, without dropping a call."""

import typer

from poptrio.cli.common import ExitCode
from poptrio.cli.managing import DEFAULT_SOCKET, Socket, asking, counted
from poptrio.observe.log import escape


def upgrade(socket: Socket = DEFAULT_SOCKET) -> None:
    """Start the running server's program anew, without dropping a call.

    A new process of what is installed now reads the configuration file and takes over all calls. If it does not come
    up, the old one goes on.
    """
    from poptrio.management.client import CannotAsk

    steps = 0
    with asking(socket) as client:
        before = client.get("/v1/stats")["started"]
        try:
            for kind, data in client.order("/v1/upgrade"):
                if kind == "failed":
                    typer.echo(escape(f"not upgraded, the server goes on as it was: {data['why']}"), err=True)
                    raise typer.Exit(ExitCode.FAILED)
                typer.echo(data["step"])
                steps += 1
        except CannotAsk:
            if not steps:
                raise
    with asking(socket) as client:  # the old program is gone without a word, as it must be
        if client.get("/v1/stats")["started"] == before:
            typer.echo("not upgraded, the server goes on as it was; its log says why", err=True)
            raise typer.Exit(ExitCode.FAILED)
        calls = client.get("/v1/sessions", limit=1)["total"]
    typer.echo(f"upgraded: the new program has {counted(calls)}")
