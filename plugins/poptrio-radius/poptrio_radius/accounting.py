"""Accounting: from the hook's record to the spool, from the spool to the servers, and what surrounds it all.

Around the life of the server: sessions that a crash cut off get their Stop, then Accounting-On is sent, then what
happens from now on; at the end, when everything has arrived, Accounting-Off.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import structlog
import trio

from poptrio.api import AccountingKind, AccountingRecord, CallInfo, CauseOfEnd, Sessions
from poptrio_radius.accounting_attributes import (
    record_attributes,
    request_of,
    server_request,
    session_part,
    stop_after_crash,
)
from poptrio_radius.attributes import Attributes
from poptrio_radius.delivery import Delivery, Send
from poptrio_radius.spool import Spool, Write, in_thread, open_spool
from poptrio_radius.spool_file import OpenSession, Record

SESSIONS_AT_ONCE = 200
"""How many sessions are noted before packets have their turn again."""

log = structlog.get_logger("poptrio.radius")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountingSettings:
    """``failure`` is what a Start does to its call that no server has acknowledged within ``failure_timeout``.

    ``note_interval`` is how often, in seconds, the counters of all open sessions are written to the spool, so that a
    crash loses no more than that; ``farewell`` how long the end of the server waits for what is still to be sent.
    """

    spool: Path
    limit: int
    on_off: bool = True
    failure: Literal["ignore", "end-call"] = "ignore"
    failure_timeout: float = 30.0
    note_interval: float = 60.0
    farewell: float = 5.0
    plugin: str = "radius"


class Accounting:
    """Takes the records of calls to ``spool``. ``identity`` makes the attributes by which RADIUS knows a call."""

    def __init__(
        self,
        settings: AccountingSettings,
        spool: Spool,
        identity: Callable[[CallInfo], Attributes],
        sessions: Sessions,
    ) -> None:
        self.spool = spool
        self.settings = settings
        self._identity = identity
        self._sessions = sessions
        self._open: dict[str, OpenSession] = {}
        self._starts = StartWatch(settings.failure_timeout, self._end)
        self._other_interval = trio.Event()

    def configure(self, settings: AccountingSettings) -> None:
        """Go on with other ``settings``, all but the file of the spool; calls whose Start is under way already are
        ended only if they would have been before as well.
        """
        before, self.settings = self.settings, settings
        self.spool.limit_to(settings.limit)
        self._starts.wait_for(settings.failure_timeout)
        if settings.failure != "end-call":
            self._starts.forget_all()
        if settings.note_interval != before.note_interval:
            self._other_interval.set()

    def go_on(self) -> None:
        """Take up the sessions that another process has accounted for until now, and watch over their Starts."""
        self._open = {session.session_id: session for session in self.spool.open_sessions}
        if self.settings.failure == "end-call":
            for session_id in self.spool.sessions_to_send():
                if self.spool.backlog.waits_for(session_id, AccountingKind.START):
                    self._starts.expect(session_id)

    def let_go(self) -> AbstractContextManager[None]:
        """Let another process have the spool; when the context is left, it is ours again."""
        return self.spool.let_go()

    async def account(self, record: AccountingRecord) -> None:
        """Take ``record``, before anything is waited for, and return when it is on the disk."""
        await self.take(record).wait()

    def take(self, record: AccountingRecord) -> trio.Event:
        """Take ``record``; the event tells when it is on the disk."""
        session_id = record.call.session_id
        part = session_part(record, self._identity(record.call), self.settings.plugin)
        attributes = record_attributes(record, part).pack()
        event_time = record.timestamp.timestamp()
        session = None
        if record.kind is AccountingKind.STOP:
            self._open.pop(session_id, None)
            self._starts.forget(session_id)
        else:
            session = self._open[session_id] = OpenSession(
                session_id=session_id,
                time=event_time,
                seconds=record.seconds,
                traffic=record.traffic,
                attributes=part.pack(),
            )
        if record.kind is AccountingKind.START and self.settings.failure == "end-call":
            self._starts.expect(session_id)
        return self.spool.put(record.kind, session_id, event_time, attributes, session)

    def acknowledged(self, record: Record) -> None:
        """A server has ``record``."""
        if record.kind is AccountingKind.START:
            self._starts.forget(record.session_id)

    async def run(self) -> None:
        """Note the progress of open sessions and watch over Starts, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._starts.run)
            while True:
                self._other_interval = trio.Event()
                with trio.move_on_after(self.settings.note_interval) as interval:
                    await self._other_interval.wait()
                if interval.cancelled_caught:
                    await self._note_progress()

    async def _note_progress(self) -> None:
        noted = []
        for number, session in enumerate(list(self._sessions), start=1):
            if number % SESSIONS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            known = self._open.get(session.call.session_id)
            if known is not None:
                seconds, traffic = session.seconds, session.traffic
                noted.append(replace(known, time=time.time(), seconds=seconds, traffic=traffic))
        # Of those that ended meanwhile the Stop has been taken, and they must not be opened again.
        self.spool.note(session for session in noted if session.session_id in self._open)

    def _end(self, session_id: str) -> None:
        session = self._sessions.find(session_id)
        if session is not None:
            session.end(CauseOfEnd.ACCOUNTING_UNAVAILABLE)


