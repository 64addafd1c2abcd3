"""CHAP challenges during a call (RFC 1994 §2), and who may answer them."""

from functools import partial

import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.testing.server import memory_server

EVERY_MINUTE = "[ppp]\nauthentication_interval = 60.0"


def become(call, username, password):
    """From the next challenge on, the client answers as somebody else."""
    peer = call.session.authentication
    peer._name = peer._prover._name = username.encode()
    peer._prover.password = password


async def test_the_same_user_goes_on(backend, log, autojump_clock):
    async with memory_server(EVERY_MINUTE, [backend]) as memory:
        call = await memory.dial()
        await trio.sleep(185)
        assert [when for when, _ in backend.asked] == [0, 60, 120, 180]
        call.send_ip(b"still the same keys")
        await wait_all_tasks_blocked()
        (ours,) = memory.server.registry.calls.values()
        assert len(ours.path.delivered) == 1
    assert len(backend.leased) == 1
    assert backend.kinds() == ["start", "stop"]


async def test_another_user_ends_the_call(backend, log, autojump_clock):
    async with memory_server(EVERY_MINUTE, [backend]) as memory:
        call = await memory.dial()
        become(call, "bob", "battery staple")
        await call.over.wait()
        assert trio.current_time() == 60
    (line,) = log.ends()
    assert (line["cause"], line["user"]) == ("authentication-failed", "alice")
    assert "answered a later challenge as bob, not as alice" in line["why"]


async def test_a_wrong_password_ends_the_call(backend, log, autojump_clock):
    async with memory_server(EVERY_MINUTE, [backend]) as memory:
        call = await memory.dial()
        become(call, "alice", "forgotten")
        await call.over.wait()
        assert trio.current_time() == 60
    assert log.ends()[0]["cause"] == "authentication-failed"


async def test_the_call_ends_while_the_plugin_thinks(backend, log, autojump_clock):
    async with memory_server(EVERY_MINUTE, [backend]) as memory:
        call = await memory.dial()
        backend.before_authenticate = trio.sleep_forever
        await trio.sleep(65)
        await call.hang_up()
        await call.client.close()
        await trio.sleep(1)
        assert memory.leftovers() == []
    assert log.ends()[0]["cause"] == "client-hung-up"


async def test_requests_that_a_new_lcp_has_overtaken_are_not_asked(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        backend.before_authenticate = partial(trio.sleep, 5)
        client = await memory.connect()
        await client.start()
        call = await client.request_call()
        for _ in range(4):
            await wait_all_tasks_blocked()
            # A Configure-Request takes LCP down and the authentication with it (RFC 1661 §4.1, state Opened).
            lcp = call.session.lcp
            lcp.down(trio.current_time())
            lcp.up(trio.current_time())
            call._driver.do(call.session._settle, trio.current_time())
        await call.settled()
        assert call.address is not None
        assert len(backend.asked) == 2
