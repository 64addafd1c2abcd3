"""Whether the control connection's ports are free, and who else takes part in PPTP on this machine."""

import socket
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address

from poptrio.cli.checks.finding import Finding
from poptrio.cli.checks.machine import KernelSocket, Machine
from poptrio.config import Config, ListenAddress

ANY = IPv4Address(0)


def listen_addresses(config: Config, local: Collection[IPv4Address]) -> Iterator[Finding]:
    """Whether each listen address is one of the machine's own, ``local``."""
    for listen in config.server.listen:
        if listen.address != ANY and not listen.address.is_loopback and listen.address not in local:
            known = ", ".join(map(str, sorted(local)))
            remedy = f"Set server.listen to 0.0.0.0 or one of {known}"
            yield Finding.fault("listen", f"{listen.address} is no address of this machine", remedy)


def ports(machine: Machine, config: Config) -> Iterator[Finding]:
    """Whether each listen port is free, or who holds it."""
    listening = list(machine.listening())
    for listen in config.server.listen:
        rival = next((found for found in listening if _collides(found, listen)), None)
        if rival is None:
            yield Finding.ok("port", f"TCP {listen} is free")
            continue
        process = machine.holder(rival.inode)
        held = f"TCP {listen} is held by {process or 'a process that only root can see'}"
        if process is not None and process.is_poptrio:
            yield Finding.warning("port", held, "Nothing, if that is the server you mean; a second one cannot start")
        elif process is not None and process.is_service_manager:
            yield Finding.warning("port", held, "Nothing, if that is poptrio.socket: systemd hands the port over")
        else:
            yield Finding.fault("port", held, "Stop it, or set server.listen to another address or port")


def gre_sockets(machine: Machine) -> Iterator[Finding]:
    """Other programs that read GRE. They get a copy of every packet, and some answer what is not theirs."""
    processes = {machine.holder(raw.inode) for raw in machine.raw_sockets() if raw.port == socket.IPPROTO_GRE}
    others = sorted(str(process) for process in processes if process is not None and not process.is_poptrio)
    hidden = None in processes
    if hidden:
        sentence = "GRE packets are also read by a process that only root can see"
        yield Finding.warning("gre", sentence, "Run the check as root, which says whether it is a poptrio")
    if others:
        remedy = "Stop it if it is another PPTP server; a PPTP client does no harm"
        yield Finding.warning("gre", f"GRE packets are also read by {', '.join(others)}", remedy)
    if not others and not hidden:
        yield Finding.ok("gre", "no other program reads GRE packets")


def _collides(found: KernelSocket, listen: ListenAddress) -> bool:
    return found.port == listen.port and (found.address == listen.address or ANY in (found.address, listen.address))
