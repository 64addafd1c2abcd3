"""What calls may not leave behind when they have ended; tests ask for it by `leftovers`."""

from collections.abc import Iterator

import trio

from poptrio.datapath.memory import MemoryDataPath
from poptrio.server.server import Server
from poptrio.server.sessions import LiveSessions

TASKS_OF_CALLS = (
    "poptrio.server.connection",
    "poptrio.server.call_task",
    "poptrio.server.server.Server._serve_connection",
)
"""How the names of the tasks begin that live for a call or a control connection."""


def leftovers(server: Server, sessions: LiveSessions, datapath: MemoryDataPath) -> list[str]:
    """Everything of calls and connections that still exists, a line for each kind; empty when all have ended well."""
    registry, ticker = server.registry, server.ticker
    found = {
        "calls": list(registry.calls),
        "Call IDs": sorted(registry.call_ids.in_use),
        "calls by address": dict(registry._calls_of),
        "sessions": sorted(sessions._names),
        "users": sorted(sessions._counted),
        "strangers": registry._strangers,
        "strangers by address": dict(registry._strangers_of),
        "connections": list(server.connections),
        "goodbyes": list(server.goodbyes.scopes),
        "data path calls": list(datapath.calls),
        "alarms": [when for when, alarms in ticker._alarms.items() for alarm in alarms if alarm._ring is not None],
        "tasks": [task.name for task in _tasks(trio.lowlevel.current_root_task()) if _is_of_a_call(task)],
    }
    return [f"{kind}: {what}" for kind, what in found.items() if what]


def _tasks(task: trio.lowlevel.Task | None) -> Iterator[trio.lowlevel.Task]:
    if task is not None:
        yield task
        for nursery in task.child_nurseries:
            for child in nursery.child_tasks:
                yield from _tasks(child)


def _is_of_a_call(task: trio.lowlevel.Task) -> bool:
    return task.name.startswith(TASKS_OF_CALLS)
