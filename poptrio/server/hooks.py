"""The host of the plugins: asks their hooks in the order of the configuration and decides what an answer means.

pluggy collects and checks the implementations; the asking is done here, one plugin at a time. pluggy's ``firstresult``
would take the first coroutine object for an answer, even one that resolves to None, and calling all of them at once
leaves coroutines that nobody awaits.
"""

import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any, Self

import structlog
import trio

from poptrio.calls import AccountingRecord, AddressLease, CallInfo
from poptrio.decisions import Accept, Challenge, LocalEap, Reject, Unavailable
from poptrio.errors import CauseOfEnd, ConfigError, ConfigFault, NoAddress
from poptrio.protocols.ppp.auth_requests import AuthRequest, EapRequest
from poptrio.server.plugins import Plugin, load_plugins, nearest, pass_on
from poptrio.server_info import ServerInfo
from poptrio.verify import reject_unknown

AUTHENTICATE = "poptrio_authenticate"
ALLOCATE_ADDRESS = "poptrio_allocate_address"

DECISIONS = (Accept, Reject, Challenge, LocalEap, Unavailable)

CAUSES_OF_REJECT = {
    646: CauseOfEnd.RESTRICTED_HOURS,
    647: CauseOfEnd.ACCOUNT_DISABLED,
    648: CauseOfEnd.PASSWORD_EXPIRED,
    649: CauseOfEnd.NO_DIAL_IN_PERMISSION,
    691: CauseOfEnd.AUTHENTICATION_FAILED,
    709: CauseOfEnd.CHANGING_PASSWORD_FAILED,
}
"""Why a call ends, by the code of the `Reject` that ends it (RFC 2759 §6); any other is an authentication failure."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one authentication attempt; ``plugin`` is empty when none knew the user.

    ``cause`` is why the call ends if it ends by this: for a `Reject` either one of `CAUSES_OF_REJECT`, or
    ``AUTHENTICATION_UNAVAILABLE`` when a plugin could not tell or failed instead of answering; None for the others.
    """

    decision: Accept | Reject | Challenge | LocalEap
    plugin: str
    cause: CauseOfEnd | None


