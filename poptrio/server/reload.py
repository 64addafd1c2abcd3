"""Reloading: the configuration file is read anew, and what differs is put to use while the server runs.

First everything is judged: the file, the settings together, the plugins, the management API, the kernel, the workers.
Only when nothing is wrong anything is changed, and then nothing can fail. Reloads of one server are made one after the
other.
"""

from collections.abc import Callable, Iterable, Set
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
import trio

from poptrio.config import Config
from poptrio.config.changes import Change, diff, kept
from poptrio.config.effects import Effect
from poptrio.config.faults import KeyPath
from poptrio.errors import ConfigError, ConfigFault
from poptrio.observe.log import configure as configure_log
from poptrio.server.datapaths import encryption_obstacles
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.plugin_reloads import PreparedPlugins
from poptrio.server.shared import Stats
from poptrio.server.tracing import Tracing

MOST_LINES = 50
"""Changes, and faults, that are logged; the report has all."""

log = structlog.get_logger("poptrio.server")


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What came of a reload.

    ``changes`` are those that count now, ``needs_restart`` those that do not; with ``faults`` nothing was changed.
    """

    changes: tuple[Change, ...] = ()
    needs_restart: tuple[Change, ...] = ()
    faults: tuple[ConfigFault, ...] = ()


class Ready(Protocol):
    """A server that is ready to change; one of these is called, once. Neither can fail."""

    async def commit(self) -> None:
        """Change everything before the first checkpoint, and return when all processes have."""

    def undo(self) -> None:
        """Stay as it was."""


class Reloadable(Protocol):
    """A server that runs."""

    config: Config
    authority: LocalAuthority
    stats: Stats

    @property
    def tracing(self) -> Tracing:
        """What is logged of it."""

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""

    async def get_ready(self, config: Config) -> Ready:
        """Get ready for ``config``. Raises `ConfigError`, with nothing changed, for what cannot be."""


def _nothing() -> None:
    """There is nothing to change."""


@dataclass(frozen=True, slots=True)
class PreparedDoors:
    """What the management API makes of new settings; ``commit`` or ``undo`` is called, once, and cannot fail.

    ``changes`` are those in files that keys name, ``restart`` the keys that cannot be changed in this process.
    """

    changes: tuple[Change, ...] = ()
    restart: frozenset[KeyPath] = frozenset()
    commit: Callable[[], None] = _nothing
    undo: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True)
class Reloading:
    """How the configuration of a server comes about: ``requested`` is what the file says, ``fit`` makes it fit the
    machine, ``prepare_doors`` gets the management API ready for it, or raises `ConfigError`; ``change_log`` is told
    when the form of the log has changed.
    """

    requested: Config
    fit: Callable[[Config], Config] = lambda config: config
    prepare_doors: Callable[[Config], PreparedDoors] = lambda config: PreparedDoors()
    change_log: Callable[[Config], None] = lambda config: configure_log(**config.log.model_dump())


class Reloader:
    """Reloads ``server``; ``reloading`` may be another one until the first reload."""

    def __init__(self, server: Reloadable, reloading: Reloading) -> None:
        self.reloading = reloading
        self._server = server
        self._one_at_a_time = trio.Lock()

    @property
    def is_busy(self) -> bool:
        """Whether a reload is under way."""
        return self._one_at_a_time.locked()

    async def reload(self, read: Callable[[], Config] | None = None) -> ReloadReport:
        """Read the file anew, and put it to use, or nothing of it; waits for a reload that is under way.

        ``read`` takes the place of the file. Whatever is wrong is in the report, and in the log.
        """
        async with self._one_at_a_time:
            try:
                report = await self._reload(read or self._read)
            except ConfigError as error:
                report = ReloadReport(faults=error.faults)
            except Exception as error:
                log.exception("internal error")
                why = f"an error, of poptrio or a plugin: {type(error).__name__}: {error}"
                report = ReloadReport(faults=(ConfigFault("reload", why),))
            self._server.stats.reloaded(good=not report.faults)
            _tell(report)
            return report

    def _read(self) -> Config:
        """The file; where there is none, the configuration stays, and only files that it names are read."""
        file = self.reloading.requested.file
        if file is None:
            return self.reloading.requested
        if file.exists() and not file.is_file():  # a pipe would be waited for, by all calls
            raise ConfigError(ConfigFault(str(file), "cannot be read: it is no regular file"))
        return Config.load(file)

    async def _reload(self, read: Callable[[], Config]) -> ReloadReport:
        server, old = self._server, self.reloading.requested
        if server.stopping:
            raise _refused("the server is stopping")
        new = read()
        kernel = server.config.server.datapath == "kernel"
        changes = diff(old, new, kernel=kernel)
        requested = kept(old, new, changes)
        config = self._fitted(requested, kernel)
        with ExitStack() as undo:
            plugins, doors = self._prepare(config, changes, undo)
            restart = plugins.restart | doors.restart
            changes = (*(_as_they_say(change, restart) for change in changes), *doors.changes)
            requested = kept(old, requested, changes)
            config = config.model_copy(update={"plugins": requested.plugins, "management": requested.management})
            ready = await server.get_ready(config)
            if server.stopping:
                ready.undo()
                raise _refused("the server is stopping")
            undo.pop_all()
        await self._change(config, plugins, doors, ready)
        self.reloading = replace(self.reloading, requested=requested)
        return ReloadReport(
            changes=tuple(change for change in changes if change.effect is not Effect.RESTART),
            needs_restart=tuple(change for change in changes if change.effect is Effect.RESTART),
        )

    def _fitted(self, requested: Config, kernel: bool) -> Config:
        """What the server can use of ``requested``. Raises `ConfigError` where values that stay contradict new ones."""
        faults = [
            ConfigFault(".".join(fault.key_path), f"{fault.sentence} (some values stay until a restart)")
            for fault in requested.contradictions()
        ]
        if kernel:
            faults += [ConfigFault("server.datapath", why) for why in encryption_obstacles(requested)]
        if faults:
            raise ConfigError(*faults)
        datapath = self._server.config.server.datapath
        decided = requested.server.model_copy(update={"datapath": datapath})
        return self.reloading.fit(requested.model_copy(update={"server": decided}))

    def _prepare(
        self, config: Config, changes: Iterable[Change], undo: ExitStack
    ) -> tuple[PreparedPlugins, PreparedDoors]:
        """Plugins and the management API, ready to change; ``undo`` lets them stay as they were. Raises `ConfigError`
        with what is wrong for any of them.
        """
        authority = self._server.authority
        changed = {change.key_path[1] for change in changes if change.key_path[0] == "plugins"}
        info = config.server_info(authority.sessions)
        plugins = authority.hooks.prepare_reload(config.plugins, info, changed)
        undo.callback(plugins.undo)
        faults, doors = list(plugins.faults), PreparedDoors()
        try:
            doors = self.reloading.prepare_doors(config)
        except ConfigError as error:
            faults += error.faults
        undo.callback(doors.undo)
        if faults:
            raise ConfigError(*faults)
        return plugins, doors

    async def _change(self, config: Config, plugins: PreparedPlugins, doors: PreparedDoors, ready: Ready) -> None:
        """From here on nothing can fail, and with one process nothing else runs until all is done."""
        server, before = self._server, self._server.config
        server.config = config
        server.authority.configure(before, config)
        plugins.commit()
        doors.commit()
        if config.log.format != before.log.format:
            self.reloading.change_log(config)
        if config.log.levels != before.log.levels:
            server.tracing.change_levels(config.log.levels)
        await ready.commit()


def _refused(sentence: str) -> ConfigError:
    return ConfigError(ConfigFault("reload", sentence))


def _as_they_say(change: Change, restart: Set[KeyPath]) -> Change:
    """A change that plugin or management API cannot make needs a restart."""
    if {change.key_path[:2], change.key_path[:3]} & restart:
        return replace(change, effect=Effect.RESTART)
    return change


def _tell(report: ReloadReport) -> None:
    if report.faults:
        shown = [str(fault) for fault in report.faults[:MOST_LINES]]
        log.error("reload refused", faults=shown, more=len(report.faults) - len(shown))
        return
    restart = len(report.needs_restart)
    log.info("reloaded", changes=len(report.changes), needs_restart=restart)
    for change in report.changes[:MOST_LINES]:
        log.info("setting changed", setting=change.setting, old=change.old, new=change.new, effect=change.effect.value)
    for change in report.needs_restart[:MOST_LINES]:
        log.warning("setting needs a restart", setting=change.setting, old=change.old, new=change.new)
