"""``wtmp``: writes calls into the system's login records, for last(1) and who(1), as pptpd's logwtmp does."""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from struct import Struct

import structlog
import trio
from pydantic import BaseModel, ConfigDict

from poptrio.api import (
    AccountingKind,
    AccountingRecord,
    CallInfo,
    ConfigError,
    ConfigFault,
    NoSessions,
    ServerInfo,
    Sessions,
    hookimpl,
    read_config,
    run_blocking,
)
from poptrio.plugins.utmp_file import Kind, LoginRecord, append, layout_of, log_out_the_dead, take_over, update

PLACE = "plugins.wtmp"

LINE = "pptp"
"""What the line of each call begins with; its Call ID follows."""

log = structlog.get_logger("poptrio.wtmp")


class WtmpConfig(BaseModel):
    """``[plugins.wtmp]``."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True)

    wtmp: str = "/var/log/wtmp"
    """File to which logins and logouts are appended, which last(1) reads; empty is none."""

    utmp: str = ""
    """File with those who are logged in, which who(1) reads, usually "/run/utmp"; empty is none. Logins that a server
    has left there when it was killed are ended at the next start."""


class Wtmp:
    """The plugin."""

    def __init__(self) -> None:
        self._wtmp: Path | None = None
        self._utmp: Path | None = None
        self._layout: Struct | None = None
        self._continued = False
        self._begun = 0.0
        self._logged_in: dict[str, LoginRecord] = {}  # by session
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._sessions: Sessions = NoSessions()

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config: Mapping[str, object], server: ServerInfo) -> AsyncIterator[None]:
        """See whether the files can be written, and end what a server before us could not end, or take it over."""
        settings = read_config(WtmpConfig, config, PLACE)
        self._continued, self._begun = server.continued, time.monotonic()
        self._wtmp = server.folder / settings.wtmp if settings.wtmp else None
        self._utmp = server.folder / settings.utmp if settings.utmp else None
        if faults := list(self._faults()):
            raise ConfigError(*faults)
        self._sessions = server.sessions
        if server.continued:  # by our parent, whose calls go on
            await run_blocking(self._take_over, self._is_parents, limiter=self._one_at_a_time)
        elif not server.rehearsal:
            await run_blocking(self._log_out_the_dead, limiter=self._one_at_a_time)
        yield

    @hookimpl
    @contextmanager
    def poptrio_hand_over(self) -> Iterator[None]:
        """The logins carry the number of the process that has the calls."""
        try:
            yield
        finally:
            lines = {_line(session.call) for session in self._sessions}
            self._take_over(lambda record: record.line in lines)  # again: the other process may have them already

    @hookimpl
    async def poptrio_account(self, record: AccountingRecord) -> None:
        """Write the login or the logout of a call. In a thread: another program may hold the file for seconds."""
        if record.kind is AccountingKind.START:
            await run_blocking(self._log_in, record, limiter=self._one_at_a_time)
        elif record.kind is AccountingKind.STOP:
            await run_blocking(self._log_out, record, limiter=self._one_at_a_time)

    def _log_in(self, record: AccountingRecord) -> None:
        login = self._logged_in[record.call.session_id] = _login(record)
        self._write(login)

    def _log_out(self, record: AccountingRecord) -> None:
        login = self._logged_in.pop(record.call.session_id, None)
        if login is None:
            login = _login(record, record.seconds)
            handed_over = self._continued and record.seconds > time.monotonic() - self._begun
            if not handed_over:  # else another process, which has handed over to us, has written the login
                self._write(login)  # the call was over before it was written: it is in the records all the same
        self._write(login.logged_out(record.timestamp.timestamp()))

    def _write(self, record: LoginRecord) -> None:
        assert self._layout is not None, "asked before the lifespan was entered"
        if self._utmp is not None:
            update(self._utmp, record, self._layout)
        if self._wtmp is not None:
            append(self._wtmp, record, self._layout)

    def _log_out_the_dead(self) -> None:
        assert self._layout is not None
        if self._utmp is None:
            return
        ended = log_out_the_dead(self._utmp, LINE, self._layout)
        for record in ended if self._wtmp is not None else ():
            assert self._wtmp is not None
            append(self._wtmp, record, self._layout)
        if ended:
            log.info("logins ended that were left behind", count=len(ended), file=str(self._utmp))

    def _take_over(self, mine: Callable[[LoginRecord], bool]) -> None:
        assert self._layout is not None
        if self._utmp is not None:
            take_over(self._utmp, mine, self._layout)

    @staticmethod
    def _is_parents(record: LoginRecord) -> bool:
        return record.pid == os.getppid() and record.line.startswith(LINE)

    def _faults(self) -> Iterator[ConfigFault]:
        try:
            self._layout = layout_of()
        except LookupError as error:
            yield ConfigFault(PLACE, str(error))
        if self._wtmp is None and self._utmp is None:
            yield ConfigFault(PLACE, 'names no file; set "wtmp", "utmp", or both')
        for key, path in (("wtmp", self._wtmp), ("utmp", self._utmp)):
            if path is None:
                continue
            if not path.exists():
                remedy = f"make it: install -m 664 -g utmp /dev/null {path}"
                yield ConfigFault(f"{PLACE}.{key}", f"{path} does not exist; {remedy}")
            elif not os.access(path, os.R_OK | os.W_OK):
                remedy = "the group utmp usually may (systemd: SupplementaryGroups=utmp)"
                yield ConfigFault(f"{PLACE}.{key}", f"{path} cannot be written by this user; {remedy}")


def _line(call: CallInfo) -> str:
    return f"{LINE}{call.call_id}"


def _login(record: AccountingRecord, ago: float = 0.0) -> LoginRecord:
    """The login of a call, so many seconds before ``record``."""
    call = record.call
    return LoginRecord(
        Kind.USER_PROCESS,
        os.getpid(),
        _line(call),
        f"{call.call_id:04x}",
        record.accept.user,
        str(call.peer),
        record.timestamp.timestamp() - ago,
        call.peer,
    )