class StartWatch:
    """Calls ``end`` with each session whose Start is not acknowledged within ``timeout`` seconds."""

    def __init__(self, timeout: float, end: Callable[[str], None]) -> None:
        self._timeout = timeout
        self._end = end
        self._expected: dict[str, float] = {}  # since when, in order
        self._changed = trio.Event()

    def wait_for(self, timeout: float) -> None:
        """Another timeout, also for those that are waited for."""
        if timeout != self._timeout:
            self._timeout = timeout
            self._changed.set()

    def expect(self, session_id: str) -> None:
        """The Start of this session was taken."""
        if not self._expected:
            self._changed.set()
        self._expected.setdefault(session_id, trio.current_time())

    def forget(self, session_id: str) -> None:
        """It was acknowledged, or the session is over."""
        self._expected.pop(session_id, None)

    def forget_all(self) -> None:
        """Nothing is ended any more."""
        self._expected.clear()

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            self._changed = trio.Event()
            session_id, since = next(iter(self._expected.items()), ("", float("inf")))
            if since + self._timeout <= trio.current_time():
                del self._expected[session_id]
                self._end(session_id)
            else:
                with trio.move_on_at(since + self._timeout):
                    await self._changed.wait()


@asynccontextmanager
async def open_accounting(
    settings: AccountingSettings,
    send: Send,
    identity: Callable[[CallInfo], Attributes],
    nas: Attributes,
    sessions: Sessions,
    *,
    continued: bool = False,
    write: Write = in_thread,
) -> AsyncIterator[Accounting]:
    """Accounting as long as the context is open; where that of another process is ``continued``, nothing begins.

    ``identity`` makes the attributes by which RADIUS knows a call, ``nas`` are those by which it knows this server.
    Raises `SpoolError`.
    """
    begun = time.time()
    run_id = f"{int(begun):08x}-{secrets.token_hex(4)}"
    on = server_request("Accounting-On", nas, run_id, begun) if settings.on_off and not continued else None
    async with (
        open_spool(settings.spool, settings.limit, stop_after_crash, write, continued=continued) as spool,
        trio.open_nursery() as nursery,
    ):
        accounting = Accounting(settings, spool, identity, sessions)
        accounting.go_on()
        delivery = Delivery(spool, send, request_of, on=on, acknowledged=accounting.acknowledged)
        nursery.start_soon(accounting.run)
        nursery.start_soon(delivery.run)
        yield accounting
        with trio.move_on_after(accounting.settings.farewell):
            await spool.wait_until_empty()
            if accounting.settings.on_off and not delivery.is_held:
                await send(server_request("Accounting-Off", nas, run_id, time.time()))
        if not spool.is_empty:
            log.warning("accounting is kept for the next start", records=len(spool.backlog))
        nursery.cancel_scope.cancel()
