"""``ldap``: authenticates callers against a directory."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
import trio

from poptrio.api import AuthRequest, Decision, Health, Measurement, ServerInfo, Unavailable, hookimpl, read_config
from poptrio_ldap import metrics
from poptrio_ldap.authenticator import Authenticator
from poptrio_ldap.directory import Directory, DirectoryUnavailable, Search
from poptrio_ldap.opening import open_directories
from poptrio_ldap.places import Places
from poptrio_ldap.settings import LdapConfig
from poptrio_ldap.threads import ThreadedDirectory

SHARE_OF_ANSWER_TIMEOUT = 0.9
"""Of the time that the server gives, what the plugin takes before it says itself that the directory is silent."""

log = structlog.get_logger("poptrio.ldap")


class Ldap:
    """The plugin."""

    def __init__(self) -> None:
        self._authenticator: Authenticator | None = None
        self._directories: dict[str, ThreadedDirectory] = {}
        self._patience = 0.0
        self._ask_next = False

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config: Mapping[str, object], server: ServerInfo) -> AsyncIterator[None]:
        """Hold connections to the directories. One that does not answer at the start is logged: it may come later."""
        settings = read_config(LdapConfig, config, "plugins.ldap")
        self._patience = server.answer_timeout * SHARE_OF_ANSWER_TIMEOUT
        async with AsyncExitStack() as stack:
            default, of_domains = open_directories(settings, server.folder, self._patience, stack)
            self._directories = {metrics.DEFAULT: default, **of_domains}
            self.use(settings, default, of_domains)
            await _look_at(settings.base, default, self._patience)
            yield

    def use(self, settings: LdapConfig, directory: Directory, of_domains: Mapping[str, Directory]) -> None:
        """Answer by these directories from now on: the seam for tests."""
        self._ask_next = settings.unavailable == "next"
        self._authenticator = Authenticator(settings, Places(settings, directory, of_domains))

    @hookimpl
    def poptrio_measurements(self) -> Iterable[Measurement]:
        """What the connections to the directories have counted."""
        return metrics.measurements(self._directories)

    @hookimpl
    def poptrio_health(self) -> Health | None:
        """Whether every directory has a server that answers."""
        return metrics.health(self._directories) if self._directories else None

    @hookimpl
    async def poptrio_authenticate(self, request: AuthRequest) -> Decision | None:
        """Judge the caller by the directory; a user who is not in it is another plugin's."""
        assert self._authenticator is not None, "asked before the lifespan was entered"
        with trio.move_on_after(self._patience):
            try:
                return await self._authenticator.decide(request)
            except DirectoryUnavailable as error:
                return Unavailable(reason=f"no directory server answered: {error}", ask_next=self._ask_next)
        return Unavailable(
            reason=f"the directory did not answer within {self._patience:g} seconds", ask_next=self._ask_next
        )


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
