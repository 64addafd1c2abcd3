"""The `Authority` of a server that has its calls beside it: asks the plugins itself, counts by plain calls."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import trio

from poptrio.calls import AddressLease
from poptrio.config import Config
from poptrio.decisions import Accept, Reject
from poptrio.errors import CauseOfEnd, NoAddress
from poptrio.observe.journal import Happening, Journal
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.server.accounting import CallAccounting
from poptrio.server.authentication import Answer, refused_unknown
from poptrio.server.authority import Accounting, KnownCall
from poptrio.server.call_events import event_of
from poptrio.server.domains import DomainRule, seen_and_used
from poptrio.server.hooks import Hooks
from poptrio.server.session_limit import take_place, until_released
from poptrio.server.sessions import LiveSessions
from poptrio.server.setup_times import SetupTimes
from poptrio.server.throttle import Throttle

NO_DELAY = 0.01
"""Seconds that a log-in takes to get its turn where it need not wait for it."""


class LocalAuthority:
    """Plugins, the throttle, and the users' sessions of one server; ``sessions`` are those that plugins were given,
    ``journal`` hears what happens to calls, ``setup_times`` how long they took to come up.

    How many calls and connections there may be is counted in the `Registry`, before anything is asked here.
    """

    def __init__(self, config: Config, hooks: Hooks, sessions: LiveSessions | None = None) -> None:
        self.hooks = hooks
        self.sessions = sessions or LiveSessions()
        self.journal = Journal()
        self.setup_times = SetupTimes()
        self.throttle = Throttle(config.authentication.failure_delay, config.authentication.failure_delay_max)
        self._domain_rule = DomainRule.configured(config.authentication)
        self._limits = config.sessions

    def configure(self, old: Config, new: Config) -> None:
        """Decide as ``new`` says from now on, instead of as ``old`` says; cannot fail."""
        authentication = new.authentication
        self.throttle.configure(authentication.failure_delay, authentication.failure_delay_max)
        self._domain_rule = DomainRule.configured(authentication)
        self._limits = new.sessions
        self.hooks.configure(old, new)

    async def admit_connection(self, connection_id: str, peer: IPv4Address) -> str | None:
        """What the plugins say."""
        return self.hooks.admit(peer)

    def refused(self, peer: IPv4Address, why: str) -> None:
        """The journal hears of it."""
        self.journal.refused(peer, why)

    def connection_closed(self, connection_id: str) -> None:
        """Nothing is remembered of connections."""

    async def admit_call(self, call: KnownCall) -> str | None:
        """Whoever asks has counted it."""
        self.begun(call)
        return None

    def begun(self, call: KnownCall) -> None:
        """There is this call."""
        if self.journal.heard:
            self.journal.happened(event_of(call, Happening.STARTING))

    async def log_in(self, call: KnownCall, request: AuthRequest, plugin: str, awaited: Callable[[], bool]) -> Answer:
        """Ask the plugins, in turn where earlier attempts have failed; then find a place for the call."""
        if call.accept is not None:  # a later challenge: a user whom others guess at shall not lose a call by it
            return await self._judge(call, request, plugin, awaited)
        begun = trio.current_time()
        async with self.throttle.attempt(call.info.peer, request.username):
            if (waited := trio.current_time() - begun) > NO_DELAY:
                call.log.debug("authentication delayed", seconds=waited, seen_as=seen_and_used(request))
            return await self._judge(call, request, plugin, awaited)

    async def allocate_address(self, call: KnownCall, wish: IPv4Address | None = None) -> AddressLease | NoAddress:
        """What the plugins give, once the calls are gone that this one replaces."""
        replaced, call.replaced = call.replaced, ()
        await until_released(replaced)
        assert call.accept is not None
        user = call.accept if wish is None else replace(call.accept, framed_address=wish)
        return await self.hooks.allocate_address(call.info, user)

    def accounting(self, call: KnownCall) -> Accounting:
        """Records for the plugins, if any wants them."""
        return CallAccounting(call, self.hooks.account if self.hooks.accounts else None)

    def came_up(self, call: KnownCall) -> None:
        """Plugins see the call."""
        self.sessions.came_up(call)
        self.setup_times.came_up(call.steps)
        if self.journal.heard:
            self.journal.happened(event_of(call, Happening.UP))

    def ending(self, call: KnownCall) -> None:
        """Whoever looks at ``call.cause`` sees it."""

    def changed(self, call: KnownCall) -> None:
        """Whoever looks at ``call.accept`` sees it."""

    def leave(self, call: KnownCall) -> None:
        """The call gives everything back."""
        if call.lease is not None:
            call.lease.release()
        self.sessions.leave(call)
        if call.cause is CauseOfEnd.TOO_MANY_CALLS:
            return  # refused before it began: whoever counts refusals tells
        happening = Happening.FAILED if call.up_since is None else Happening.DOWN
        if happening is Happening.FAILED or self.journal.heard:
            self.journal.happened(event_of(call, happening))

    async def _judge(self, call: KnownCall, request: AuthRequest, plugin: str, awaited: Callable[[], bool]) -> Answer:
        """Ask, and let the throttle know, while the attempt still has its turn."""
        answer = await self._ask(call, request, plugin)
        who = call.info.peer, request.username
        if isinstance(answer.decision, Accept):
            if awaited():
                self.throttle.succeeded(*who)
                if call.accept is None:
                    self._take_place(call, answer.plugin, answer.decision, request.domain)
        elif isinstance(answer.decision, Reject) and answer.cause is not CauseOfEnd.AUTHENTICATION_UNAVAILABLE:
            self.throttle.failed(*who)
        return answer

    async def _ask(self, call: KnownCall, request: AuthRequest, plugin: str) -> Answer:
        """Ask the plugins of the caller's domain, or the one that is talking with the client already."""
        rule = self._domain_rule
        if not rule.allows(request.domain):
            return refused_unknown(request, f"the domain {request.domain!r} is not in authentication.allowed_domains")
        return await self.hooks.authenticate(call.info, request, only=plugin, plugins=rule.plugins_of(request.domain))

    def _take_place(self, call: KnownCall, plugin: str, accept: Accept, domain: str) -> None:
        """``plugin`` has accepted a user of ``domain``."""
        call.authenticated_by = plugin
        call.counted_names = self._domain_rule.session_names((accept.user, *accept.aliases), domain)
        call.replaced = take_place(call, accept, self.sessions, self._limits)
