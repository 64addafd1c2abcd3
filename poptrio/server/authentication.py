"""Who is calling: asks authentication plugins one after the other, and decides what all their answers together mean."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from poptrio.calls import CallInfo
from poptrio.config.sections import Outcome
from poptrio.decisions import Accept, Challenge, Decision, LocalEap, Reject, Unavailable
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import AuthRequest, EapRequest
from poptrio.server.asking import Asker, PluginFailed
from poptrio.server.plugins import Plugin
from poptrio.verify import reject_unknown

AUTHENTICATE = "poptrio_authenticate"

CAUSES_OF_REJECT = {
    646: CauseOfEnd.RESTRICTED_HOURS,
    647: CauseOfEnd.ACCOUNT_DISABLED,
    648: CauseOfEnd.PASSWORD_EXPIRED,
    649: CauseOfEnd.NO_DIAL_IN_PERMISSION,
    691: CauseOfEnd.AUTHENTICATION_FAILED,
    709: CauseOfEnd.CHANGING_PASSWORD_FAILED,
}
"""Why a call ends, by the code of the `Reject` that ends it (RFC 2759 §6); any other is an authentication failure."""

log = structlog.get_logger("poptrio.plugins")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one authentication attempt; ``plugin`` is empty when none knew the user.

    ``cause`` is why the call ends if it ends by this: for a `Reject` either one of `CAUSES_OF_REJECT`, or
    ``AUTHENTICATION_UNAVAILABLE`` when a plugin could not tell; None for the others.
    """

    decision: Accept | Reject | Challenge | LocalEap
    plugin: str
    cause: CauseOfEnd | None


@dataclass(slots=True)
class _SoFar:
    """What the plugins that did not accept the caller have said; the first of each kind."""

    refusal: Answer | None = field(default=None)
    unavailable: Answer | None = field(default=None)


class Authentication:
    """Asks those of ``plugins`` that ``order`` names, or others for one caller.

    ``fall_through`` are the outcomes after which the next one is asked.
    """

    def __init__(
        self,
        plugins: Mapping[str, Plugin],
        order: Sequence[str],
        fall_through: Collection[Outcome],
        asker: Asker,
    ) -> None:
        self._plugins = {name: plugin for name, plugin in plugins.items() if AUTHENTICATE in plugin.hooks}
        self.order = tuple(order)
        self._fall_through = frozenset(fall_through)
        self._asker = asker

    async def ask(self, call: CallInfo, request: AuthRequest, *, only: str, plugins: Sequence[str] | None) -> Answer:
        """Ask ``only`` the plugin of this name, else ``plugins``, else all in their order.

        The first that decides counts: `Accept`, `Challenge` or `LocalEap`, or whatever is not fallen through. When
        nobody does, the first refusal, else the first that could not tell, else a refusal as of a wrong password.
        """
        names = (only,) if only else self.order if plugins is None else plugins
        so_far = _SoFar()
        for name in names:
            if name not in self._plugins:
                continue  # named for another hook
            decision = await self._ask_one(self._plugins[name], call, request)
            if isinstance(decision, Accept | Challenge | LocalEap):
                return Answer(decision, name, None)
            if not self._goes_on(decision, name, so_far):
                break
        known = so_far.refusal or so_far.unavailable
        if known is None and isinstance(request, EapRequest) and request.is_identity:
            # An unknown user gets as far as one with a wrong password, by a method that everybody speaks.
            return Answer(LocalEap(), "", None)
        return known or refused_unknown(request)

    async def _ask_one(self, plugin: Plugin, call: CallInfo, request: AuthRequest) -> Decision | None:
        types = (Accept, Reject, Challenge, LocalEap, Unavailable)
        try:
            answer: Decision | None = await self._asker.answer(
                plugin, AUTHENTICATE, types, {"call": call, "request": request}
            )
        except PluginFailed as failure:
            return Unavailable(failure.reason)
        if isinstance(answer, Unavailable):
            known = {"plugin": plugin.name, "session": call.session_id, "peer": str(call.peer)}
            log.warning("plugin unavailable", **known, why=answer.reason)
            return Unavailable(f"plugin {plugin.name} cannot tell: {answer.reason}", answer.ask_next)
        return answer

    def _goes_on(self, decision: Reject | Unavailable | None, plugin: str, so_far: _SoFar) -> bool:
        """Take note of an answer that lets nobody in; whether the next plugin is asked all the same."""
        match decision:
            case None:
                return "not-mine" in self._fall_through
            case Reject(code=code):
                cause = CAUSES_OF_REJECT.get(code, CauseOfEnd.AUTHENTICATION_FAILED)
                so_far.refusal = so_far.refusal or Answer(decision, plugin, cause)
                return "refused" in self._fall_through
            case Unavailable(reason, ask_next):
                refusal = Answer(Reject(reason=reason), plugin, CauseOfEnd.AUTHENTICATION_UNAVAILABLE)
                so_far.unavailable = so_far.unavailable or refusal
                return "unavailable" in self._fall_through if ask_next is None else ask_next


def refused_unknown(request: AuthRequest, reason: str = "") -> Answer:
    """The answer when nobody knows the user: as to a wrong password, after the same work; ``reason`` for the log."""
    reject = reject_unknown(request)
    return Answer(Reject(reason=reason) if reason else reject, "", CauseOfEnd.AUTHENTICATION_FAILED)
