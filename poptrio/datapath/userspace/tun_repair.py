"""Keeps the TUN up and its routes there: when somebody sets a device down, the kernel forgets the routes through it.

Nobody tells us, new calls would come up, and nothing would come back to them. So it is looked at from time to time; to
add a route that is there already is the cheapest question whether it is.
"""

import structlog
import trio

from poptrio.datapath.userspace.routes import KernelRoutes
from poptrio.datapath.userspace.tun import Tun

INTERVAL = 3.0
"""Seconds between two looks."""

log = structlog.get_logger("poptrio.datapath")


async def keep_repaired(tun: Tun, routes: KernelRoutes) -> None:
    """Look every `INTERVAL` seconds, and repair; never returns. What fails is logged once and tried again."""
    trouble = ""
    while True:
        await trio.sleep(INTERVAL)
        try:
            was_down = tun.restore()
            restored = routes.restore()
        except OSError as error:
            if trouble != (trouble := str(error)):
                log.warning("tun cannot be repaired", interface=tun.name, why=trouble)
            continue
        trouble = ""
        if was_down or restored:
            log.warning("tun repaired", interface=tun.name, was_down=was_down, routes=[*map(str, restored)])
