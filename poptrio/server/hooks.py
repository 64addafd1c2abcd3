"""The host of the plugins: asks their hooks in the order of the configuration and decides what an answer means.

pluggy collects and checks the implementations; the asking is done here, one plugin at a time. pluggy's ``firstresult``
would take the first coroutine object for an answer, even one that resolves to None, and calling all of them at once
leaves coroutines that nobody awaits.
"""

import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, NoReturn, Protocol, Self

import structlog
import trio

from poptrio.calls import AccountingRecord, AddressLease, CallInfo
from poptrio.config import Config, Outcome
from poptrio.decisions import Accept
from poptrio.errors import ConfigError, ConfigFault, NoAddress
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.runtime.exception_groups import leaves
from poptrio.server.asking import Asker, PluginFailed, wrong_type
from poptrio.server.authentication import AUTHENTICATE, Answer, Authentication
from poptrio.server.plugin_reloads import PreparedPlugins, prepare_plugins
from poptrio.server.plugin_reports import PluginReports
from poptrio.server.plugin_tallies import PluginTally
from poptrio.server.plugins import Plugin, load_plugins, nearest, pass_on
from poptrio.server_info import ServerInfo

ALLOCATE_ADDRESS = "poptrio_allocate_address"
ACCOUNT = "poptrio_account"
KEEP_ADDRESS = "poptrio_keep_address"
HAND_OVER = "poptrio_hand_over"

ONLY_NOT_MINE: tuple[Outcome, ...] = ("not-mine",)
"""The outcome of authentication after which another plugin may always be asked."""

log = structlog.get_logger("poptrio.plugins")


class Predecessor(Protocol):
    """Another process of this server, which hands over."""

    async def turn(self) -> None:
        """Wait until it stands still, and plugins have let go of what two processes cannot have."""

    def give_up(self, why: str) -> NoReturn:
        """It shall go on; this process ends, with nothing closed or released."""


