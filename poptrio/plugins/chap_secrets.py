"""``chap-secrets``: authenticates callers against a file in pppd's format, which is read again when it changes.

`poptrio.plugins.secrets_file` knows the format; here is which row counts for a caller, and when the file is read.
"""

import os
import stat
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import structlog
import trio
from pydantic import BaseModel, ConfigDict

from poptrio.api import (
    Accept,
    AuthRequest,
    CannotVerify,
    ConfigError,
    ConfigFault,
    Health,
    LocalEap,
    Measurement,
    Metric,
    PluginReload,
    Reject,
    ServerInfo,
    hookimpl,
    read_config,
    read_regular,
    run_blocking,
    verify,
)
from poptrio.plugins.secrets_file import ANY_ADDRESS, WILDCARD, Row, parse_secrets

LARGE_FILE = 16 * 1024
"""Octets from which the file is parsed in a thread, so that packets keep flowing meanwhile."""

NO_DIALIN_PERMISSION = 649
"""``ERROR_NO_DIALIN_PERMISSION`` (RFC 2759 §6)."""

USERS = Metric("users", "gauge", "How many users does the secrets file have for this server?")
MODIFIED = Metric("file_modified_timestamp_seconds", "gauge", "When was the file changed that is in use?")
BROKEN = Metric("file_broken", "gauge", "Is the file broken, so that an older one is in use (1), or not (0)?")
READS = Metric("file_reads", "counter", "How often was the file read again, and could it be used?", ("result",))
METRICS = (USERS, MODIFIED, BROKEN, READS)

log = structlog.get_logger("poptrio.chap-secrets")

_Signature = tuple[int, ...]
_Signatures = dict[Path, _Signature | None]


class ChapSecretsConfig(BaseModel):
    """``[plugins.chap-secrets]``."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True)

    file: str = "chap-secrets"
    """The secrets file, relative to the configuration file."""

    encrypted: bool = False
    """Every secret in the file is an NT hash in hexadecimal, as with accel-ppp's ``encrypted=1``."""


class ChapSecrets:
    """The plugin."""

    def __init__(self) -> None:
        self._secrets: SecretsFile | None = None

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config: Mapping[str, object], server: ServerInfo) -> AsyncIterator[None]:
        """Read the file; a broken one keeps the server from starting."""
        self._secrets = _secrets_file(config, server)
        yield

    @hookimpl
    async def poptrio_authenticate(self, request: AuthRequest) -> Accept | Reject | LocalEap | None:
        """Judge the caller by its row; without one it is another plugin's."""
        assert self._secrets is not None, "asked before the lifespan was entered"
        row = await self._secrets.row_of(request)
        return None if row is None else _judge(request, row)

    @hookimpl
    def poptrio_reload(self, config: Mapping[str, object], server: ServerInfo) -> PluginReload:
        """Read the file, maybe another one now, even if it looks the same; a broken one refuses the reload."""
        secrets = _secrets_file(config, server)

        def commit() -> None:
            secrets.succeed(self._secrets)
            self._secrets = secrets

        return PluginReload(commit)

    @hookimpl
    def poptrio_measurements(self) -> Iterable[Measurement]:
        """What is known of the file."""
        return () if self._secrets is None else self._secrets.measurements()

    @hookimpl
    def poptrio_health(self) -> Health | None:
        """Whether the file that is in use is the one that is there."""
        return None if self._secrets is None else self._secrets.health()


def _secrets_file(config: Mapping[str, object], server: ServerInfo) -> "SecretsFile":
    settings = read_config(ChapSecretsConfig, config, "plugins.chap-secrets")
    return SecretsFile(server.folder / settings.file, server.name, encrypted=settings.encrypted)


