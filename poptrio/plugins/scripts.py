"""``scripts``: runs a program when a call is up, and another one when it has ended, as pppd runs ip-up and ip-down.

Arguments and environment are pppd's (pppd(8), SCRIPTS), so that scripts that were written for it go on. What clients
choose comes as an argument or a variable, never as text for a shell.
"""

import os
import pwd
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated

import structlog
import trio
from pydantic import BaseModel, ConfigDict, Field

from poptrio.api import AccountingKind, AccountingRecord, ConfigError, ConfigFault, ServerInfo, hookimpl, read_config
from poptrio.plugins.script_runner import Script, ScriptRunner

PLACE = "plugins.scripts"

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where scripts look for programs."""

NO_TTY, NO_SPEED = "none", "0"
"""What stands where pppd has a terminal and its speed."""

LONGEST_VALUE = 1024
"""Characters of one variable."""

log = structlog.get_logger("poptrio.scripts")


class ScriptsConfig(BaseModel):
    """``[plugins.scripts]``."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True)

    up: str = ""
    """Program that is run when a call has its address, for instance "/etc/ppp/ip-up"; empty is none. Relative files are
    relative to the configuration file."""

    down: str = ""
    """Program that is run when such a call has ended; empty is none."""

    ipparam: str = ""
    """The sixth argument; empty is the client's outer address, as pptpd has it."""

    timeout: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 30.0
    """Seconds after which a program is killed, with all that it has started."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    """How many run at the same time."""

    queue: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """How many may wait for their turn. Calls that come up beyond that get neither program, which is logged."""

    finish_timeout: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 30.0
    """Seconds that programs have to finish when the server is stopped."""


class Scripts:
    """The plugin."""

    def __init__(self) -> None:
        self._settings = ScriptsConfig()
        self._server: ServerInfo | None = None
        self._begun = 0.0
        self._up: Path | None = None
        self._down: Path | None = None
        self._runner: ScriptRunner | None = None
        self._up_sessions: set[str] = set()

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config: Mapping[str, object], server: ServerInfo) -> AsyncIterator[None]:
        """Look at the programs, and run what is asked for until the last one has ended."""
        self._settings = settings = read_config(ScriptsConfig, config, PLACE)
        self._server, self._begun = server, trio.current_time()
        self._up = server.folder / settings.up if settings.up else None
        self._down = server.folder / settings.down if settings.down else None
        if faults := list(self._faults()):
            raise ConfigError(*faults)
        self._runner = ScriptRunner(concurrency=settings.concurrency, queue=settings.queue, timeout=settings.timeout)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._runner.run)
            yield
            with trio.move_on_after(settings.finish_timeout):
                await self._runner.finish()
            nursery.cancel_scope.cancel()

    @hookimpl
    async def poptrio_account(self, record: AccountingRecord) -> None:
        """Ask for the program of this moment; waits for nothing."""
        assert self._runner is not None, "asked before the lifespan was entered"
        session = record.call.session_id
        if record.kind is AccountingKind.START:
            if not self._runner.has_room:
                log.warning("script not run", session=session, why="too many wait for their turn already")
                return
            self._up_sessions.add(session)
            self._start(self._up, record)
        elif record.kind is AccountingKind.STOP and (session in self._up_sessions or self._was_up_before(record)):
            self._up_sessions.discard(session)
            self._start(self._down, record)

    def _was_up_before(self, record: AccountingRecord) -> bool:
        """Whether another process of this server, which has handed over to us, had this call when it came up."""
        assert self._server is not None
        return self._server.continued and record.seconds > trio.current_time() - self._begun

    def _start(self, path: Path | None, record: AccountingRecord) -> None:
        if path is None:
            return
        assert self._server is not None
        assert self._runner is not None
        ipparam = _plain(self._settings.ipparam) or str(record.call.peer)
        ends = (str(self._server.address), str(record.address))
        arguments = (record.interface, NO_TTY, NO_SPEED, *ends, ipparam)
        self._runner.start(Script(path, arguments, environment(record, self._server), record.call.session_id))

    def _faults(self) -> Iterator[ConfigFault]:
        if self._up is None and self._down is None:
            yield ConfigFault(PLACE, 'names no program; set "up", "down", or both')
        for key, path in (("up", self._up), ("down", self._down)):
            if path is not None and (why := obstacle(path)) is not None:
                yield ConfigFault(f"{PLACE}.{key}", f"{path} {why}")


def environment(record: AccountingRecord, server: ServerInfo) -> dict[str, str]:
    """All variables of a program, which inherits none; pppd's names, and CALLING_SID and CALLED_SID of accel-ppp."""
    call, accept, ours = record.call, record.accept, str(server.address)
    uid = os.getuid()
    variables = {
        "PATH": PATH,
        "IFNAME": record.interface,
        "DEVICE": NO_TTY,
        "SPEED": NO_SPEED,
        "IPLOCAL": ours,
        "IPREMOTE": str(record.address),
        "PEERNAME": accept.user,
        "ORIG_UID": str(uid),
        "PPPLOGNAME": _user_name(uid),
        "PPPD_PID": str(os.getpid()),
        "LINKNAME": call.session_id,
        "MTU": str(record.mtu),
        "CALLING_SID": str(call.peer),
        "CALLED_SID": str(call.server),
        **_numbered("DNS", server.dns if accept.dns is None else accept.dns),
        **_numbered("WINS", server.wins if accept.wins is None else accept.wins),
    }
    if accept.filter_ids:
        variables["FILTER_ID"] = ",".join(accept.filter_ids)
    if record.kind is AccountingKind.STOP:
        variables["CONNECT_TIME"] = str(int(record.seconds))
        variables["BYTES_SENT"] = str(record.traffic.bytes_out)
        variables["BYTES_RCVD"] = str(record.traffic.bytes_in)
        variables["CAUSE"] = record.cause.label if record.cause is not None else ""
    return {name: _plain(value) for name, value in variables.items()}


def obstacle(path: Path) -> str | None:
    """Why ``path`` is no program that may be run, as the rest of a sentence that begins with it; None if it may."""
    try:
        status = os.stat(path)
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "is no file"
    if not os.access(path, os.X_OK):
        return f"may not be run; chmod +x {path}"
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to another user, who could make it do whatever he likes; chown root {path}"
    if status.st_mode & 0o022:
        return f"can be changed by other users, who could run whatever they like; chmod go-w {path}"
    return None


def _numbered(name: str, addresses: tuple[IPv4Address, ...]) -> dict[str, str]:
    return {f"{name}{number}": str(address) for number, address in enumerate(addresses[:2], start=1)}


def _plain(value: str) -> str:
    """``value`` on one line, without a character that means something to a terminal or ends a variable."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in value)
    return plain[:LONGEST_VALUE]


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
