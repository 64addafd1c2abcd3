"""The conversation of parent and worker: order, answers in any order, withdrawal, and the end."""

from dataclasses import dataclass

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from poptrio.workers.channel import LATER, Channel, ChannelError


@dataclass(frozen=True)
class Word:
    text: str


class End:
    def __init__(self, stream):
        self.told = []
        self.questions = []
        self.sizes = []
        self.stream = stream
        self.channel = Channel(stream, self.told.append, self.questions.append)
        self.over = trio.Event()

    async def run(self):
        await self.channel.run()
        self.over.set()


async def two_ends(nursery):
    ends = [End(stream) for stream in memory_stream_pair()]
    for end in ends:
        nursery.start_soon(end.run)
    await wait_all_tasks_blocked()
    return ends


async def test_messages_arrive_in_their_order(nursery):
    here, there = await two_ends(nursery)
    for number in range(5):
        here.channel.tell(Word(str(number)))
    await wait_all_tasks_blocked()
    there.channel.tell(Word("back"))
    await wait_all_tasks_blocked()
    assert there.told == [Word(str(number)) for number in range(5)]
    assert here.told == [Word("back")]


async def test_what_may_wait_goes_with_what_may_not(nursery, mock_clock):
    here, there = await two_ends(nursery)
    here.channel.tell_later(Word("first"))
    await wait_all_tasks_blocked()
    assert there.told == []
    here.channel.tell(Word("second"))
    await wait_all_tasks_blocked()
    assert there.told == [Word("first"), Word("second")]
    here.channel.tell_later(Word("third"))
    mock_clock.jump(LATER)
    await wait_all_tasks_blocked()
    assert there.told[2:] == [Word("third")]


async def test_questions_are_answered_out_of_order(nursery):
    here, there = await two_ends(nursery)
    answers = {}

    async def ask(text):
        answers[text] = await here.channel.ask(Word(text))

    for text in ("one", "two"):
        nursery.start_soon(ask, text)
    await wait_all_tasks_blocked()
    first, second = sorted(there.questions, key=lambda question: question.message.text)
    second.answer(Word("TWO"))
    await wait_all_tasks_blocked()
    assert answers == {"two": Word("TWO")}
    first.answer(None)
    await wait_all_tasks_blocked()
    assert answers == {"one": None, "two": Word("TWO")}


async def test_a_question_that_is_cancelled_is_withdrawn(nursery):
    here, there = await two_ends(nursery)
    with trio.CancelScope() as scope:
        nursery.start_soon(cancel_soon, scope)
        await here.channel.ask(Word("?"))
    await wait_all_tasks_blocked()
    (question,) = there.questions
    assert question.scope.cancel_called
    question.answer(Word("too late"))
    await wait_all_tasks_blocked()
    assert here.told == there.told == []
    assert not here.channel._awaited
    assert not there.channel._open


async def cancel_soon(scope):
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_an_end_that_finishes_has_said_everything(nursery):
    here, there = await two_ends(nursery)
    here.channel.tell_later(Word("last"))
    here.channel.finish()
    await here.over.wait()
    await here.stream.aclose()
    await there.over.wait()
    assert there.told == [Word("last")]


async def test_the_end_of_the_other_side_withdraws_its_questions(nursery):
    here, there = await two_ends(nursery)
    with trio.CancelScope() as scope:
        nursery.start_soon(cancel_soon, scope)
        await here.channel.ask(Word("?"))
    nursery.start_soon(here.channel.ask, Word("and?"))
    await wait_all_tasks_blocked()
    await here.stream.aclose()
    await there.over.wait()
    assert all(question.scope.cancel_called for question in there.questions)
    nursery.cancel_scope.cancel()


async def test_frames_in_any_pieces(nursery):
    """What a stream gives at once need not be a frame."""
    ours, theirs = memory_stream_pair()
    there = End(theirs)
    nursery.start_soon(there.run)
    sent = bytearray()

    class Tap(trio.abc.Stream):
        async def send_all(self, data):
            sent.extend(data)

        async def wait_send_all_might_not_block(self):
            pass

        async def receive_some(self, max_bytes=None):
            await trio.sleep_forever()

        async def aclose(self):
            pass

    here = Channel(Tap(), lambda message: None, lambda question: None)
    nursery.start_soon(here.run)
    for text in ("a", "b" * 1000):
        here.tell(Word(text))
        await wait_all_tasks_blocked()
    for start in range(0, len(sent), 7):
        await ours.send_all(bytes(sent[start : start + 7]))
        await wait_all_tasks_blocked()
    assert [word.text[0] for word in there.told] == ["a", "b"]
    nursery.cancel_scope.cancel()


async def test_a_question_that_cannot_be_carried_is_the_askers_fault_and_nobody_elses(nursery):
    here, there = await two_ends(nursery)
    caught = []

    async def ask():
        with pytest.raises(ChannelError, match="function cannot be carried to another process"):
            await here.channel.ask(lambda: None)
        caught.append(True)

    with capture_logs() as logs:
        nursery.start_soon(ask)
        here.channel.tell(Word("told at the same time"))
        await wait_all_tasks_blocked()
    assert caught == [True]
    assert there.told == [Word("told at the same time")]
    assert there.questions == []
    assert [entry["event"] for entry in logs] == ["internal error"]