class Hooks:
    """All loaded plugins of one server.

    ``authentication`` and ``addresses`` are the two lists of plugin names; ``timeout`` is how many seconds an
    asynchronous hook has for its answer.
    """

    def __init__(
        self, plugins: Mapping[str, Plugin], authentication: Sequence[str], addresses: Sequence[str], timeout: float
    ) -> None:
        self._plugins = dict(plugins)
        self._authentication = [plugins[name] for name in authentication if AUTHENTICATE in plugins[name].hooks]
        self._addresses = [plugins[name] for name in addresses if ALLOCATE_ADDRESS in plugins[name].hooks]
        self._timeout = timeout
        self._trace = os.environ.get("POPTRIO_TRACE_HOOKS") == "1"

    @classmethod
    def load(
        cls,
        authentication: Sequence[str] = (),
        addresses: Sequence[str] = (),
        *,
        extra: Mapping[str, object] | None = None,
        timeout: float = 10.0,
    ) -> Self:
        """Load what both lists name, by entry point or from ``extra`` (plugin objects by name).

        Raises `ConfigError` with everything that is wrong with any of them.
        """
        wanted = dict.fromkeys(authentication, "authentication.plugins")
        wanted |= {name: "addresses.plugins" for name in addresses if name not in wanted}
        plugins = load_plugins(wanted, extra or {})
        faults = [
            ConfigFault(place, f"none of these plugins has the hook {hook}: {', '.join(names)}")
            for place, names, hook in (
                ("authentication.plugins", authentication, AUTHENTICATE),
                ("addresses.plugins", addresses, ALLOCATE_ADDRESS),
            )
            if names and not any(hook in plugins[name].hooks for name in names)
        ]
        if faults:
            raise ConfigError(*faults)
        return cls(plugins, authentication, addresses, timeout)

    def table(self) -> list[Plugin]:
        """The plugins in the order in which they are asked, for ``poptrio plugins``."""
        return list(self._plugins.values())

    @asynccontextmanager
    async def lifespan(self, configs: Mapping[str, Mapping[str, object]], server: ServerInfo) -> AsyncIterator[None]:
        """Hold the lifespans of all plugins; ``configs`` are the ``[plugins.NAME]`` tables by name.

        Raises `ConfigError` with the faults of all plugins; those that had started are left again before.
        """
        faults = list(self._useless_tables(configs))
        async with AsyncExitStack() as stack:
            for plugin in self._with("poptrio_lifespan"):
                arguments = {"config": configs.get(plugin.name, {}), "server": server}
                faults += await _enter_lifespan(stack, plugin, arguments)
            if not faults:
                yield
        if faults:  # outside of the stack, where no nursery of a plugin can wrap it into a group
            raise ConfigError(*faults)

    async def authenticate(self, call: CallInfo, request: AuthRequest, *, only: str = "") -> Answer:
        """Ask who is calling; the first answer counts. Never raises anything but Trio's own.

        ``only`` names the one plugin that is asked, which has begun a conversation with the client.
        """
        plugins = [plugin for plugin in self._authentication if only in ("", plugin.name)]
        try:
            first = await self._first_answer(AUTHENTICATE, plugins, DECISIONS, {"call": call, "request": request})
        except _PluginFailed as failure:
            return Answer(Reject(reason=failure.reason), failure.plugin, CauseOfEnd.AUTHENTICATION_UNAVAILABLE)
        if first is None and isinstance(request, EapRequest) and request.is_identity:
            # An unknown user gets as far as one with a wrong password, by a method that everybody speaks.
            return Answer(LocalEap(), "", None)
        if first is None:
            return Answer(reject_unknown(request), "", CauseOfEnd.AUTHENTICATION_FAILED)
        plugin, decision = first
        if isinstance(decision, Unavailable):
            return Answer(Reject(reason=decision.reason), plugin, CauseOfEnd.AUTHENTICATION_UNAVAILABLE)
        if isinstance(decision, Reject):
            return Answer(decision, plugin, CAUSES_OF_REJECT.get(decision.code, CauseOfEnd.AUTHENTICATION_FAILED))
        return Answer(decision, plugin, None)

    async def allocate_address(self, call: CallInfo, accept: Accept) -> AddressLease | NoAddress:
        """Ask for an inner address; the first answer counts. Never raises anything but Trio's own.

        No checkpoint lies between a plugin's return and ours, so a lease that exists reaches the caller even when the
        call is cancelled meanwhile. Its ``release`` may be called more than once and does not raise.
        """
        try:
            first = await self._first_answer(
                ALLOCATE_ADDRESS, self._addresses, (AddressLease, NoAddress), {"call": call, "user": accept}
            )
        except _PluginFailed as failure:
            return NoAddress(failure.reason)
        if first is None:
            pool = f" in the pool {accept.framed_pool!r}" if accept.framed_pool else ""
            return NoAddress(f"no plugin of [addresses] plugins has an address for {accept.user}{pool}")
        plugin, answer = first
        if isinstance(answer, NoAddress):
            return answer
        lease: AddressLease = answer
        return replace(lease, release=_ReleaseOnce(lease, plugin))

    async def account(self, record: AccountingRecord) -> None:
        """Tell every plugin, all at the same time; failures are logged and have no other effect."""
        async with trio.open_nursery() as nursery:
            for plugin in self._with("poptrio_account"):
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
                self._print_trace(str(peer), plugin, hook, begun, error)
                return f"plugin {plugin.name} failed"
            self._print_trace(str(peer), plugin, hook, begun, reason)
            if reason is None:
                continue
            if isinstance(reason, str):
                return reason or f"plugin {plugin.name} gave no reason"
            log.error("plugin answered with a wrong type", plugin=plugin.name, hook=hook, type=type(reason).__name__)
            return _wrong_type(plugin, hook, reason)
        return None

    def reload(self) -> None:
        """Let every plugin read its files again; failures are logged."""
        hook = "poptrio_reload"
        for plugin in self._with(hook):
            try:
                plugin.call(hook, {})
            except BaseException as error:
                pass_on(error)
                log.exception("plugin failed", plugin=plugin.name, hook=hook)

    def _with(self, hook: str) -> Iterator[Plugin]:
        return (plugin for plugin in self._plugins.values() if hook in plugin.hooks)

    def _useless_tables(self, configs: Mapping[str, Mapping[str, object]]) -> Iterator[ConfigFault]:
        for name, table in configs.items():
            if name not in self._plugins:
                near = nearest(name, self._plugins)
                yield ConfigFault(f"plugins.{name}", f"neither list of plugins names this one{near}")
            elif table and "poptrio_lifespan" not in self._plugins[name].hooks:
                yield ConfigFault(f"plugins.{name}", "this plugin takes no configuration; remove the table")

    async def _first_answer(
        self, hook: str, plugins: Iterable[Plugin], types: tuple[type, ...], arguments: Mapping[str, Any]
    ) -> tuple[str, Any] | None:
        """The first answer that is not None, with its plugin; None when there is none. Raises `_PluginFailed`."""
        call: CallInfo = arguments["call"]
        for plugin in plugins:
            known = {"plugin": plugin.name, "hook": hook, "session": call.session_id, "peer": str(call.peer)}
            try:
                answer = await self._ask(plugin, hook, call.session_id, arguments)
            except trio.TooSlowError:
                log.error("plugin too slow", **known, seconds=self._timeout, exc_info=True)
                raise _PluginFailed(plugin.name, f"plugin {plugin.name} did not answer in time") from None
            except BaseException as error:
                pass_on(error)
                log.exception("plugin failed", **known)
                sentence = f"plugin {plugin.name} failed with {type(error).__name__}; the traceback is in the log"
                raise _PluginFailed(plugin.name, sentence) from None
            if answer is None:
                continue
            if not isinstance(answer, types):
                log.error("plugin answered with a wrong type", **known, type=type(answer).__name__)
                raise _PluginFailed(plugin.name, _wrong_type(plugin, hook, answer))
            return plugin.name, answer
        return None

    async def _ask(self, plugin: Plugin, hook: str, session: str, arguments: Mapping[str, object]) -> object:
        """One plugin's answer within the deadline; a raised `NoAddress` is an answer."""
        begun = time.perf_counter()
        try:
            with trio.fail_after(self._timeout):
                answer: object = await plugin.call(hook, arguments)  # type: ignore[misc]  # loading made sure of it
        except NoAddress as refusal:
            answer = refusal
        except Exception as error:
            self._print_trace(session, plugin, hook, begun, error)
            raise
        self._print_trace(session, plugin, hook, begun, answer)
        return answer

    async def _account(self, plugin: Plugin, record: AccountingRecord) -> None:
        hook = "poptrio_account"
        session = record.call.session_id
        try:
            await self._ask(plugin, hook, session, {"record": record})
        except BaseException as error:
            pass_on(error)
            log.exception("plugin failed", plugin=plugin.name, hook=hook, session=session, kind=record.kind.value)

    def _print_trace(self, subject: str, plugin: Plugin, hook: str, begun: float, answer: object) -> None:
        if self._trace:
            milliseconds = (time.perf_counter() - begun) * 1000
            print(f"hook {hook} {subject} {plugin.name}: {_traced(answer)} {milliseconds:.1f} ms", file=sys.stderr)


