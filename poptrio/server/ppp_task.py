"""The PPP session of a call on the server: what its events mean for the call, and its questions to the plugins.

Negotiation itself runs in `runtime.ppp_driver`, at once; this task sleeps until a plugin must be asked.
"""

from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from typing import assert_never

import structlog
import trio

from poptrio.calls import AddressLease
from poptrio.datapath.base import CallPath, NetworkParameters
from poptrio.decisions import Accept, Challenge, EapMethod, LocalEap, Reject
from poptrio.errors import CauseOfEnd, NoAddress
from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.protocols.ppp.authenticator import Accepted, Challenged, Refused
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.server_session import ServerSession
from poptrio.protocols.ppp.session_events import SessionEvent
from poptrio.runtime.bell import Bell
from poptrio.runtime.dismantle import dismantle
from poptrio.runtime.flag import Flag
from poptrio.runtime.ppp_driver import PppDriver
from poptrio.server.authentication import Answer
from poptrio.server.call import Call
from poptrio.server.conversation import Conversation
from poptrio.server.domains import seen_and_used
from poptrio.server.session_limit import TooManySessions
from poptrio.server.throttle import TooManyAttempts
from poptrio.server.tracing import trace_log

log = structlog.get_logger("poptrio.ppp")

WISH_WAIT = 5.0
"""Seconds for a client to ask for an address by itself, where it may choose one. MPPE comes before that."""


