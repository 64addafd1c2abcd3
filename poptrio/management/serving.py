"""The API of a server that runs."""

from collections.abc import Sequence

import trio

from poptrio.management.app import application
from poptrio.management.endpoint import Manager
from poptrio.management.http_server import Door, serve_http
from poptrio.management.rates import Rates
from poptrio.server.operated import Operated
from poptrio.upgrade.hand_over import Upgrade


async def manage(
    server: Operated,
    doors: Sequence[Door],
    upgrade: Upgrade | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API of ``server`` at its ``doors`` until cancelled; ``upgrade`` hands it over to a new program."""
    await serve_http(application(Manager(server, Rates(), upgrade)), doors, task_status=task_status)
