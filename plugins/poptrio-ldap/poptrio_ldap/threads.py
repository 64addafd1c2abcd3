"""`Directory` by ldap3: every question runs in a thread, so that a slow server does not stop the others' packets."""

import time
from collections.abc import Callable
from typing import TypeVar

import trio

from poptrio.api import run_blocking
from poptrio_ldap.connection import LdapConnection
from poptrio_ldap.directory import BindResult, Entry, Search
from poptrio_ldap.pool import Pool, Purpose

ResultT = TypeVar("ResultT")


class ThreadedDirectory:
    """The servers of ``pool``, asked by at most ``connections`` threads at a time.

    A question that is given up leaves its thread behind until the server's timeout: after ``patience`` seconds that
    thread tries no other server.
    """

    def __init__(self, pool: Pool[LdapConnection], *, connections: int, patience: float) -> None:
        self.pool = pool
        self._limiter = trio.CapacityLimiter(connections)
        self._patience = patience

    @property
    def busy(self) -> int:
        """Threads that ask just now."""
        return self._limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """Questions that wait for a thread."""
        return self._limiter.statistics().tasks_waiting

    async def search(self, search: Search) -> list[Entry]:
        """See `Directory`."""
        return await self._run(Purpose.SEARCH, lambda connection: connection.search(search))

    async def bind(self, dn: str, password: bytes) -> BindResult:
        """See `Directory`."""
        return await self._run(Purpose.BIND, lambda connection: connection.bind(dn, password))

    async def _run(self, purpose: Purpose, work: Callable[[LdapConnection], ResultT]) -> ResultT:
        def run() -> ResultT:
            return self.pool.run(purpose, work, give_up_at=time.monotonic() + self._patience)

        return await run_blocking(run, limiter=self._limiter)
