"""The delay after failed authentications: alone, and in calls where it can be measured."""

import re
from functools import partial
from ipaddress import IPv4Address

import pytest
import trio
import trio.testing

from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.frames import Code, Protocol
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.server.throttle import FORGET_AFTER, MOST_JUDGED, MOST_REMEMBERED, Throttle, TooManyAttempts
from poptrio.testing.server import memory_server

HERE, THERE = IPv4Address("203.0.113.9"), IPv4Address("203.0.113.10")


async def judge(throttle, address, user, *, good, seconds=0.0):
    """One attempt that takes ``seconds`` to judge; how long it waited."""
    begun = trio.current_time()
    async with throttle.attempt(address, user):
        waited = trio.current_time() - begun
        await trio.sleep(seconds)
        (throttle.succeeded if good else throttle.failed)(address, user)
    return waited


class Crowd:
    """Attempts at the same time: ``judged`` are when each was judged, ``refused`` how many were not."""

    def __init__(self):
        self.judged = []
        self.refused = 0
        self.most_at_once = 0
        self._at_once = 0

    async def guess(self, throttle, address, user, seconds=0.1):
        try:
            async with throttle.attempt(address, user):
                self.judged.append(trio.current_time())
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                await trio.sleep(seconds)
                self._at_once -= 1
                throttle.failed(address, user)
        except TooManyAttempts:
            self.refused += 1


async def test_it_grows_and_is_capped(autojump_clock):
    throttle = Throttle(0.5, 8.0)
    waited = [await judge(throttle, HERE, "u", good=False) for _ in range(8)]
    assert waited == [0, 0.5, 1, 2, 4, 8, 8, 8]


async def test_the_worst_key_counts(autojump_clock):
    throttle = Throttle(0.5, 8.0)
    throttle.failed(HERE, "u")
    throttle.failed(THERE, "u")
    assert await judge(throttle, HERE, "u", good=True) == 1.0
    throttle.failed(HERE, "w")
    assert await judge(throttle, HERE, "v", good=True) == 0.5
    assert await judge(throttle, IPv4Address("203.0.113.11"), "v", good=True) == 0.0


async def test_it_is_gone_after_a_while(autojump_clock):
    throttle = Throttle(0.5, 8.0)
    throttle.failed(HERE, "u")
    await trio.sleep(FORGET_AFTER)
    assert await judge(throttle, HERE, "v", good=False) == 0.5
    await trio.sleep(FORGET_AFTER + 1)
    assert await judge(throttle, HERE, "v", good=True) == 0.0
    throttle.failed(THERE, "w")
    assert set(throttle._records) == {f"address {THERE}", "user w"}


async def test_a_success_frees_the_user_and_forgives_the_address_one_failure(autojump_clock):
    throttle = Throttle(0.5, 8.0)
    for number in range(4):
        throttle.failed(HERE, f"u{number % 2}")
    await judge(throttle, HERE, "u0", good=True)
    assert await judge(throttle, THERE, "u0", good=True) == 0.0
    assert await judge(throttle, THERE, "u1", good=True) == 1.0
    assert await judge(throttle, HERE, "own", good=True) == 2.0


async def test_a_sprayer_with_an_account_of_its_own_is_not_freed(autojump_clock):
    throttle = Throttle(0.5, 8.0)
    for number in range(20):
        throttle.failed(HERE, f"u{number}")
    waited = []
    for number in range(5):
        await judge(throttle, HERE, "own", good=True)
        waited.append(await judge(throttle, HERE, f"v{number}", good=False))
    assert waited == [8.0] * 5


async def test_parallel_guesses_at_a_user_stand_in_line(autojump_clock, nursery):
    throttle, crowd = Throttle(0.5, 8.0), Crowd()
    throttle.failed(THERE, "u")
    for number in range(60):
        nursery.start_soon(crowd.guess, throttle, IPv4Address("203.0.113.100") + number % 8, "u")
    await trio.sleep(60)
    assert crowd.judged == [0.5, 1.5, 3.5, 7.5, 15.5, 23.5]
    assert crowd.refused == 54


