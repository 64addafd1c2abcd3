"""Which data path a server uses, and why: ``server.datapath``, and for "auto" the better one that works here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from poptrio.config import Config
from poptrio.datapath.kernel.available import Needs, obstacles
from poptrio.datapath.kernel.path import KernelDataPath, KernelSettings
from poptrio.datapath.userspace.path import Standing, UserspaceDataPath
from poptrio.errors import ConfigError, ConfigFault
from poptrio.server.settings import userspace_settings

log = structlog.get_logger("poptrio.server")

MOST_CALLS = 1000
"""Calls up to which "auto" takes the kernel's: each costs it a network device, which Linux adds and removes slowly."""

_KERNEL_BITS = frozenset((128, 40))  # ppp_mppe has no 56


@dataclass(frozen=True, slots=True)
class Choice:
    """The data path that was taken, and why, as half a sentence."""

    datapath: Literal["userspace", "kernel"]
    why: str


def choose(config: Config, probe: Callable[[Needs], list[str]] = obstacles) -> Choice:
    """The data path for ``config`` on this machine, which ``probe`` knows.

    Raises `ConfigError` where "kernel" is asked for and cannot be.
    """
    wanted = config.server.datapath
    if wanted == "userspace":
        return Choice("userspace", "it is configured")
    against = [*_workers(config), *encryption_obstacles(config)]
    if wanted == "kernel":
        against = against or probe(needs(config))
        if against:
            raise ConfigError(*(ConfigFault("server.datapath", f"no kernel data path: {why}") for why in against))
        return Choice("kernel", "it is configured")
    # Nothing is tried, and so no module loaded, where the kernel's would not be the better one anyway.
    against = against or _worse(config) or probe(needs(config))
    if against:
        return Choice("userspace", against[0])
    return Choice("kernel", "all that it needs is there, and it moves packets with less CPU")


def decided(config: Config) -> Config:
    """``config`` without "auto", and a line in the log that says which data path is taken, and why.

    Raises `ConfigError` as `choose`. To be asked before anything else makes ``config`` fit the machine.
    """
    choice = choose(config)
    if config.server.datapath != "userspace":
        log.info("data path", datapath=choice.datapath, why=choice.why)
    return config.model_copy(update={"server": config.server.model_copy(update={"datapath": choice.datapath})})


def open_datapath(config: Config, inherited: Standing | None = None) -> UserspaceDataPath | KernelDataPath:
    """The data path of a `decided` configuration; it is up when its ``run`` has reported started.

    ``inherited`` is what the userspace one has from another process.
    """
    if config.server.datapath == "kernel":
        return KernelDataPath(KernelSettings(interface=config.server.interface, clamp_mss=config.ppp.clamp_mss))
    settings = userspace_settings(config)
    return UserspaceDataPath(settings) if inherited is None else UserspaceDataPath(settings, inherited=inherited)


def needs(config: Config) -> Needs:
    """What the configuration asks of the kernel."""
    return Needs(
        interface=config.server.interface,
        encryption=config.ppp.encryption != "refuse",
        clamp_mss=config.ppp.clamp_mss,
    )


def _workers(config: Config) -> list[str]:
    if (workers := config.server.worker_count) > 1:
        return [f"server.workers makes {workers} processes, and the kernel uses all cores from one; set it to 1"]
    return []


def encryption_obstacles(config: Config) -> list[str]:
    """Which kind of encryption Linux does not have."""
    ppp = config.ppp
    if ppp.encryption != "refuse" and not _KERNEL_BITS.issuperset(ppp.encryption_bits):
        return ["ppp.encryption_bits has 56, and Linux' MPPE has only 128 and 40; take it out"]
    return []


def _worse(config: Config) -> list[str]:
    """Why the kernel's data path would be the worse one."""
    server, ppp = config.server, config.ppp
    against = []
    if server.max_calls > MOST_CALLS:
        against.append(
            f"server.max_calls is {server.max_calls}: with more than {MOST_CALLS} calls a network device for each "
            "costs more than it gains"
        )
    if ppp.encryption != "refuse" and ppp.encryption_mode == "stateful":
        against.append("stateful MPPE: Linux puts no packets back into order, and would ask for a reset at each gap")
    return against
