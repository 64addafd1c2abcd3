"""How many calls the file descriptors of this process are enough for.

Each control connection needs one, and a call in the kernel's data path three more.

Without one left, accept() fails, and whoever dials then hangs without an answer; a limit below that refuses politely.
"""

import resource

import structlog

from poptrio.config import Config
from poptrio.server.datapaths import MOST_CALLS

RESERVE = 100
"""Descriptors that are no control connections: raw sockets, TUN, netlink, files and connections of plugins."""

REMEDY = "raise the hard limit (ulimit -Hn; systemd: LimitNOFILE=; containers: --ulimit nofile=), or lower max_calls"
"""What to do when they are not enough."""

log = structlog.get_logger("poptrio.server")


def needed(config: Config) -> int:
    """Descriptors for as many control connections as the configuration allows, with one call on each."""
    server = config.server
    return per_call(config) * server.max_calls + server.max_unauthenticated + RESERVE


def per_call(config: Config) -> int:
    """Descriptors of a call: more where its data path is, or may be, the kernel's."""
    server = config.server
    in_kernel = server.datapath == "kernel" or (server.datapath == "auto" and server.max_calls <= MOST_CALLS)
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


def fitted(config: Config, limit: int) -> Config:
    """``config`` with fewer calls, and a warning, where ``limit`` descriptors are not enough for it."""
    if needed(config) <= limit:
        return config
    server = config.server
    connections = max(limit - RESERVE, 2)
    strangers = min(server.max_unauthenticated, max(connections // 4, 1))
    calls = min(server.max_calls, max((connections - strangers) // per_call(config), 1))
    log.warning(
        "too few file descriptors",
        limit=limit,
        needed=needed(config),
        max_calls=calls,
        max_unauthenticated=strangers,
        remedy=REMEDY,
    )
    changed = server.model_copy(update={"max_calls": calls, "max_unauthenticated": strangers})
    return config.model_copy(update={"server": changed})
