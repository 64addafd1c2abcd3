"""Whether the user that the server is to become exists, and may open the device that packets go through."""

import os
from collections.abc import Iterator

from poptrio.cli.checks.finding import Finding
from poptrio.cli.checks.machine import Machine
from poptrio.config import Config
from poptrio.runtime.privileges import Account


def account(config: Config, machine: Machine) -> Iterator[Finding]:
    """Nothing where the server stays who it is."""
    server = config.server
    if not server.user:
        return
    try:
        found = Account.find(server.user, server.group)
    except LookupError as error:
        sentence, _, remedy = str(error).partition("; ")
        yield Finding.fault("user", sentence, remedy[:1].upper() + remedy[1:])
        return
    device = "dev/ppp" if server.datapath == "kernel" else "dev/net/tun"
    try:
        status = os.stat(machine.path(device))
    except OSError:
        yield Finding.ok("user", f"{found.user} exists, whom the server becomes")
        return  # that the device is missing is said elsewhere
    if found.may_read_and_write(status):
        yield Finding.ok("user", f"{found.user} exists, whom the server becomes, and may open /{device}")
        return
    remedy = f"Give /{device} a group of that user and mode 0660, by a rule of udev"
    yield Finding.fault("user", f"{found.user}, whom the server becomes, may not open /{device}", remedy)
