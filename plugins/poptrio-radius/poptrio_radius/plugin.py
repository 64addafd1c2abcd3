"""``radius``: the plugin. Its hooks hand on to `Authentication` and `Accounting`; its lifespan holds everything up."""

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import trio

from poptrio.api import (
    AccountingRecord,
    AuthRequest,
    CallInfo,
    ConfigError,
    ConfigFault,
    Health,
    Measurement,
    PluginReload,
    ServerInfo,
    hookimpl,
    read_config,
)
from poptrio_radius.accounting import Accounting, AccountingSettings, open_accounting
from poptrio_radius.accounting_config import AccountingKeys
from poptrio_radius.authentication import Answer, Authentication
from poptrio_radius.config import RadiusConfig
from poptrio_radius.delivery import Send
from poptrio_radius.dynamic_authorization import DynamicAuthorization, read_coa
from poptrio_radius.metrics import health, measurements
from poptrio_radius.packets import Request
from poptrio_radius.pools import PoolMaker
from poptrio_radius.server import Server
from poptrio_radius.server_pool import NoReply, ServerPool
from poptrio_radius.session_attributes import call_attributes, nas_attributes
from poptrio_radius.spool import Spool
from poptrio_radius.spool_file import SpoolError, judge

PLACE = "plugins.radius"

FIXED = ("accounting", "spool", "nas_identifier", "nas_ip_address")
"""Keys of what cannot change while the plugin runs: its spool, and who it says that it is to those who have records."""

NOT_OF_SERVERS = ("coa", *(AccountingKeys.model_fields.keys() - {"accounting", "min_interim_interval"}))
"""Keys with which nobody who is asked has anything to do: a change of them leaves the servers as they are."""


class Radius:
    """The plugin. ``servers`` are those of a running server, with their counters."""

    def __init__(self) -> None:
        self.servers: tuple[Server, ...] = ()
        self._running: _Running | None = None
        self._authentication: Authentication | None = None
        self._accounting: Accounting | None = None
        self._coa: DynamicAuthorization | None = None

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config: Mapping[str, object], server: ServerInfo) -> AsyncIterator[None]:
        """Read secrets and certificates, open the spool, listen for DM and CoA; what is wrong keeps us from starting.

        Servers that are silent do not: they are asked when there is something to ask.
        """
        settings = read_config(RadiusConfig, config, PLACE)
        maker = PoolMaker(settings, server.folder, PLACE)
        coa = read_coa(settings, server.folder, PLACE, maker.faults)
        if maker.faults:
            raise ConfigError(*maker.faults)
        if server.rehearsal:  # the spool and the port of DM and CoA may be in use, and no server is to hear of us
            if settings.accounting:
                try:
                    judge(server.folder / settings.spool)
                except SpoolError as error:
                    raise _spool_fault(error) from None
            yield
            return
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            self._use(settings, maker, server, nursery)
            if settings.accounting:
                self._accounting = await _open_accounting(stack, settings, self._acknowledged, server)
            self._coa = DynamicAuthorization(server.sessions, nursery)
            stack.callback(self._coa.close)
            self._coa.prepare(settings.coa, coa, PLACE).commit()
            yield
            await stack.aclose()  # the last records are sent by readers that run in the nursery
            nursery.cancel_scope.cancel()

    @hookimpl
    def poptrio_reload(self, config: Mapping[str, object], server: ServerInfo) -> PluginReload:
        """Take other servers, secrets, limits and times; what was asked already is waited for as it was."""
        wanted = read_config(RadiusConfig, config, PLACE)
        running, authorization = self._running, self._coa
        assert running is not None, "reloaded before the lifespan was entered"
        assert authorization is not None
        settings = wanted.model_copy(update={key: getattr(running.settings, key) for key in FIXED})
        maker = PoolMaker(settings, server.folder, PLACE)
        coa = read_coa(settings, server.folder, PLACE, maker.faults)
        if maker.faults:
            raise ConfigError(*maker.faults)
        obey = authorization.prepare(settings.coa, coa, PLACE)

        def commit() -> None:
            obey.commit()
            asked = settings.model_copy(update={key: getattr(running.settings, key) for key in NOT_OF_SERVERS})
            if asked != running.settings or not maker.same_secrets(running.maker) or server != running.server:
                self._use(settings, maker, server, running.nursery)
            else:
                self._running = replace(running, settings=settings)
            if self._accounting is not None:
                self._accounting.configure(_accounting_settings(settings, server))

        return PluginReload(commit, restart=FIXED, undo=obey.undo)

    @hookimpl
    @contextmanager
    def poptrio_hand_over(self) -> Iterator[None]:
        """The spool and the port for DM and CoA are one process's."""
        with ExitStack() as stack:
            if self._accounting is not None:
                stack.enter_context(self._accounting.let_go())
            if self._coa is not None:
                stack.enter_context(self._coa.let_go())
            yield

    def _use(self, settings: RadiusConfig, maker: PoolMaker, server: ServerInfo, nursery: trio.Nursery) -> None:
        """Ask new servers from now on, and let go of those before them when nobody can wait for them any more."""
        pool = maker.pool("authentication", nursery)
        accounting = maker.pool("accounting", nursery) if settings.accounting else None
        before = self._running
        memory = self._authentication.memory if self._authentication is not None else None
        if before is not None and before.settings.challenge_memory != settings.challenge_memory:
            memory = None
        self._running = _Running(settings, maker, server, nursery, accounting)
        self._authentication = Authentication(settings, pool, server.answer_timeout, memory)
        if before is not None:
            nursery.start_soon(_let_go, self.servers, before.longest_wait)
        self.servers = pool.servers + (accounting.servers if accounting is not None else ())

    async def _acknowledged(self, request: Request) -> bool:
        """Whether an accounting server took ``request`` in the time in which each server has all its tries."""
        running = self._running
        assert running is not None
        assert running.accounting is not None
        try:
            await running.accounting.ask(request, trio.current_time() + running.accounting_wait)
        except NoReply:
            return False
        return True

    @hookimpl
    async def poptrio_authenticate(self, call: CallInfo, request: AuthRequest) -> Answer:
        """Every caller is ours to judge."""
        assert self._authentication is not None, "asked before the lifespan was entered"
        return await self._authentication.decide(call, request)

    @hookimpl
    async def poptrio_account(self, record: AccountingRecord) -> None:
        """Note down what happened; it is sent when there is somebody to send it to."""
        if self._accounting is not None:
            await self._accounting.account(record)

    @hookimpl
    def poptrio_measurements(self) -> Iterable[Measurement]:
        """What servers, spool and DM/CoA server have counted."""
        return measurements(self.servers, self._spool, self._coa.server if self._coa is not None else None)

    @hookimpl
    def poptrio_health(self) -> Health:
        """Whether there is a server for everything, and room for what none takes."""
        return health(self.servers, self._spool)

    @property
    def _spool(self) -> Spool | None:
        return self._accounting.spool if self._accounting is not None else None


