"""A plugin that knows everybody, and what tests of workers ask about calls."""

from contextlib import asynccontextmanager
from dataclasses import replace

import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.api import Accept, hookimpl, verify


class Backend:
    """Knows everybody by one password; ``accept`` changes every Accept; remembers records and sessions."""

    def __init__(self, **accept):
        self.accept = accept
        self.records = []
        self.pause = 0.0
        self.cancelled = 0
        self.sessions = None

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config, server):
        self.sessions = server.sessions
        yield

    @hookimpl
    async def poptrio_authenticate(self, request):
        try:
            await trio.sleep(self.pause)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        answer = verify(request, "correct horse")
        return replace(answer, **self.accept) if isinstance(answer, Accept) else answer

    @hookimpl
    async def poptrio_account(self, record):
        self.records.append(record)

    def of(self, kind):
        return [record for record in self.records if record.kind.value == kind]


def is_up(call):
    return call.up.is_set() and not call.over.is_set()


async def settle():
    """Until what may wait has been told, too."""
    await trio.sleep(0.1)
    await wait_all_tasks_blocked()
