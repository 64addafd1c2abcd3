"""The delay after failed authentications: alone, and in calls where it can be measured."""

import re
from ipaddress import IPv4Address

import pytest
import trio

from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.frames import Code, Protocol
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.server.throttle import FORGET_AFTER, MOST_REMEMBERED, Throttle
from poptrio.testing.server import memory_server


def delay(throttle, *keys, now=0.0):
    with throttle.attempt(*keys, now=now) as seconds:
        return seconds


def test_it_grows_and_is_capped():
    throttle = Throttle(0.5, 8.0)
    delays = []
    for _ in range(8):
        delays.append(delay(throttle, "address a"))
        throttle.failed("address a", now=0.0)
    assert delays == [0, 0.5, 1, 2, 4, 8, 8, 8]


def test_the_worst_key_counts():
    throttle = Throttle(0.5, 8.0)
    throttle.failed("address a", now=0.0)
    throttle.failed("user u", now=0.0)
    throttle.failed("user u", now=0.0)
    assert delay(throttle, "address a", "user u") == 1.0
    assert delay(throttle, "address a", "user v") == 0.5
    assert delay(throttle, "address b", "user v") == 0.0


def test_it_is_gone_after_a_success_and_after_a_while():
    throttle = Throttle(0.5, 8.0)
    for key in ("address a", "address b"):
        throttle.failed(key, now=0.0)
    throttle.succeeded("address a")
    assert delay(throttle, "address a") == 0.0
    assert delay(throttle, "address b", now=FORGET_AFTER) == 0.5
    assert delay(throttle, "address b", now=FORGET_AFTER + 1) == 0.0


def test_parallel_attempts_wait_for_each_other():
    throttle = Throttle(0.5, 8.0)
    throttle.failed("user u", now=0.0)
    with throttle.attempt("user u", now=0.0) as first, throttle.attempt("user u", now=0.0) as second:
        assert (first, second) == (0.5, 1.0)
    assert delay(throttle, "user u") == 0.5


def test_off():
    throttle = Throttle(0.0, 8.0)
    for _ in range(100):
        throttle.failed("user u", now=0.0)
    assert delay(throttle, "user u") == 0.0


def test_memory_is_bounded_and_the_oldest_goes_first():
    throttle = Throttle(0.5, 8.0)
    for number in range(MOST_REMEMBERED + 10):
        throttle.failed(f"user {number}", now=0.0)
        throttle.failed("user 3", now=0.0)
    assert len(throttle._records) == MOST_REMEMBERED
    assert delay(throttle, "user 3") == 8.0
    assert delay(throttle, "user 4") == 0.0


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
        assert waited == 0
        await trio.sleep(10)
        assert memory.leftovers() == []


async def test_a_plugin_that_fails_is_no_guess(backend, autojump_clock):
    async def fail():
        raise OSError("the directory is down")

    async with memory_server(plugins=[backend]) as memory:
        backend.before_authenticate = fail
        for _ in range(3):
            _, waited = await seconds_of(memory)
            assert waited == 0
    assert memory.server.throttle._records == {}


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
