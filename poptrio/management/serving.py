"""The API of a server that runs."""

import trio

from poptrio.management.app import application
from poptrio.management.doors import Doors
from poptrio.management.endpoint import Manager
from poptrio.management.http_server import serve_http
from poptrio.management.rates import Rates
from poptrio.observe.log_limit import LogLimit
from poptrio.server.operated import Operated
from poptrio.upgrade.hand_over import Upgrade


async def manage(
    server: Operated,
    doors: Doors,
    upgrade: Upgrade | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API of ``server`` at its ``doors`` until cancelled; ``upgrade`` hands it over to a new program."""
    lines = LogLimit(server.stats.left_out)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.run)
        app = application(Manager(server, Rates(), upgrade))
        await serve_http(app, doors, lines.allows, task_status=task_status)
