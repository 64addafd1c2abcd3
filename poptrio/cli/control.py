"""``poptrio reload`` and ``poptrio drain``: change a server that runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from poptrio.cli.common import ExitCode, Json, print_json
from poptrio.cli.managing import DEFAULT_SOCKET, Socket, asking, counted
from poptrio.observe.log import escape


def reload(as_json: Json = False, socket: Socket = DEFAULT_SOCKET) -> None:
    """Let the server read its configuration anew, and list what changed. Exit code 1: refused, nothing changed."""
    answer = _post(socket, "/v1/reload")
    if as_json:
        print_json(answer)
    else:
        _print_reload(answer)
    if not answer["reloaded"]:
        raise typer.Exit(ExitCode.FAILED)


def drain(
    seconds: Annotated[
        float | None,
        typer.Option(min=0, help="End the calls that are left after so many seconds."),
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take calls again.")] = False,
    as_json: Json = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Let the server take no new calls, and stop when those that it has are over. Again: another deadline."""
    if cancel and seconds is not None:
        raise typer.BadParameter("a drain that is cancelled has no deadline")
    answer = _post(socket, "/v1/drain/cancel") if cancel else _post(socket, "/v1/drain", seconds=seconds)
    if as_json:
        print_json(answer)
        return
    count, left = answer["calls"], answer["seconds_left"]
    calls = f"{counted(count)} {'is' if count == 1 else 'are'}"
    if cancel:
        typer.echo(f"taking calls again; {calls} up")
    elif not count:
        typer.echo("no calls are left; the server stops")
    else:
        by_itself = "it ends by itself" if count == 1 else "they end by themselves"
        ends = f"until {by_itself}" if left is None else f"for {left:.0f} s at most"
        typer.echo(f"draining: no new calls; {calls} left, {ends}")


def _post(socket: Path, path: str, **body: object) -> dict[str, Any]:
    with asking(socket) as client:
        return client.post(path, **body)


def _say(line: str) -> None:
    typer.echo(escape(line))


def _print_reload(answer: dict[str, Any]) -> None:
    for fault in answer["faults"]:
        typer.echo(escape(fault), err=True)
    if answer["faults"]:
        typer.echo("refused: nothing was changed", err=True)
        return
    for change in answer["changes"]:
        _say(f"{change['setting']}: {change['old']} -> {change['new']} ({change['effect']})")
    for change in answer["needs_restart"]:
        _say(f"{change['setting']}: {change['old']} -> {change['new']} needs a restart")
    if not answer["changes"] and not answer["needs_restart"]:
        _say("nothing changed; files that the configuration names were read again")
