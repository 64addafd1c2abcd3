"""The API of a server that runs."""

import trio

from poptrio.management.app import application
from poptrio.management.doors import Doors
from poptrio.management.endpoint import Manager
from poptrio.management.http_server import serve_http
from poptrio.management.rates import Rates
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
    await serve_http(application(Manager(server, Rates(), upgrade)), doors, task_status=task_status)