class PppTask:
    """The PPP session of one call; ``driver`` is the `CallOwner` of its path.

    ``conversation`` is who is asked the next question about it; ``encrypted``: both directions have been.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._config = call.server.config  # as it is now: a call keeps what it began with
        self._settings = call.server.session_settings
        self.session = ServerSession(self._settings, call.server.random)
        self.driver = PppDriver(self.session, call.server.ticker, self._happened, self._path_failed)
        call.retrace = self._retrace
        call.retrace()
        self._question: AuthRequest | None = None  # the newest only: the session awaits no older one
        self.conversation = Conversation()
        self._wish_known = Flag()
        self._bell = Bell()
        self.encrypted = False
        call.ppp = self

    def start(self, path: CallPath) -> None:
        """Begin with LCP; `attend` follows."""
        self.driver.start(path)

    def take_up(self, path: CallPath, conversation: Conversation, *, encrypted: bool) -> None:
        """``session`` has been up on this ``path`` in another process; `attend` follows."""
        self.conversation, self.encrypted = conversation, encrypted
        self.driver.take_up(path)

    async def attend(self) -> None:
        """Ask the plugins whatever the session asks; return when it has ended."""
        while not self.driver.over.is_set():
            await self._bell.wait()
            while (request := self._question) is not None:
                self._question = None
                if self.session.awaits(request):  # not when LCP was negotiated again while another was asked
                    await self._authenticate(request)

    async def say_goodbye(self, cause: CauseOfEnd, wait: float) -> None:
        """Send a Terminate-Request if the session still lives, and give the client ``wait`` seconds to answer it."""
        now = trio.current_time()
        await self.driver.say_goodbye(partial(self.session.terminate, cause, "", now), wait)

    def dismantle(self) -> None:
        """The call is released: nothing here is used again."""
        dismantle(self.session, self.driver, self)

    def reauthenticate(self) -> bool:
        """Ask the client to prove itself once more; False where its protocol cannot."""
        if not self.session.can_challenge_again:
            return False
        self.driver.do(self.session.challenge_again, trio.current_time())
        return True

    # What happened, at once.

    def _path_failed(self, reason: str) -> None:
        self._call.end(CauseOfEnd.DATA_PATH_FAILED, reason)

    def _retrace(self) -> None:
        wanted = self._call.server.tracing.wants_packets(self._call)
        self.driver.trace = self._trace if wanted else None

    def _trace(self, line: str) -> None:
        log = self._call.bound(trace_log)
        log.debug("ppp packet", packet=line)

    def _happened(self, event: SessionEvent) -> None:
        call = self._call
        match event:
            case events.LinkUp():
                call.passed("lcp")
                self.conversation = Conversation()
                call.authentication = event.authentication.label if event.authentication else ""
            case events.AuthenticationNeeded():
                self._question = event.request
                self._bell.ring()
            case events.Authenticated():
                call.passed("authentication")
            case events.AddressRequested():
                self._wish_known.set()
            case events.EncryptionUp():
                call.passed("encryption")
                call.encryption = str(event.send) if event.send else "none"
                self.encrypted = event.send is not None and event.receive is not None
            case events.NetworkUp():
                self._network_up(event)
            case events.Noted():
                call.bound(log).debug(event.event, detail=event.detail)
            case events.SessionEnding():
                # Why the client hangs up next, on the control connection, is now known.
                call.blame(event.cause, event.detail)
            case events.SessionEnded():
                call.end(event.cause, event.detail)
                self._bell.ring()
            case _:  # carried out by the driver
                pass

    def _network_up(self, event: events.NetworkUp) -> None:
        call, config = self._call, self._config
        accept, lease, path = call.accept, call.lease, call.path
        if accept is None or lease is None or path is None:
            raise AssertionError("IPCP came up without an address to give")
        mtu = min(event.mtu, accept.framed_mtu or event.mtu)
        path.open_network(
            NetworkParameters(
                our_address=config.addresses.server,
                peer_address=lease.address,
                mtu=mtu,
                pfc=event.pfc,
                acfc=event.acfc,
                # What was agreed on is not given up again, also where encryption is only preferred.
                encryption_required=self._policy(accept).required or self.encrypted,
                clamp_mss=config.ppp.clamp_mss,
                routes=accept.framed_routes,
            )
        )
        call.came_up(accept, lease, mtu)

    # Questions to plugins.

    async def _authenticate(self, request: AuthRequest) -> None:
        """Ask who is calling; then ask for an address."""
        call, server = self._call, self._call.server
        request_used = self.conversation.continued_by(server.domain_rule.apply(request))
        call.name = seen_and_used(request_used)
        call.known_as(request_used.name, request_used.username)
        plugin, awaited = self.conversation.asks(request_used), partial(self.session.awaits, request)
        try:
            answer = await server.authority.log_in(call, request_used, plugin, awaited)
        except TooManyAttempts as error:
            reject = Reject(reason=f"throttled: its turn would have come in {error}; no plugin was asked")
            self._refuse(request, reject, CauseOfEnd.AUTHENTICATION_FAILED)
        except TooManySessions as error:
            self._refuse(request, Reject(reason=str(error), code=649), CauseOfEnd.TOO_MANY_SESSIONS)
        else:
            if self.session.awaits(request):
                await self._answer(request, answer)

    async def _answer(self, request: AuthRequest, answer: Answer) -> None:
        """Tell the session; what comes next of the same conversation is the same plugin's."""
        call, decision, now = self._call, answer.decision, trio.current_time()
        match decision:
            case Accept():
                self.conversation = Conversation(answer.plugin, context=decision.context)
                await self._accept(request, decision)
            case Reject():
                self.conversation = replace(self.conversation, plugin=answer.plugin, name=request.name)
                cause = answer.cause or CauseOfEnd.AUTHENTICATION_FAILED
                if call.limits is not None and call.limits.reauthenticating:
                    decision = Reject(reason=f"the client could not prove itself again: {decision.reason}")
                    cause = CauseOfEnd.SESSION_TIMEOUT
                self._refuse(request, decision, cause)
            case Challenge():
                self.conversation = Conversation(answer.plugin, request.name, decision.context)
                challenged = Challenged(decision.message, decision.eap)
                self.driver.do(self.session.challenged, request, challenged, now)
            case LocalEap():
                self.conversation = replace(self.conversation, plugin=answer.plugin, name=request.name)
                self.driver.do(self.session.speak_eap, request, self._usable(decision.methods), now)
            case _:
                assert_never(decision)

    def _refuse(self, request: AuthRequest, reject: Reject, cause: CauseOfEnd) -> None:
        detail = f"{self._call.name or 'no name'}: {reject.reason}"
        now = trio.current_time()
        refused = Refused(reject.code, reject.message, reject.retry, reject.challenge, reject.eap)
        self.driver.do(self.session.refused, request, refused, cause, detail, now)

    async def _accept(self, request: AuthRequest, accept: Accept) -> None:
        call = self._call
        before = call.accept
        if before is not None and before.user != accept.user:
            reject = Reject(reason=f"answered a later challenge as {accept.user}, not as {before.user}")
            self._refuse(request, reject, CauseOfEnd.AUTHENTICATION_FAILED)
            return
        if before is None:
            call.authenticated(accept)
        accepted = Accepted(accept.authenticator_response, accept.message, accept.eap)
        keys, policy, now = accept.mppe_keys, self._policy(accept), trio.current_time()
        self.driver.do(self.session.authenticated, request, accepted, keys, now, policy)
        if before is None:
            await self._assign(accept)
        elif call.limits is not None and call.limits.reauthenticating:
            call.accept = accept
            call.server.authority.changed(call)
            call.limits.reauthenticated(now)

    async def _assign(self, accept: Accept) -> None:
        call, config = self._call, self._config
        answer = await self._allocate(accept)
        now = trio.current_time()
        if isinstance(answer, NoAddress):
            self.driver.do(self.session.no_address, str(answer), now)
            return
        call.lease = answer
        dns = config.ppp.dns if accept.dns is None else accept.dns
        wins = config.ppp.wins if accept.wins is None else accept.wins
        self.driver.do(self.session.assign, config.addresses.server, answer.address, dns[:2], wins[:2], now)

    async def _allocate(self, accept: Accept) -> AddressLease | NoAddress:
        """An address for the client; where it may choose, the one that it asks for, if that can be had.

        It chooses among the addresses for clients: nobody shall get the packets of some other host by asking for it.
        """
        call, authority = self._call, self._call.server.authority
        wish = await self._wished_address() if accept.client_chooses_address else None
        ranges = call.server.config.addresses.all_ranges
        if wish is not None and any(first <= wish <= last for first, last in ranges):
            answer = await authority.allocate_address(call, wish)
            if not isinstance(answer, NoAddress):
                return answer
            call.log.debug("wished address not given", address=str(wish), why=str(answer))
        return await authority.allocate_address(call)

    async def _wished_address(self) -> IPv4Address | None:
        """The address that the client asks for by itself; None if it asks for none, or has not begun in time."""
        with trio.move_on_after(WISH_WAIT):
            await self._wish_known.wait()
        return self.session.wished_address

    def _usable(self, methods: tuple[EapMethod, ...]) -> tuple[EapMethod, ...]:
        """Those EAP methods that are allowed and after which the call can go on: only MS-CHAPv2 yields keys."""
        ppp = self._config.ppp
        required = ppp.encryption == "require"
        allowed = tuple(method for method in ppp.eap_methods if method == "mschap-v2" or not required)
        return tuple(method for method in methods if method in allowed)

    def _policy(self, accept: Accept) -> EncryptionPolicy:
        """What is configured, as the plugin changed it for this user."""
        policy = self._settings.encryption
        if accept.encryption is not None:
            policy = replace(policy, policy=accept.encryption)
        if accept.encryption_bits is not None:
            policy = replace(policy, bits=accept.encryption_bits)
        return policy