@dataclass(frozen=True, slots=True)
class _Running:
    """What the plugin runs with; ``accounting`` are the servers for it."""

    settings: RadiusConfig
    maker: PoolMaker
    server: ServerInfo
    nursery: trio.Nursery
    accounting: ServerPool | None

    @property
    def accounting_wait(self) -> float:
        """Seconds in which each accounting server has all its tries."""
        servers = len(self.accounting.servers) if self.accounting is not None else 0
        return self.settings.timeout * self.settings.tries * servers

    @property
    def longest_wait(self) -> float:
        """Seconds after which nobody waits for any answer any more."""
        return max(self.server.answer_timeout, self.accounting_wait)


async def _let_go(servers: Sequence[Server], seconds: float) -> None:
    """After ``seconds``, close what leads to ``servers``."""
    await trio.sleep(seconds)
    for server in servers:
        server.close()


async def _open_accounting(stack: AsyncExitStack, config: RadiusConfig, send: Send, server: ServerInfo) -> Accounting:
    """Raises `ConfigError` when the spool cannot be used."""
    settings = _accounting_settings(config, server)
    identity = partial(call_attributes, config=config)
    try:
        return await stack.enter_async_context(
            open_accounting(
                settings, send, identity, nas_attributes(config), server.sessions, continued=server.continued
            )
        )
    except (SpoolError, sqlite3.Error) as error:
        raise _spool_fault(error) from None


def _spool_fault(error: Exception) -> ConfigError:
    return ConfigError(ConfigFault(f"{PLACE}.spool", str(error)))


def _accounting_settings(config: RadiusConfig, server: ServerInfo) -> AccountingSettings:
    return AccountingSettings(
        spool=server.folder / config.spool,
        limit=config.spool_max,
        on_off=config.accounting_on_off,
        failure=config.accounting_failure,
        failure_timeout=config.accounting_failure_timeout,
        note_interval=config.spool_note_interval,
        farewell=config.accounting_farewell,
    )
