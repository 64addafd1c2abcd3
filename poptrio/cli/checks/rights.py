"""Whether this process may do what a PPTP server needs: capabilities, /dev/net/tun, the name of the TUN."""

import errno
import os
from collections.abc import Iterator

from poptrio.cli.checks.finding import Finding
from poptrio.cli.checks.machine import Machine
from poptrio.cli.descriptors import REMEDY, needed
from poptrio.config import Config
from poptrio.runtime.privileges import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_RAW


def capabilities(machine: Machine, config: Config) -> Iterator[Finding]:
    """The capabilities (capabilities(7)) that the server needs of the kernel."""
    needed = {CAP_NET_ADMIN: ("CAP_NET_ADMIN", "the TUN and its route"), CAP_NET_RAW: ("CAP_NET_RAW", "GRE packets")}
    unprivileged = machine.sysctl("net.ipv4.ip_unprivileged_port_start")
    if any(listen.port < (1024 if unprivileged is None else unprivileged) for listen in config.server.listen):
        needed[CAP_NET_BIND_SERVICE] = ("CAP_NET_BIND_SERVICE", "a low TCP port")
    effective = machine.effective_capabilities()
    for bit, (name, purpose) in needed.items():
        if effective >> bit & 1:
            yield Finding.ok(name, f"{name} is there, for {purpose}")
        else:
            remedy = f"Run as root, give systemd AmbientCapabilities={name}, or a container --cap-add={name[4:]}"
            yield Finding.fault(name, f"{name} is missing, which {purpose} need", remedy)


def descriptors(config: Config, limit: int) -> Iterator[Finding]:
    """Whether ``limit`` file descriptors are enough for the calls that the configuration allows."""
    processes = config.server.worker_count
    if limit >= needed(config, processes):
        yield Finding.ok("descriptors", f"{limit} file descriptors are enough for server.max_calls")
        return
    sentence = (
        f"{limit} file descriptors are too few for server.max_calls = {config.server.max_calls}, which needs "
        f"{needed(config, processes)}{' in each worker' if processes > 1 else ''}: fewer calls will be taken"
    )
    yield Finding.warning("descriptors", sentence, f"{REMEDY[:1].upper()}{REMEDY[1:]}")


def tun(machine: Machine) -> Iterator[Finding]:
    """Whether /dev/net/tun can be opened; opening alone makes no interface."""
    device = machine.path("dev/net/tun")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            remedy = "Load the module (modprobe tun); give a container --device=/dev/net/tun"
        else:
            remedy = "Run as root, or let this user read and write it"
        yield Finding.fault("tun", f"/dev/net/tun cannot be opened: {error.strerror}", remedy)
    else:
        yield Finding.ok("tun", "/dev/net/tun can be opened")


def interface(machine: Machine, config: Config) -> Iterator[Finding]:
    """Whether the name of each TUN is free."""
    for name in config.server.interfaces:
        yield _interface(machine, name)


def _interface(machine: Machine, name: str) -> Finding:
    if not machine.path(f"sys/class/net/{name}").exists():
        return Finding.ok("interface", f"the name {name} is free")
    if machine.path(f"sys/class/net/{name}/tun_flags").exists():
        remedy = "Nothing, if poptrio is running; else set server.interface to another name"
        return Finding.warning("interface", f"a TUN named {name} exists already", remedy)
    return Finding.fault("interface", f"{name} exists already and is no TUN", "Set server.interface to another name")
