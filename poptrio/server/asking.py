"""Asking one hook of one plugin: within a deadline, with a trace for who wants to follow decisions."""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog
import trio

from poptrio.calls import AddressLease, CallInfo
from poptrio.decisions import Accept, Challenge, LocalEap, Reject, Unavailable
from poptrio.errors import NoAddress
from poptrio.observe.log import escape
from poptrio.server.plugin_tallies import PluginTally
from poptrio.server.plugins import Plugin, pass_on

log = structlog.get_logger("poptrio.plugins")


class PluginFailed(Exception):
    """A plugin failed where an answer was needed; ``reason`` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Asker:
    """Asks plugins; each has ``timeout`` seconds for an answer, unless somebody says otherwise.

    ``tallies`` are by name of the plugin. The trace goes to standard error where ``POPTRIO_TRACE_HOOKS`` is 1.
    """

    def __init__(self, timeout: float) -> None:
        self.tallies: defaultdict[str, PluginTally] = defaultdict(PluginTally)
        self.timeout = timeout
        self._trace = os.environ.get("POPTRIO_TRACE_HOOKS") == "1"

    async def answer(self, plugin: Plugin, hook: str, types: tuple[type, ...], arguments: Mapping[str, Any]) -> Any:
        """One plugin's answer about the call in ``arguments``: one of ``types``, or None. Raises `PluginFailed`."""
        call: CallInfo = arguments["call"]
        known = {"plugin": plugin.name, "hook": hook, "session": call.session_id, "peer": call.peer}
        try:
            answer = await self.ask(plugin, hook, call.session_id, arguments, self.timeout)
        except trio.TooSlowError:
            log.error("plugin too slow", **known, seconds=self.timeout, exc_info=True)
            raise PluginFailed(f"plugin {plugin.name} did not answer in time") from None
        except BaseException as error:
            pass_on(error)
            log.exception("plugin failed", **known)
            sentence = f"plugin {plugin.name} failed with {type(error).__name__}; the traceback is in the log"
            raise PluginFailed(sentence) from None
        if answer is not None and not isinstance(answer, types):
            log.error("plugin answered with a wrong type", **known, type=type(answer).__name__)
            raise PluginFailed(wrong_type(plugin, hook, answer))
        return answer

    async def ask(
        self, plugin: Plugin, hook: str, subject: str, arguments: Mapping[str, object], seconds: float
    ) -> object:
        """Whatever one plugin answers within ``seconds``; a raised `NoAddress` is an answer."""
        begun = time.perf_counter()
        try:
            with trio.fail_after(seconds):
                answer: object = await plugin.call(hook, arguments)  # type: ignore[misc]  # loading made sure of it
        except NoAddress as refusal:
            answer = refusal
        except BaseException as error:
            pass_on(error)
            self.tallies[plugin.name].failed(hook, time.perf_counter() - begun, error)
            self.trace(subject, plugin, hook, begun, error)
            raise
        self.tallies[plugin.name].answered(hook, time.perf_counter() - begun, answer)
        self.trace(subject, plugin, hook, begun, answer)
        return answer

    def trace(self, subject: str, plugin: Plugin, hook: str, begun: float, answer: object) -> None:
        """Print what came of asking since ``begun`` (`time.perf_counter`), if anybody wants to know."""
        if self._trace:
            milliseconds = (time.perf_counter() - begun) * 1000
            line = f"hook {hook} {subject} {plugin.name}: {_traced(answer)} {milliseconds:.1f} ms"
            with suppress(OSError, ValueError):  # nobody reads it any more: the answer counts all the same
                print(escape(line), file=sys.stderr)


def wrong_type(plugin: Plugin, hook: str, answer: object) -> str:
    """The sentence about an answer that is none."""
    return f"plugin {plugin.name} answered with a {type(answer).__name__}, which is no answer to {hook}"


def _traced(answer: object) -> str:
    """An answer in the words of a trace: enough to follow a decision, never a key or a message of an exception."""
    match answer:
        case Accept(user=user):
            return f"accept {user!r}"
        case Reject(reason=reason, code=code):
            return f"reject E={code} {reason!r}"
        case Challenge():
            return "challenge"
        case LocalEap(methods):
            return f"local EAP {' or '.join(methods)}"
        case Unavailable(reason):
            return f"unavailable {reason!r}"
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
