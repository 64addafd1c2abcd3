"""How many calls a user may have: counted over his names, from the moment he is accepted, refused or replaced."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.testing.server import memory_server

REFUSE = "[sessions]\nlimit = 1"
REPLACE = f'{REFUSE}\nat_limit = "replace"'


async def test_one_more_is_refused_and_the_first_stays(backend, log, autojump_clock):
    async with memory_server(REFUSE, [backend]) as memory:
        first = await memory.dial()
        second = await memory.dial()
        assert second.address is None
        assert not first.over.is_set()
        bob = await memory.dial("bob", "battery staple")
        assert bob.address is not None
    ends = [line["cause"] for line in log.ends()]
    assert ends == ["too-many-sessions", "server-shutdown", "server-shutdown"]
    assert "alice has 1 of 1 sessions" in log.ends()[0]["why"]


async def test_the_place_is_free_when_the_call_has_ended(backend, autojump_clock):
    async with memory_server(REFUSE, [backend]) as memory:
        first = await memory.dial()
        await first.hang_up()
        await wait_all_tasks_blocked()
        assert (await memory.dial()).address is not None


async def test_the_oldest_call_makes_place_and_has_given_back_its_address_before(backend, log, autojump_clock):
    seen = []

    async def released_so_far():
        seen.append(list(backend.released))

    backend.before_allocate = released_so_far
    async with memory_server(REPLACE, [backend]) as memory:
        first = await memory.dial()
        second = await memory.dial()
        assert first.over.is_set()
        assert second.address is not None
    assert seen == [[], [first.address]]
    assert log.ends()[0]["cause"] == "replaced"
    assert backend.kinds() == ["start", "stop", "start", "stop"]


@pytest.mark.parametrize(("limit", "up"), [(2, 2), (0, 3)])
async def test_a_plugin_decides_otherwise(limit, up, backend, autojump_clock):
    backend.accept = {"session_limit": limit}
    async with memory_server(REFUSE, [backend]) as memory:
        calls = [await memory.dial() for _ in range(3)]
        assert sum(call.address is not None for call in calls) == up


async def test_all_names_of_a_user_are_his(backend, autojump_clock):
    backend.accept = {"aliases": ("person-7",)}
    async with memory_server(REFUSE, [backend]) as memory:
        assert (await memory.dial()).address is not None
        assert (await memory.dial("bob", "battery staple")).address is None
        assert (await memory.dial("HOME\\alice")).address is None


async def test_case_makes_no_other_user(backend, autojump_clock):
    async with memory_server(REFUSE, [backend]) as memory:
        assert (await memory.dial()).address is not None
        backend.accept = {"user": "ALICE"}
        assert (await memory.dial("bob", "battery staple")).address is None


async def test_equal_names_in_domains_with_their_own_plugins_are_two_people(backend, autojump_clock):
    config = REFUSE + '\n[authentication.domains.NORTH]\nplugins = ["north"]\n'
    async with memory_server(config, {"south": backend, "north": type(backend)()}) as memory:
        assert (await memory.dial("alice")).address is not None
        assert (await memory.dial("NORTH\\alice")).address is not None
        assert (await memory.dial("north\\alice")).address is None


async def test_two_at_the_same_instant_are_not_both_let_in(backend, autojump_clock):
    async def a_second():
        await trio.sleep(1)

    backend.before_authenticate = a_second
    calls = []
    async with memory_server(REFUSE, [backend]) as memory:

        async def dial():
            calls.append(await memory.dial())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial)
            nursery.start_soon(dial)
        assert sorted(call.address is not None for call in calls) == [False, True]


async def test_nothing_is_left_of_refused_and_replaced_calls(backend, autojump_clock):
    async with memory_server(REPLACE, [backend]) as memory:
        for _ in range(4):
            call = await memory.dial()
        await call.hang_up()
        await wait_all_tasks_blocked()
        sessions = memory.authority.sessions
        assert (list(sessions), sessions._counted, sessions._up_by_name, sessions._entered) == ([], {}, {}, {})