class Hooks:
    """All loaded ``plugins`` of one server; `load` makes it.

    ``addresses`` names those that are asked for one; ``accounting_timeout`` is how many seconds each has for a record,
    which any wants to hear of if it ``accounts``.
    ``reports`` is what plugins tell about themselves, `tallies` what the host has seen of them.
    """

    def __init__(
        self,
        plugins: Mapping[str, Plugin],
        authentication: Authentication,
        addresses: Sequence[str],
        asker: Asker,
        accounting_timeout: float,
    ) -> None:
        self._plugins = dict(plugins)
        self._authentication = authentication
        self._addresses = self._that_allocate(addresses)
        self._asker = asker
        self._accounting_timeout = accounting_timeout
        self.accounts = self.has(ACCOUNT)
        self.reports = PluginReports(self._plugins, asker.tallies)

    @classmethod
    def load(
        cls,
        authentication: Sequence[str] = (),
        addresses: Sequence[str] = (),
        accounting: Sequence[str] = (),
        *,
        domains: Mapping[str, Sequence[str]] | None = None,
        extra: Mapping[str, object] | None = None,
        fall_through: Collection[Outcome] = ONLY_NOT_MINE,
        timeout: float = 10.0,
        accounting_timeout: float = 10.0,
    ) -> Self:
        """Load what the lists name, by entry point or from ``extra`` (plugin objects by name).

        ``domains`` are the lists of domains that have authentication plugins of their own; ``fall_through`` the
        outcomes of authentication after which the next plugin is asked; timeouts are seconds, for each answer and for
        each accounting record. Raises `ConfigError` with everything that is wrong with any plugin.
        """
        lists = [("authentication.plugins", authentication, AUTHENTICATE)]
        for domain, names in (domains or {}).items():
            lists.append((f"authentication.domains.{domain}.plugins", names, AUTHENTICATE))
        lists.append(("addresses.plugins", addresses, ALLOCATE_ADDRESS))
        lists.append(("accounting.plugins", accounting, ACCOUNT))
        wanted: dict[str, str] = {}
        for place, names, _ in lists:
            wanted |= {name: place for name in names if name not in wanted}
        plugins = load_plugins(wanted, extra or {})
        faults = [
            ConfigFault(place, f"none of these plugins has the hook {hook}: {', '.join(names)}")
            for place, names, hook in lists
            if names and not any(hook in plugins[name].hooks for name in names)
        ]
        if faults:
            raise ConfigError(*faults)
        asker = Asker(timeout)
        asks = Authentication(plugins, authentication, fall_through, asker)
        return cls(plugins, asks, addresses, asker, accounting_timeout)

    @property
    def tallies(self) -> Mapping[str, PluginTally]:
        """What came of asking the plugins, by name."""
        return self._asker.tallies

    def table(self) -> list[Plugin]:
        """The plugins in the order in which they are asked, for ``poptrio plugins``."""
        return list(self._plugins.values())

    @asynccontextmanager
    async def lifespan(
        self,
        configs: Mapping[str, Mapping[str, object]],
        server: ServerInfo,
        after: Predecessor | None = None,
    ) -> AsyncIterator[None]:
        """Hold the lifespans of all plugins; ``configs`` are the ``[plugins.NAME]`` tables by name.

        ``after`` is another process of this server, which hands over: plugins that have what two processes cannot have
        come when it has let go of that, all others before. Raises `ConfigError` with the faults of all plugins; those
        that had started are left again before.
        """
        faults = list(self._useless_tables(configs))
        plugins = list(self._with("poptrio_lifespan"))
        async with AsyncExitStack() as stack:

            async def enter(plugin: Plugin) -> list[ConfigFault]:
                return await _enter_lifespan(stack, plugin, {"config": configs.get(plugin.name, {}), "server": server})

            for plugin in plugins:
                if after is None or HAND_OVER not in plugin.hooks:
                    faults += await enter(plugin)
            if after is not None and not faults:
                await after.turn()
                late = [fault for plugin in plugins if HAND_OVER in plugin.hooks for fault in await enter(plugin)]
                if late:
                    after.give_up("; ".join(map(str, late)))
            if not faults:
                yield
        if faults:  # outside of the stack, where no nursery of a plugin can wrap it into a group
            raise ConfigError(*faults)

    async def authenticate(
        self, call: CallInfo, request: AuthRequest, *, only: str = "", plugins: Sequence[str] | None = None
    ) -> Answer:
        """Ask who is calling; never raises anything but Trio's own.

        ``only`` is the one plugin to ask, in a conversation that it has begun or about a caller whom it has accepted;
        ``plugins`` are those of the caller's domain, if it has its own.
        """
        return await self._authentication.ask(call, request, only=only, plugins=plugins)

    async def allocate_address(self, call: CallInfo, accept: Accept) -> AddressLease | NoAddress:
        """Ask for an inner address; the first answer counts. Never raises anything but Trio's own.

        No checkpoint lies between a plugin's return and ours, so a lease that exists reaches the caller even when the
        call is cancelled meanwhile. Its ``release`` may be called more than once and does not raise.
        """
        arguments = {"call": call, "user": accept}
        for plugin in self._addresses:
            try:
                answer = await self._asker.answer(plugin, ALLOCATE_ADDRESS, (AddressLease, NoAddress), arguments)
            except PluginFailed as failure:
                return NoAddress(failure.reason)
            if isinstance(answer, AddressLease):
                return replace(answer, release=_ReleaseOnce(answer, plugin.name))
            if isinstance(answer, NoAddress):
                return answer
        pool = f" in the pool {accept.framed_pool!r}" if accept.framed_pool else ""
        return NoAddress(f"no plugin of [addresses] plugins has an address for {accept.user}{pool}")

    def keep_address(self, call: CallInfo, accept: Accept, address: IPv4Address) -> AddressLease:
        """The lease of an address that a call has had since before this process; the first answer counts.

        Where nobody wants to have it back, nobody gets it back.
        """
        for plugin in self._addresses:
            if KEEP_ADDRESS not in plugin.hooks:
                continue
            lease = plugin.call(KEEP_ADDRESS, {"call": call, "user": accept, "address": address})
            if isinstance(lease, AddressLease):
                return replace(lease, release=_ReleaseOnce(lease, plugin.name))
        log.warning("address kept by nobody", address=str(address), session=call.session_id)
        return AddressLease(address, accept.user, lambda: None)

    def not_to_be_upgraded(self) -> str | None:
        """Why calls cannot be handed over to another process, as far as plugins know; None if they can."""
        names = [plugin.name for plugin in self._addresses if KEEP_ADDRESS not in plugin.hooks]
        if names:
            return f"plugins of [addresses] without {KEEP_ADDRESS} would give addresses twice: {', '.join(names)}"
        return None

    @contextmanager
    def handed_over(self) -> Iterator[None]:
        """Let plugins let go of what two processes cannot have; left, they take it up again.

        Raises what a plugin raises, after all others have what they had.
        """
        stack = ExitStack()
        try:
            for plugin in self._with(HAND_OVER):
                context: Any = plugin.call(HAND_OVER, {})
                if context is not None:
                    stack.enter_context(context)
            yield
        finally:  # without the exception, which is none of the plugins'
            stack.close()

    async def account(self, record: AccountingRecord) -> None:
        """Tell every plugin, all at the same time; failures are logged and have no other effect."""
        async with trio.open_nursery() as nursery:
            for plugin in self._with(ACCOUNT):
                nursery.start_soon(self._account, plugin, record)

    def admit(self, peer: IPv4Address) -> str | None:
        """The first reason why ``peer`` may not connect, or None. A plugin that fails is a reason."""
        hook = "poptrio_admit"
        for plugin in self._with(hook):
            begun = time.perf_counter()
            try:
                reason = plugin.call(hook, {"peer": peer})
            except BaseException as error:
                pass_on(error)
                log.exception("plugin failed", plugin=plugin.name, hook=hook, peer=str(peer))
                self._asker.tallies[plugin.name].failed(hook, time.perf_counter() - begun, error)
                self._asker.trace(str(peer), plugin, hook, begun, error)
                return f"plugin {plugin.name} failed"
            self._asker.tallies[plugin.name].answered(hook, time.perf_counter() - begun, reason)
            self._asker.trace(str(peer), plugin, hook, begun, reason)
            if reason is None:
                continue
            if isinstance(reason, str):
                return reason or f"plugin {plugin.name} gave no reason"
            log.error("plugin answered with a wrong type", plugin=plugin.name, hook=hook, type=type(reason).__name__)
            return wrong_type(plugin, hook, reason)
        return None

    def configure(self, old: Config, new: Config) -> None:
        """Ask as ``new`` says from now on, where it differs from ``old``; both name the same plugins."""
        now, before = new.authentication, old.authentication
        self._asker.timeout = now.timeout
        self._accounting_timeout = new.accounting.timeout
        if new.addresses.plugins != old.addresses.plugins:
            self._addresses = self._that_allocate(new.addresses.plugins)
        if (now.plugins, now.fall_through) != (before.plugins, before.fall_through):
            order = now.plugins if now.plugins != before.plugins else self._authentication.order
            self._authentication = Authentication(self._plugins, order, now.fall_through, self._asker)

    def prepare_reload(
        self, configs: Mapping[str, Mapping[str, object]], server: ServerInfo, changed: Collection[str]
    ) -> PreparedPlugins:
        """Let every plugin judge its new settings; ``changed`` are those whose tables are other ones now."""
        return prepare_plugins(self._plugins.values(), configs, server, changed)

    def has(self, hook: str) -> bool:
        """Whether any plugin implements ``hook``."""
        return any(self._with(hook))

    def _that_allocate(self, names: Sequence[str]) -> list[Plugin]:
        return [self._plugins[name] for name in names if ALLOCATE_ADDRESS in self._plugins[name].hooks]

    def _with(self, hook: str) -> Iterator[Plugin]:
        return (plugin for plugin in self._plugins.values() if hook in plugin.hooks)

    def _useless_tables(self, configs: Mapping[str, Mapping[str, object]]) -> Iterator[ConfigFault]:
        for name, table in configs.items():
            if name not in self._plugins:
                near = nearest(name, self._plugins)
                yield ConfigFault(f"plugins.{name}", f"no list of plugins names this one{near}")
            elif table and "poptrio_lifespan" not in self._plugins[name].hooks:
                yield ConfigFault(f"plugins.{name}", "this plugin takes no configuration; remove the table")

    async def _account(self, plugin: Plugin, record: AccountingRecord) -> None:
        hook = ACCOUNT
        session = record.call.session_id
        try:
            await self._asker.ask(plugin, hook, session, {"record": record}, self._accounting_timeout)
        except BaseException as error:
            pass_on(error)
            log.exception("plugin failed", plugin=plugin.name, hook=hook, session=session, kind=record.kind.value)


