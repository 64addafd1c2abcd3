"""What the plugin tells operators of its helpers."""

import pytest
import trio

from poptrio_ntlm_auth.helpers import HelperDied, Helpers
from poptrio_ntlm_auth.metrics import METRICS, health, measurements
from poptrio_ntlm_auth.plugin import NtlmAuth

YES = b"Authenticated: Yes\n.\n"


class FakeHelper:
    """Gives ``answers`` one by one; None is silence, an exception is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def ask(self, question):
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0)
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self):
        pass


class Workshop:
    """Makes the given helpers, in their order."""

    def __init__(self, *helpers):
        self.helpers = list(helpers)

    async def __call__(self):
        await trio.lowlevel.checkpoint()
        return self.helpers.pop(0)


def told(helpers):
    return {one.metric.name: one.value for one in measurements(helpers)}


async def test_answers_failures_and_starts():
    helpers = Helpers(Workshop(FakeHelper(YES, YES), FakeHelper(HelperDied("gone"))), 2)
    assert health(helpers).sentence == "nothing was asked yet"
    for _ in range(2):
        await helpers.ask(b"x")
    assert health(helpers).ok
    helpers.kill_idle()
    with pytest.raises(HelperDied):
        await helpers.ask(b"x")
    values = told(helpers)
    assert (values["answers"], values["failures"], values["helper_starts"], values["helpers_idle"]) == (2, 1, 2, 0)
    assert not health(helpers).ok
    assert "wbinfo" in health(helpers).remedy


async def test_busy_helpers_and_questions_that_wait(autojump_clock):
    helpers = Helpers(Workshop(FakeHelper(None), FakeHelper(None)), 2)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(helpers.ask, b"x")
        await trio.sleep(1)
        values = told(helpers)
        assert (values["helpers_busy"], values["questions_waiting"], values["helpers_max"]) == (2, 1, 2)
        nursery.cancel_scope.cancel()
    assert told(helpers)["helpers_busy"] == 0


def test_everything_that_is_told_is_in_the_table():
    assert {one.metric for one in measurements(Helpers(Workshop(), 1))} == set(METRICS)
    assert list(NtlmAuth().poptrio_measurements()) == []
    assert NtlmAuth().poptrio_health() is None
