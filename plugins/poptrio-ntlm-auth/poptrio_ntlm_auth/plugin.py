"""``ntlm-auth``: lets a Windows domain judge MS-CHAP and PAP through Samba's ntlm_auth.

A domain controller hands out no password and no hash; it judges a response, and tells a member of the domain the MD4 of
the hash when the response was right. That suffices for MPPE keys and for MS-CHAPv2's ``S=``.
"""

import shutil
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from poptrio.api import (
    Accept,
    AuthRequest,
    ConfigError,
    ConfigFault,
    Decision,
    EapRequest,
    Health,
    LocalEap,
    Measurement,
    MsChapV1Request,
    MsChapV2ChangePasswordRequest,
    MsChapV2Request,
    PapRequest,
    PluginReload,
    Reject,
    ServerInfo,
    Unavailable,
    accept_judged,
    hookimpl,
    ntlm_challenge,
    read_config,
)
from poptrio_ntlm_auth.helpers import HelperDied, Helpers
from poptrio_ntlm_auth.line_protocol import Answer, BadAnswer, challenge_question, password_question
from poptrio_ntlm_auth.metrics import health, measurements
from poptrio_ntlm_auth.outcomes import failure
from poptrio_ntlm_auth.process import start_helper
from poptrio_ntlm_auth.settings import NtlmAuthConfig

SHARE_OF_ANSWER_TIMEOUT = 0.9
"""Of the time that the server gives, what the plugin takes at most before it says itself that it has no answer."""

CHANGE_PASSWORD_FAILED = 709
"""``ERROR_CHANGING_PASSWORD`` (RFC 2759 §6)."""


@dataclass(frozen=True, slots=True)
class _Running:
    """What a question is asked with, from its beginning to its end."""

    settings: NtlmAuthConfig
    helpers: Helpers
    patience: float

    @property
    def ask_next(self) -> bool:
        return self.settings.unavailable == "next"

    def names(self, request: AuthRequest) -> tuple[bytes, bytes]:
        """User and domain as octets; the domain may still be part of the user's name (``strip_domain = false``)."""
        user = request.username.rpartition("\\")[2]
        domain = request.domain or self.settings.domain
        return user.encode("utf-8", "surrogateescape"), domain.encode("utf-8", "surrogateescape")

    async def ask(self, question: bytes) -> Answer | Unavailable:
        with trio.move_on_after(self.patience):
            try:
                return await self.helpers.ask(question)
            except (HelperDied, BadAnswer) as error:
                return Unavailable(reason=str(error), ask_next=self.ask_next)
        return Unavailable(reason=f"no answer of ntlm_auth within {self.patience:g} seconds", ask_next=self.ask_next)


class NtlmAuth:
    """The plugin."""

    def __init__(self) -> None:
        self._running: _Running | None = None
        self._nursery: trio.Nursery | None = None

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config: Mapping[str, object], server: ServerInfo) -> AsyncIterator[None]:
        """Hold the helpers. A command that is not there keeps the server from starting."""
        settings = _read(config)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.use(settings, self._helpers_for(settings), server.answer_timeout)
            yield
            nursery.cancel_scope.cancel()

    @hookimpl
    def poptrio_reload(self, config: Mapping[str, object], server: ServerInfo) -> PluginReload:
        """Take everything anew; helpers end when they have answered, unless they are to be run as they are."""
        settings = _read(config)

        def commit() -> None:
            before = self._running
            assert before is not None, "reloaded before the lifespan was entered"
            if settings.same_helpers(before.settings):
                self.use(settings, before.helpers, server.answer_timeout)
            else:
                self.use(settings, self._helpers_for(settings), server.answer_timeout)
                before.helpers.retire()

        return PluginReload(commit)

    def _helpers_for(self, settings: NtlmAuthConfig) -> Helpers:
        assert self._nursery is not None
        return Helpers(partial(start_helper, settings.arguments(), self._nursery), settings.helpers)

    def use(self, settings: NtlmAuthConfig, helpers: Helpers, answer_timeout: float) -> None:
        """Ask these helpers from now on: the seam for tests."""
        self._running = _Running(settings, helpers, min(settings.timeout, answer_timeout * SHARE_OF_ANSWER_TIMEOUT))

    @hookimpl
    def poptrio_measurements(self) -> Iterable[Measurement]:
        """What the helpers have counted."""
        return () if self._running is None else measurements(self._running.helpers)

    @hookimpl
    def poptrio_health(self) -> Health | None:
        """Whether the last question was answered."""
        return None if self._running is None else health(self._running.helpers)

    @hookimpl
    async def poptrio_authenticate(self, request: AuthRequest) -> Decision | None:
        """Let the domain judge the caller; a user whom it does not know is another plugin's."""
        running = self._running
        assert running is not None, "asked before the lifespan was entered"
        match request:
            case EapRequest():
                return LocalEap(("mschap-v2",))
            case MsChapV2ChangePasswordRequest():
                return Reject(reason="passwords in a domain are not changed here", code=CHANGE_PASSWORD_FAILED)
            case PapRequest():
                return await _judge_password(running, request)
            case MsChapV1Request() | MsChapV2Request():
                return await _judge_response(running, request)
            case _:
                return Reject(reason=f"a domain cannot judge {request.protocol}: offer mschap-v2")


async def _judge_password(running: _Running, request: PapRequest) -> Decision | None:
    password = request.password.encode("utf-8", "surrogateescape")
    if not password:
        return Reject(reason="an empty password is never asked about")
    answer = await running.ask(password_question(*running.names(request), password))
    if not isinstance(answer, Answer):
        return answer
    return Accept(user=request.username) if answer.authenticated else failure(answer, ask_next=running.ask_next)


async def _judge_response(running: _Running, request: MsChapV1Request | MsChapV2Request) -> Decision | None:
    if isinstance(request, MsChapV1Request) and not request.use_nt:
        return Reject(reason="the client sent an LM response only, which no domain should accept")
    question = challenge_question(*running.names(request), ntlm_challenge(request), request.nt_response)
    answer = await running.ask(question)
    if not isinstance(answer, Answer):
        return answer
    if not answer.authenticated:
        return failure(answer, ask_next=running.ask_next)
    if answer.user_session_key is None:
        return Reject(reason="ntlm_auth gave no session key, without which there is nothing to encrypt with")
    return accept_judged(request, answer.user_session_key)


def _read(config: Mapping[str, object]) -> NtlmAuthConfig:
    """Raises `ConfigError`, also where the command is not there."""
    settings = read_config(NtlmAuthConfig, config, "plugins.ntlm-auth")
    if shutil.which(settings.command[0]) is None:
        sentence = f"{settings.command[0]} is no command here (Debian: apt-get install winbind)"
        raise ConfigError(ConfigFault("plugins.ntlm-auth.command", sentence))
    return settings