def load_hooks(config: Config) -> Hooks:
    """The plugins that the configuration names. Raises `ConfigError`."""
    authentication = config.authentication
    return Hooks.load(
        authentication.plugins,
        config.addresses.plugins,
        config.accounting.plugins,
        domains=authentication.plugins_by_domain,
        fall_through=authentication.fall_through,
        timeout=authentication.timeout,
        accounting_timeout=config.accounting.timeout,
    )


class _ReleaseOnce:
    """Releases a plugin's lease the first time it is called, and keeps its exceptions from the call that ends."""

    __slots__ = ("_lease", "_plugin")

    def __init__(self, lease: AddressLease, plugin: str) -> None:
        self._lease: AddressLease | None = lease
        self._plugin = plugin

    def __call__(self) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            lease.release()
        except BaseException as error:
            pass_on(error)
            log.exception("plugin failed", plugin=self._plugin, hook="release", address=str(lease.address))


async def _enter_lifespan(stack: AsyncExitStack, plugin: Plugin, arguments: Mapping[str, object]) -> list[ConfigFault]:
    """Enter one plugin's lifespan into ``stack``; the faults that keep it from starting."""
    try:
        context: Any = plugin.call("poptrio_lifespan", arguments)
        if context is not None:
            await stack.enter_async_context(context)
    except BaseException as error:
        pass_on(error)
        causes = list(leaves(error))  # a lifespan that opens a nursery raises its ConfigError in a group
        faults = [fault for cause in causes if isinstance(cause, ConfigError) for fault in cause.faults]
        if all(isinstance(cause, ConfigError) for cause in causes):
            return faults
        log.exception("plugin failed", plugin=plugin.name, hook="poptrio_lifespan")
        return [ConfigFault(f"plugin {plugin.name}", f"it cannot start: {type(error).__name__}: {error}")]
    return []
