"""``poptrio log`` and ``poptrio trace``: what is logged of a running server."""

from typing import Annotated, Any, get_args

import typer

from poptrio.cli.common import Json, print_json
from poptrio.cli.managing import DEFAULT_SOCKET, Socket, asking, console, printed, table
from poptrio.cli.selecting import Call, Peer, User
from poptrio.observe.areas import Level
from poptrio.observe.diagnosis import human_seconds

LEVELS = get_args(Level)
DEFAULT = "default"

Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[AREA=LEVEL]...",
        help="`radius=debug` changes one area, `radius=default` takes its own level away, `debug` changes the others. "
        "Levels are debug, info, warning and error.",
    ),
]
Seconds = Annotated[float | None, typer.Option("--seconds", min=0.1, help="How long; 600 unless this says otherwise.")]
Off = Annotated[bool, typer.Option("--off", help="End this trace, or all of them.")]


def log(changes: Changes = None, as_json: Json = False, socket: Socket = DEFAULT_SOCKET) -> None:
    """Show or change from which level on the areas of a running server are logged.

    What is changed lasts until the server is started again. The areas are in the reference of the log.
    """
    order = _order(changes or [])
    with asking(socket) as client:
        shown = client.put("/v1/log", **order) if order else client.get("/v1/log")
    if as_json:
        print_json(shown)
        return
    rows = table("area", "level")
    for area in shown["known_areas"]:
        rows.add_row(area, shown["areas"].get(area, shown["level"]))
    console().print(rows)
    _print_traces(shown["traces"])


def trace(
    user: User = None,
    call: Call = None,
    peer: Peer = None,
    seconds: Seconds = None,
    off: Off = False,
    as_json: Json = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Log every control message and control packet of one call, user or client address, for a time.

    They go to the log of the server, whatever its level, in pppd's notation and without secrets. Calls that begin later
    count, too: those of a user from its authentication on, those of an address from their first message on. Without an
    option, show what is traced.
    """
    subject: dict[str, Any] = {"user": user, "call": call, "peer": peer and str(peer)}
    given = sum(value is not None for value in subject.values())
    if given > 1:
        raise typer.BadParameter("say whom to trace by one of --user, --call and --peer")
    if seconds is not None and (off or not given):
        raise typer.BadParameter("--seconds needs one of --user, --call and --peer, and no --off")
    with asking(socket) as client:
        if off:
            shown = client.post("/v1/trace/end", **subject)
        elif given:
            shown = client.post("/v1/trace", **subject, seconds=seconds)
        else:
            shown = client.get("/v1/log")
    if as_json:
        print_json(shown["traces"])
    else:
        _print_traces(shown["traces"], or_else="nothing is traced")


def _order(changes: list[str]) -> dict[str, Any]:
    """The changes as the API wants them."""
    level, areas = None, {}
    for change in changes:
        area, equals, name = change.rpartition("=")
        if name not in LEVELS and not (equals and name == DEFAULT):
            raise typer.BadParameter(f"{change}: the level must be one of {', '.join(LEVELS)}")
        if equals:
            areas[area] = None if name == DEFAULT else name
        else:
            level = name
    return {name: value for name, value in (("level", level), ("areas", areas)) if value}


def _print_traces(traces: list[dict[str, Any]], or_else: str = "") -> None:
    for one in traces:
        typer.echo(f"traced for {human_seconds(one['seconds'])} more: {one['of']} {printed(one['value'])}")
    if not traces and or_else:
        typer.echo(or_else)
