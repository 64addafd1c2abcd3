"""The API of a server that runs."""

from collections.abc import Sequence

import trio

from poptrio.management.app import application
from poptrio.management.endpoint import Manager
from poptrio.management.http_server import Door, serve_http
from poptrio.management.rates import Rates
from poptrio.server.operated import Operated


async def manage(
    server: Operated, doors: Sequence[Door], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve the API of ``server`` at its ``doors`` until cancelled."""
    await serve_http(application(Manager(server, Rates())), doors, task_status=task_status)
