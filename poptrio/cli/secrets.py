"""``poptrio secrets``: a first chap-secrets file, so that there is somebody who may call."""

import os
import secrets
import shlex
import shutil
import socket
import string
import sys
from pathlib import Path
from typing import Annotated

import typer

from poptrio.cli.common import ExitCode

app = typer.Typer(name="secrets", help="Files with users and passwords.", no_args_is_help=True)

_LETTERS_AND_DIGITS = string.ascii_letters + string.digits  # nothing that a shell or an option parser minds

HOW_TO_DIAL = """\
User "{user}" with password "{password}" is in {file}, which only its owner can read.

From Linux, only to see whether a call works (as root):
  {program} dial {server} --user {user} --password {password} --probe
From Linux with pppd and pptp-linux (as root):
  pppd pty "pptp {server} --nolaunchpppd" nodetach noauth noipdefault nodefaultroute \\
    user {user} password {password} refuse-eap refuse-pap refuse-chap refuse-mschap require-mppe-128
From Windows (PowerShell):
  Add-VpnConnection -Name poptrio -ServerAddress {server} -TunnelType Pptp `
    -AuthenticationMethod MSChapv2 -EncryptionLevel Required
  rasdial poptrio {user} {password}
"""


@app.callback()
def _group() -> None:
    """Keep ``init`` a command of its own: with a single command, typer would leave its name out."""


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The chap-secrets file to write.")],
    user: Annotated[str, typer.Option(help="The name of the user.")] = "test",
) -> None:
    """Write a new chap-secrets file with one user and a random password, and print how to dial."""
    if not user or user.startswith("-") or not all(c.isascii() and (c.isalnum() or c in "._@-") for c in user):
        typer.echo(f"{user!r} is not a plain user name (letters, digits and ._@-, not a - first)", err=True)
        raise typer.Exit(ExitCode.USAGE)
    password = "".join(secrets.choice(_LETTERS_AND_DIGITS) for _ in range(16))
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        typer.echo(f"{file}: {error.strerror}", err=True)
        raise typer.Exit(ExitCode.FAILED) from error
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f'# client  server  secret  addresses\n"{user}"  *  "{password}"  *\n')
    how = HOW_TO_DIAL.format(program=_program(), user=user, password=password, file=file, server=_own_address())
    typer.echo(how)


def _program() -> str:
    """How this program is called: by its name where the shell finds it, else by the way in which it was called now."""
    called = Path(sys.argv[0])
    if called.name != "poptrio":
        return f"{shlex.quote(sys.executable)} -m poptrio"
    found = shutil.which("poptrio")
    return "poptrio" if found and called.resolve() == Path(found).resolve() else shlex.quote(str(called))


def _own_address() -> str:
    """The address under which this machine reaches others, or the word SERVER where it reaches nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1 (RFC 5737); connecting a UDP socket sends nothing
        except OSError:
            return "SERVER"
        address: str = probe.getsockname()[0]
        return address
