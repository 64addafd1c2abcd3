"""How many calls the file descriptors of a process are enough for.

Each control connection needs one, and a call in the kernel's data path three more.

Without one left, accept() fails, and whoever dials then hangs without an answer; a limit below that refuses politely.
"""

import resource

import structlog

from poptrio.config import Config
from poptrio.config.management import MOST_CONNECTIONS
from poptrio.server.datapaths import MOST_CALLS

RESERVE = 100
"""Descriptors that are no control connections: raw sockets, TUN, netlink, files and connections of plugins."""

HIGHER_LIMIT = "raise the hard limit (ulimit -Hn; systemd: LimitNOFILE=; containers: --ulimit nofile=)"
REMEDY = f"{HIGHER_LIMIT}, or lower max_calls"
"""What to do when they are not enough."""

log = structlog.get_logger("poptrio.server")


def needed(config: Config, processes: int = 1) -> int:
    """Descriptors of each process for as many control connections as the configuration allows, one call on each."""
    descriptors = per_call(config) * config.server.max_calls + config.server.max_unauthenticated
    return -(-descriptors // processes) + _reserve(config, processes)


def _reserve(config: Config, processes: int) -> int:
    """`RESERVE`, and what operators may take where they ask the process that has the calls."""
    management = config.management
    doors = bool(management.socket) + len(management.listen)
    return RESERVE + (MOST_CONNECTIONS * doors if processes == config.server.worker_count == 1 else 0)


def per_call(config: Config) -> int:
    """Descriptors of a call: more where its data path is, or may be, the kernel's."""
    server = config.server
    may_be = server.datapath == "auto" and server.max_calls <= MOST_CALLS and server.worker_count == 1
    in_kernel = server.datapath == "kernel" or may_be
    return 4 if in_kernel else 1


def hard_limit() -> int:
    """The most that the process may have (getrlimit(2), RLIMIT_NOFILE)."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 31 if hard == resource.RLIM_INFINITY else hard


def raise_limit() -> int:
    """Let this process have as many as it may, and return how many that are."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard_limit()


def fitted(config: Config, limit: int, processes: int = 1) -> Config:
    """``config`` with fewer calls, and a warning, where ``limit`` descriptors for each process are not enough."""
    if needed(config, processes) <= limit:
        return config
    changed = within(config, limit, processes)
    log.warning(
        "too few file descriptors",
        limit=limit,
        needed=needed(config, processes),
        max_calls=changed.server.max_calls,
        max_unauthenticated=changed.server.max_unauthenticated,
        remedy=REMEDY,
    )
    return changed


def within(config: Config, limit: int, processes: int = 1) -> Config:
    """``config`` with as many calls as ``limit`` descriptors for each process are enough for."""
    server = config.server
    connections = max(limit - _reserve(config, processes), 2) * processes
    strangers = min(server.max_unauthenticated, max(connections // 4, 1))
    calls = min(server.max_calls, max((connections - strangers) // per_call(config), 1))
    changed = server.model_copy(update={"max_calls": calls, "max_unauthenticated": strangers})
    return config.model_copy(update={"server": changed})