async def test_before_the_first_failure_a_few_at_a_time_for_a_user(autojump_clock, nursery):
    throttle, crowd = Throttle(0.5, 8.0), Crowd()
    for number in range(60):
        nursery.start_soon(crowd.guess, throttle, HERE + number, "u")
    await trio.sleep(600)
    assert crowd.judged[: MOST_JUDGED + 1] == [0, 0, 0, 0, pytest.approx(4.1)]
    assert crowd.most_at_once == MOST_JUDGED
    assert len(crowd.judged) < 12


async def test_who_has_its_turn_waits_until_the_one_before_is_judged(autojump_clock, nursery):
    throttle, crowd = Throttle(0.5, 8.0), Crowd()
    throttle.failed(HERE, "u")
    for _ in range(3):
        nursery.start_soon(crowd.guess, throttle, HERE, "u", 10.0)
    await trio.sleep(60)
    assert crowd.judged == [0.5, 10.5, 20.5]


async def test_guesses_at_many_users_from_one_address(autojump_clock, nursery):
    throttle, crowd = Throttle(0.5, 8.0), Crowd()
    for number in range(6):
        throttle.failed(HERE, f"u{number}")
    for number in range(60):
        nursery.start_soon(crowd.guess, throttle, HERE, f"v{number}")
    await trio.sleep(60)
    assert crowd.judged == [8, 16]
    assert crowd.refused == 58


async def test_an_address_alone_cannot_keep_a_user_out(autojump_clock, nursery):
    throttle, crowd = Throttle(0.5, 8.0), Crowd()
    for _ in range(10):
        throttle.failed(HERE, "u")
    for _ in range(60):
        nursery.start_soon(crowd.guess, throttle, HERE, "u")
    await trio.testing.wait_all_tasks_blocked()
    assert await judge(throttle, THERE, "u", good=True) == 24.0


async def test_an_office_behind_one_address_is_not_held_up(autojump_clock, nursery):
    throttle = Throttle(0.5, 8.0)
    waited = []

    async def dial(number):
        waited.append(await judge(throttle, HERE, f"u{number}", good=True, seconds=1.0))

    for number in range(50):
        nursery.start_soon(dial, number)
    await trio.sleep(2)
    assert waited == [0.0] * 50
    assert throttle._records == {}


async def test_who_hangs_up_in_the_line_leaves_nothing(autojump_clock):
    throttle = Throttle(0.5, 8.0)
    throttle.failed(HERE, "u")
    with trio.move_on_after(0.1):
        await judge(throttle, HERE, "u", good=True)
    assert await judge(throttle, HERE, "u", good=True) == pytest.approx(0.9)
    assert throttle._records == {}


async def test_off(autojump_clock):
    throttle = Throttle(0.0, 8.0)
    assert [await judge(throttle, HERE, "u", good=False) for _ in range(100)] == [0.0] * 100


async def test_memory_is_bounded_and_the_oldest_goes_first(autojump_clock):
    throttle = Throttle(0.5, 8.0)
    for number in range(MOST_REMEMBERED + 10):
        throttle.failed(HERE, f"{number}" + 65_000 * "x" * (number == 5))
        throttle.failed(HERE, "3")
    assert len(throttle._records) == MOST_REMEMBERED
    assert "user 4" not in throttle._records
    assert throttle._records["user 3"].failures > MOST_REMEMBERED


async def test_a_long_name_makes_a_short_key(autojump_clock):
    throttle = Throttle(0.5, 8.0)
    throttle.failed(HERE, "x" * 65_000)
    assert max(map(len, throttle._records)) < 300


async def seconds_of(memory, *args, **kwargs):
    begun = trio.current_time()
    call = await memory.dial(*args, **kwargs)
    seconds = trio.current_time() - begun
    await call.client.close()
    return call, seconds