class _PluginFailed(Exception):
    """A plugin failed where an answer was needed; ``reason`` is for the log."""

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(reason)
        self.plugin = plugin
        self.reason = reason


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
    except ConfigError as error:
        return list(error.faults)
    except BaseException as error:
        pass_on(error)
        log.exception("plugin failed", plugin=plugin.name, hook="poptrio_lifespan")
        return [ConfigFault(f"plugin {plugin.name}", f"it cannot start: {type(error).__name__}: {error}")]
    return []


def _wrong_type(plugin: Plugin, hook: str, answer: object) -> str:
    return f"plugin {plugin.name} answered with a {type(answer).__name__}, which is no answer to {hook}"


def _traced(answer: object) -> str:
    """An answer in the words of a trace: enough to follow a decision, never a key or a message of an exception."""
    match answer:
        case Accept(user=user):
            return f"accept {user!r}"
        case Reject(reason=reason, code=code):
            return f"reject E={code} {reason!r}"
        case Challenge() | LocalEap():
            return type(answer).__name__
        case Unavailable(reason=reason):
            return f"unavailable: {reason}"
        case AddressLease(address=address):
            return str(address)
        case NoAddress(reason=reason):
            return f"no address: {reason}"
        case None:
            return "-"
        case str():
            return repr(answer)
        case _:
            return type(answer).__name__
