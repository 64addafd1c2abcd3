"""What the commands that call a server share: whom, as whom, and how; all wrong arguments are usage errors."""

import os
from typing import Annotated

import typer

from poptrio.config.values import PPTP_PORT
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.lcp import AuthProtocol

PASSWORD_VARIABLE = "POPTRIO_PASSWORD"

Server = Annotated[str, typer.Argument(metavar="SERVER", help="Name or address, with :PORT where it is not 1723.")]
Password = Annotated[
    str | None,
    typer.Option("--password", help=f"Password; better in {PASSWORD_VARIABLE}, which other users cannot see."),
]
Auth = Annotated[
    str, typer.Option("--authentication", help="Protocols that we are ready for, best first, separated by commas.")
]
Encryption = Annotated[str, typer.Option("--encryption", help="require, prefer or refuse.")]
Bits = Annotated[str, typer.Option("--bits", help="MPPE key lengths, separated by commas: 128, 56, 40.")]
Mode = Annotated[str, typer.Option("--mode", help="MPPE mode: any, stateless or stateful.")]
Mtu = Annotated[int, typer.Option("--mtu", min=576, max=1500, help="Largest packet in the tunnel, in octets.")]


def the_password(given: str | None) -> str:
    """The password of the command line, or of the environment."""
    password = os.environ.get(PASSWORD_VARIABLE) if given is None else given
    if password is None:
        raise typer.BadParameter(f"give --password or set {PASSWORD_VARIABLE}")
    return password


def host_and_port(text: str) -> tuple[str, int]:
    """SERVER as host and TCP port."""
    host, colon, port = text.partition(":")
    if ":" in port or text.startswith("["):
        raise typer.BadParameter(f"{text!r} looks like an IPv6 address, and PPTP runs over IPv4 only")
    if not colon:
        port = str(PPTP_PORT)
    if not host or any(map(str.isspace, host)):
        raise typer.BadParameter(f"{text!r} is not HOST or HOST:PORT")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise typer.BadParameter(f"{text!r} has no TCP port from 1 to 65535 after the colon")
    return host, int(port)


def auth_protocols(text: str) -> tuple[AuthProtocol, ...]:
    """The authentication protocols of a comma list of names."""
    known = {protocol.label: protocol for protocol in AuthProtocol}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}")
    return tuple(known[name] for name in names)


def encryption_policy(encryption: str, bits: str, mode: str) -> EncryptionPolicy:
    """What ``--encryption``, ``--bits`` and ``--mode`` say together."""
    lengths = {"128": 128, "56": 56, "40": 40}
    try:
        chosen = tuple(lengths[length.strip()] for length in bits.split(","))
    except KeyError as error:
        raise typer.BadParameter(f"{error.args[0]!r} is none of 128, 56, 40") from error
    match encryption, mode:
        case ("require" | "prefer" | "refuse") as policy, ("any" | "stateless" | "stateful") as way:
            return EncryptionPolicy(policy, chosen, way)
        case _:
            raise typer.BadParameter("--encryption is require, prefer or refuse; --mode is any, stateless or stateful")