async def test_who_guesses_waits_and_nobody_else(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        seconds = [(await seconds_of(memory, "alice", f"guess {number}"))[1] for number in range(4)]
        assert seconds == [0, 0.5, 1, 2]
        call, waited = await seconds_of(memory, "bob", "battery staple", peer=IPv4Address("203.0.113.77"))
        assert (call.address is not None, waited) == (True, 0)

        results = {}

        async def dial(name, *args, **kwargs):
            results[name] = await seconds_of(memory, *args, **kwargs)

        async with trio.open_nursery() as nursery:  # while one waits, the others do not
            nursery.start_soon(dial, "guesser", "alice", "guess")
            nursery.start_soon(lambda: dial("bob", "bob", "battery staple", peer=IPv4Address("203.0.113.78")))
        assert (results["guesser"][1], results["bob"][1]) == (4, 0)

        call, waited = await seconds_of(memory, "alice", "correct horse")
        assert (call.address is not None, waited) == (True, 8)
        _, waited = await seconds_of(memory, "alice", "correct horse")
        assert waited == 4  # the address is forgiven one failure with each success
        _, waited = await seconds_of(memory, "alice", "correct horse", peer=IPv4Address("203.0.113.79"))
        assert waited == 0
        await trio.sleep(10)
        assert memory.leftovers() == []


async def test_guesses_of_many_calls_at_once(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        await seconds_of(memory, "alice", "guess")
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(seconds_of, memory, "alice", "guess")
        assert len(backend.asked) == 1 + 6
        throttled = [line for line in log.ends() if "throttled" in line["why"]]
        assert len(throttled) == 24
        assert {line["cause"] for line in throttled} == {"authentication-failed"}


async def test_a_later_challenge_is_answered_while_others_guess(backend, log, autojump_clock):
    async with memory_server("[ppp]\nauthentication_interval = 30.0", [backend]) as memory:
        call = await memory.dial()
        for _ in range(10):
            memory.authority.throttle.failed(THERE, "alice")
        await trio.sleep(35)
        assert [when for when, _ in backend.asked] == [0, 30]
        assert not call.over.is_set()


async def test_a_plugin_that_fails_is_no_guess(backend, autojump_clock):
    async def fail():
        raise OSError("the directory is down")

    async with memory_server(plugins=[backend]) as memory:
        backend.before_authenticate = fail
        for _ in range(3):
            _, waited = await seconds_of(memory)
            assert waited == 0
    assert memory.authority.throttle._records == {}


@pytest.mark.parametrize("protocol", ["mschap-v2", "mschap-v1", "chap-md5", "pap"])
async def test_an_unknown_user_and_a_wrong_password_look_the_same(protocol, backend, autojump_clock):
    settings = SessionSettings(
        authentication=(AuthProtocol.from_label(protocol),), encryption=EncryptionPolicy("refuse")
    )
    config = f'[ppp]\nauthentication = ["{protocol}"]\nencryption = "refuse"\n[authentication]\nfailure_delay = 0.0'
    async with memory_server(config, [backend]) as memory:
        calls = [await memory.dial(user, "wrong", settings=settings) for user in ("alice", "carol")]
        for call in calls:
            await call.client.close()
        await trio.sleep(5)
        known, unknown = calls
        assert known.cause is unknown.cause is not None
        assert without_random(known.frames) == without_random(unknown.frames) != []


def without_random(frames):
    """What the server sent after LCP, without identifiers, challenges and Magic-Numbers."""
    after_lcp = [frame for frame in frames if frame[:2] != LCP or frame[2] == Code.TERMINATE_REQUEST]
    return [RANDOM.sub(b"", frame[:3] + frame[4:]) for frame in after_lcp]


LCP = Protocol.LCP.to_bytes(2, "big")
RANDOM = re.compile(rb"(?<=\xc2\x23\x01\x00.[\x08\x10]).{8,16}(?=poptrio)|(?<=C=)[0-9A-F]+", re.S)


async def test_who_waits_and_who_is_refused_is_counted(nursery, autojump_clock):
    throttle = Throttle(1.0, 4.0)
    throttle.failed(HERE, "alice")
    assert (throttle.waiting, throttle.too_many) == (0, 0)
    nursery.start_soon(partial(judge, throttle, HERE, "alice", good=True))
    await trio.testing.wait_all_tasks_blocked()
    assert throttle.waiting == 1
    crowd = Crowd()
    async with trio.open_nursery() as guesses:
        for _ in range(30):
            guesses.start_soon(crowd.guess, throttle, HERE, "alice")
    assert throttle.waiting == 0
    assert throttle.too_many == crowd.refused > 0