class SecretsFile:
    """The rows of one secrets file for a server called ``server``, as fresh as the file.

    Raises `ConfigError` with every fault when the file cannot be read or understood at first; later a broken file is
    logged and the rows stay as they were.
    """

    def __init__(self, path: Path, server: str, *, encrypted: bool = False) -> None:
        self._path = path
        self._server = server
        self._encrypted = encrypted
        self._reading = trio.Lock()
        self._seen: _Signatures = {}
        self._rows: dict[str, list[Row]] = {}
        self._broken = False  # what is in use is older than what was seen
        self._modified = 0.0
        self._reads = {"good": 0, "broken": 0}
        self._row_count = 0
        seen: _Signatures = {}
        self._take(self._read(seen), seen)

    async def row_of(self, request: AuthRequest) -> Row | None:
        """The row that decides about the caller, from the file as it is now."""
        # While something is broken, any file may be the one whose repair lets us read everything again.
        for path in tuple(self._seen) if self._broken else (self._path,):
            await self._refresh(path)
        row = self._find(request)
        if row is not None and row.secret.file is not None and self._changed(row.secret.file):
            await self._refresh(row.secret.file)
            row = self._find(request)
        return row

    def succeed(self, other: "SecretsFile | None") -> None:
        """Take the place of ``other``, and count on from where it was."""
        if other is not None:
            self._reads = {result: count + other._reads[result] for result, count in self._reads.items()}
        self._reads["good"] += 1
        self._log_read()

    def _log_read(self) -> None:
        log.info("secrets file read again", file=str(self._path), rows=self._row_count)

    def measurements(self) -> Iterable[Measurement]:
        """Numbers for operators."""
        yield USERS.at(self._users)
        yield MODIFIED.at(self._modified)
        yield BROKEN.at(self._broken)
        yield from (READS.at(count, result) for result, count in self._reads.items())

    def health(self) -> Health:
        """How it is, for operators."""
        details: dict[str, str | int | float | bool | None] = {"file": str(self._path), "users": self._users}
        if self._broken:
            sentence = "the secrets file is broken or gone; what was read before is in use"
            remedy = "correct the lines that the log names (secrets file is broken); it is read again by itself"
            return Health(ok=False, sentence=sentence, remedy=remedy, details=details)
        if not self._rows:
            return Health(ok=False, sentence="no secret is for this server", remedy="add users", details=details)
        return Health(ok=True, sentence="the secrets file is in use as it is", details=details)

    @property
    def _users(self) -> int:
        return len(self._rows.keys() - {WILDCARD})

    def _find(self, request: AuthRequest) -> Row | None:
        """A row that names the domain is preferred; then as pppd: fewest wildcards, then the first in the file."""
        if request.domain:
            prefix = f"{request.domain}\\"
            row = self._best(self._rows.get(prefix + request.username.removeprefix(prefix), ()))
            if row is not None:
                return row
        return self._best([*self._rows.get(request.username, ()), *self._rows.get(WILDCARD, ())])

    def _best(self, rows: Iterable[Row]) -> Row | None:
        """The row with the fewest wildcards; of one wildcard each, pppd prefers the one that names the server."""
        return max(rows, key=lambda row: (row.server != WILDCARD, row.client != WILDCARD), default=None)

    def _changed(self, path: Path) -> bool:
        return path not in self._seen or _signature(path) != self._seen[path]

    async def _refresh(self, path: Path) -> None:
        """Read everything again if ``path`` has changed."""
        if not self._changed(path):
            return
        async with self._reading:
            if not self._changed(path):
                return
            if self._size() < LARGE_FILE:
                outcome = self._try_to_read()
            else:
                outcome = await run_blocking(self._try_to_read)
            self._keep_or_take(*outcome)

    def _size(self) -> int:
        signature = _signature(self._path)
        return signature[0] if signature is not None else 0

    def _try_to_read(self) -> tuple[list[Row] | ConfigError, _Signatures]:
        """Like `_read`, with the error as an answer. Runs in a thread for a large file, so it changes nothing."""
        seen = {path: _signature(path) for path in self._seen}
        try:
            return self._read(seen), seen
        except ConfigError as error:
            return error, seen

    def _read(self, seen: _Signatures) -> list[Row]:
        """The rows of the file; ``seen`` is told what it and the files of its secrets looked like."""

        def read_file(path: Path) -> bytes:
            seen[path] = _signature(path)  # before reading: a change meanwhile is then seen later, not missed
            return read_regular(path)

        try:
            data = read_file(self._path)
        except OSError as error:
            raise ConfigError(ConfigFault(str(self._path), f"cannot be read: {error.strerror}")) from None
        return parse_secrets(data, str(self._path), read_file, encrypted=self._encrypted)

    def _keep_or_take(self, outcome: list[Row] | ConfigError, seen: _Signatures) -> None:
        if isinstance(outcome, ConfigError):
            self._reads["broken"] += 1
            self._seen = seen  # so that one mistake is logged once
            self._broken = True
            log.error("secrets file is broken, keeping what was read before", faults=[str(f) for f in outcome.faults])
        else:
            self._reads["good"] += 1
            self._take(outcome, seen)
            self._log_read()

    def _take(self, rows: list[Row], seen: _Signatures) -> None:
        """Use ``rows`` from now on, and warn about what is allowed but probably not meant."""
        self._seen = seen
        self._broken = False
        status = seen.get(self._path)
        self._modified = status[1] / 1e9 if status is not None else 0.0
        self._row_count = len(rows)
        self._rows = {}
        ours = [row for row in rows if row.server in (WILDCARD, self._server)]
        for row in ours:
            self._rows.setdefault(row.client, []).append(row)
        self._warn(rows, ours)

    def _warn(self, rows: list[Row], ours: list[Row]) -> None:
        for path in self._seen:
            mode = _mode(path)
            if mode & 0o037:  # its group may read it: that of a server that does not run as root
                remedy = f"chmod 600 {path}, or 640 where it is its group that shall read it"
                log.warning("secrets file is open to other users", file=str(path), mode=f"{mode:04o}", remedy=remedy)
        if rows and not ours:
            servers = sorted({row.server for row in rows})[:5]
            remedy = f'write "{self._server}" or * into the second column'
            log.warning("no secret is for this server", file=str(self._path), servers=servers, remedy=remedy)
        first: dict[tuple[str, str], int] = {}
        for row in ours:
            used = first.setdefault((row.client, row.server), row.line)
            if used != row.line:
                log.warning("secret is never used", file=str(self._path), line=row.line, because_of_line=used)


def _judge(request: AuthRequest, row: Row) -> Accept | Reject | LocalEap:
    """Verify the secret first: who does not know it learns nothing about the row."""
    try:
        decision = verify(request, row.secret.password, nt_hash=row.secret.nt_hash)
    except CannotVerify as error:
        return Reject(reason=f"line {row.line} of the secrets file: {error}")
    if not isinstance(decision, Accept):
        return decision
    if not row.networks:
        return Reject(reason=f"line {row.line} of the secrets file permits no address", code=NO_DIALIN_PERMISSION)
    if row.networks == ANY_ADDRESS:
        return decision
    if row.address is not None:
        return replace(decision, framed_address=row.address)
    return replace(decision, framed_networks=row.networks)


def _signature(path: Path) -> _Signature | None:
    """What changes when the file does; None when it cannot be looked at. The first number is the size."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0
