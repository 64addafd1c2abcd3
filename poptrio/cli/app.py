"""The command ``poptrio`` itself: puts the commands together."""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from poptrio import __version__
from poptrio.cli import (
    capture,
    check,
    control,
    dial,
    happenings,
    kick,
    load,
    log,
    plugins,
    pools,
    run,
    secrets,
    sessions,
    shutdown,
    stats,
    systemd,
    top,
    upgrade,
)
from poptrio.cli.common import ExitCode

app = typer.Typer(
    name="poptrio",
    help="A PPTP server (RFC 2637) in one program. PPTP is for compatibility only: MS-CHAPv2 and RC4 are broken.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they print local variables, among which secrets may be
)
app.command()(run.run)
app.command()(check.check)
app.command()(plugins.plugins)
app.add_typer(secrets.app)
app.command()(systemd.systemd_unit)
app.command()(dial.dial)
app.command()(load.load)

_FOR_A_RUNNING_SERVER: dict[str, Callable[..., None]] = {
    "sessions": sessions.sessions,
    "show": sessions.show_call,
    "top": top.top,
    "failures": happenings.failures,
    "events": happenings.events,
    "stats": stats.stats,
    "pools": pools.pools,
    "kick": kick.kick,
    "log": log.log,
    "trace": log.trace,
    "capture": capture.capture,
    "reload": control.reload,
    "drain": control.drain,
    "upgrade": upgrade.upgrade,
    "shutdown": shutdown.shutdown,
}
for name, command in _FOR_A_RUNNING_SERVER.items():
    app.command(name, rich_help_panel="Commands for a running server")(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"poptrio {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """The options of ``poptrio`` without a command."""


_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main() -> None:
    """The entry point of the distribution; output that cannot be written is a line on standard error, exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may have what the terminal's encoding has not
    try:
        app()
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes must not fail again
        typer.echo(f"what is to be said cannot be written: {error.strerror}", err=True)
        sys.exit(ExitCode.FAILED)
