"""``ldap``: authenticates callers against a directory."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import trio

from poptrio.api import (
    AuthRequest,
    Decision,
    Health,
    Measurement,
    PluginReload,
    ServerInfo,
    Unavailable,
    hookimpl,
    read_config,
    run_blocking,
)
from poptrio_ldap import metrics
from poptrio_ldap.authenticator import Authenticator
from poptrio_ldap.directory import Directory, DirectoryUnavailable, Search
from poptrio_ldap.opening import Access, read_accesses, warn
from poptrio_ldap.places import Places
from poptrio_ldap.settings import LdapConfig
from poptrio_ldap.threads import ThreadedDirectory

PLACE = "plugins.ldap"

SHARE_OF_ANSWER_TIMEOUT = 0.9
"""Of the time that the server gives, what the plugin takes before it says itself that the directory is silent."""

log = structlog.get_logger("poptrio.ldap")


@dataclass(frozen=True, slots=True)
class _Running:
    """What a question is asked with, from its beginning to its end."""

    authenticator: Authenticator
    patience: float
    ask_next: bool


class Ldap:
    """The plugin."""

    def __init__(self) -> None:
        self._running: _Running | None = None
        self._accesses: Mapping[str | None, Access] = {}
        self._directories: Mapping[str | None, ThreadedDirectory] = {}
        self._nursery: trio.Nursery | None = None

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config: Mapping[str, object], server: ServerInfo) -> AsyncIterator[None]:
        """Hold connections to the directories. One that does not answer at the start is logged: it may come later."""
        settings = read_config(LdapConfig, config, PLACE)
        patience = _patience(server)
        accesses = read_accesses(settings, server.folder, patience)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._open(settings, accesses, patience)
                await _look_at(settings.base, self._directories[None], patience)
                yield
                nursery.cancel_scope.cancel()
        finally:
            for directory in self._directories.values():
                directory.pool.close()

    @hookimpl
    def poptrio_reload(self, config: Mapping[str, object], server: ServerInfo) -> PluginReload:
        """Take everything anew; what was asked already is asked to its end as it was."""
        settings = read_config(LdapConfig, config, PLACE)
        patience = _patience(server)
        accesses = read_accesses(settings, server.folder, patience)
        return PluginReload(lambda: self._reopen(settings, accesses, patience))

    def _reopen(self, settings: LdapConfig, accesses: Mapping[str | None, Access], patience: float) -> None:
        assert self._nursery is not None, "reloaded before the lifespan was entered"
        before = self._directories
        self._open(settings, accesses, patience)
        if self._directories[None] is not before[None]:
            self._nursery.start_soon(_look_at, settings.base, self._directories[None], patience)
        for name, directory in before.items():
            if self._directories.get(name) is not directory:
                self._nursery.start_soon(run_blocking, directory.pool.close)

    def _open(self, settings: LdapConfig, accesses: Mapping[str | None, Access], patience: float) -> None:
        """Answer by these directories from now on, over the connections that there are where they lead to the same."""
        new = {name: access for name, access in accesses.items() if self._accesses.get(name) != access}
        warn(new)
        opened = {name: access.open() for name, access in new.items()}
        self._directories = {name: opened.get(name) or self._directories[name] for name in accesses}
        self._accesses = accesses
        of_domains = {name: directory for name, directory in self._directories.items() if name is not None}
        self.use(settings, self._directories[None], of_domains, patience)

    def use(
        self, settings: LdapConfig, directory: Directory, of_domains: Mapping[str, Directory], patience: float
    ) -> None:
        """Answer by these directories from now on: the seam for tests."""
        authenticator = Authenticator(settings, Places(settings, directory, of_domains))
        self._running = _Running(authenticator, patience, settings.unavailable == "next")

    @hookimpl
    def poptrio_measurements(self) -> Iterable[Measurement]:
        """What the connections to the directories have counted."""
        return metrics.measurements(self._named())

    @hookimpl
    def poptrio_health(self) -> Health | None:
        """Whether every directory has a server that answers."""
        return metrics.health(self._named()) if self._directories else None

    def _named(self) -> dict[str, ThreadedDirectory]:
        return {metrics.DEFAULT if name is None else name: directory for name, directory in self._directories.items()}

    @hookimpl
    async def poptrio_authenticate(self, request: AuthRequest) -> Decision | None:
        """Judge the caller by the directory; a user who is not in it is another plugin's."""
        running = self._running
        assert running is not None, "asked before the lifespan was entered"
        with trio.move_on_after(running.patience):
            try:
                return await running.authenticator.decide(request)
            except DirectoryUnavailable as error:
                return Unavailable(reason=f"no directory server answered: {error}", ask_next=running.ask_next)
        return Unavailable(
            reason=f"the directory did not answer within {running.patience:g} seconds", ask_next=running.ask_next
        )


def _patience(server: ServerInfo) -> float:
    return server.answer_timeout * SHARE_OF_ANSWER_TIMEOUT


async def _look_at(base: str, directory: Directory, patience: float) -> None:
    """Say at the start what every caller would meet otherwise: no server, a wrong account, a base that is not there."""
    if not base:
        return
    reason = f"no answer within {patience:g} seconds"
    with trio.move_on_after(patience):
        try:
            await directory.search(Search(base=base, filter="(objectClass=*)", limit=1))
        except DirectoryUnavailable as error:
            reason = str(error)
        else:
            return
    log.error("directory unavailable", base=base, reason=reason, remedy="calls are refused until it answers")
