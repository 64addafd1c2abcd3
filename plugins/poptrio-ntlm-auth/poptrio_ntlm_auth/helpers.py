"""A bounded number of helpers that stay: one question at a time each, replaced when they die or fall out of step."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from poptrio_ntlm_auth.line_protocol import Answer, read_answer


class HelperDied(Exception):
    """The helper ended, or could not be started; the message says which."""


class Helper(Protocol):
    """One helper that runs."""

    async def ask(self, question: bytes) -> bytes:
        """Its answer, up to and with the last line. Raises `HelperDied`, and ``BadAnswer`` if it does not end."""

    def kill(self) -> None:
        """End it now."""


class Helpers:
    """Up to ``limit`` helpers, each made by ``start`` when it is first needed.

    ``answers``, ``starts`` and ``failures`` (questions that got none, or were given up) are counted since the start;
    ``busy`` helpers have a question just now, and ``last_failed`` says whether the last one got no answer.
    """

    def __init__(self, start: Callable[[], Awaitable[Helper]], limit: int) -> None:
        self._start = start
        self.limit = limit
        self.answers = 0
        self.starts = 0
        self.failures = 0
        self.busy = 0
        self.last_failed = False
        self._turns = trio.Semaphore(limit)
        self._idle: list[Helper] = []
        self._questions = 0  # that have a helper, or wait for one
        self._retired = False

    @property
    def idle(self) -> int:
        """Helpers that have no question."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Questions that wait for a helper."""
        return self._turns.statistics().tasks_waiting

    async def ask(self, question: bytes) -> Answer:
        """The answer of a free helper, waiting for one. Raises `HelperDied` and `BadAnswer`.

        A helper that died since its last question is replaced at once; one that was still busy when the caller gave
        up would answer the wrong question next, so it is killed.
        """
        self._questions += 1
        try:
            async with self._turns:
                self.busy += 1
                answered = False
                try:
                    answer = await self._answer(question)
                    answered = True
                    return answer
                finally:
                    self.answers += answered
                    self.failures += not answered
                    self.last_failed = not answered
                    self.busy -= 1
        finally:
            self._questions -= 1
            self._end_when_done()

    def retire(self) -> None:
        """Take no more questions, and end all helpers when those that there are have their answers."""
        self._retired = True
        self._end_when_done()

    def kill_idle(self) -> None:
        """End all that have no question."""
        while self._idle:
            self._idle.pop().kill()

    def _end_when_done(self) -> None:
        if self._retired and not self._questions:
            self.kill_idle()

    async def _answer(self, question: bytes) -> Answer:
        if self._idle:
            try:
                return await self._ask(self._idle.pop(), question)
            except HelperDied:
                self.kill_idle()  # what killed one has likely killed the others
        self.starts += 1
        return await self._ask(await self._start(), question)

    async def _ask(self, helper: Helper, question: bytes) -> Answer:
        in_step = False
        try:
            answer = read_answer(await helper.ask(question))
            in_step = True
            return answer
        finally:
            if in_step:
                self._idle.append(helper)
            else:
                helper.kill()
