"""Every way a call can end, at every step: afterwards nothing is left of it, and everybody was told once."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.protocols.ppp.frames import Protocol
from poptrio.protocols.pptp.codes import Bearer, Framing
from poptrio.protocols.pptp.messages import CallClearRequest, OutgoingCallRequest, StopControlConnectionRequest
from poptrio.testing.client import EVERYTHING
from poptrio.testing.server import memory_server

STEPS = ("accepted", "started", "requested", "lcp", "authenticate", "allocate", "ccp", "up")

LOST, HUNG_UP, BROKEN, STOPPED = "control-connection-lost", "client-hung-up", "protocol-error", "server-shutdown"
NO_LCP, NO_ECHO = "lcp-timeout", "lcp-echo-timeout"
NO_PLUGIN, NO_ADDRESS, IN_CLEAR = "authentication-unavailable", "address-unavailable", "encryption-not-agreed"
NOBODY = "no call to end"  # but a control connection
NEVER = None  # this cannot happen at this step

TABLE = {
    # how it ends      accepted started  requested  lcp      authenticate  allocate     ccp       up
    "eof":            (NOBODY,  NOBODY,  LOST,      LOST,    LOST,         LOST,        LOST,     LOST),
    "reset":          (NOBODY,  NOBODY,  LOST,      LOST,    LOST,         LOST,        LOST,     LOST),
    "silence":        (NOBODY,  NOBODY,  NO_LCP,    NO_LCP,  NO_PLUGIN,    NO_ADDRESS,  IN_CLEAR, NO_ECHO),
    "stop request":   (NOBODY,  NOBODY,  HUNG_UP,   HUNG_UP, HUNG_UP,      HUNG_UP,     HUNG_UP,  HUNG_UP),
    "clear request":  (NEVER,   NEVER,   HUNG_UP,   HUNG_UP, HUNG_UP,      HUNG_UP,     HUNG_UP,  HUNG_UP),
    "terminate":      (NEVER,   NEVER,   HUNG_UP,   HUNG_UP, HUNG_UP,      HUNG_UP,     IN_CLEAR, HUNG_UP),
    "protocol error": (NOBODY,  NOBODY,  BROKEN,    BROKEN,  BROKEN,       BROKEN,      BROKEN,   BROKEN),
    "hook raises":    (NEVER,   NEVER,   NEVER,     NEVER,   NO_PLUGIN,    NO_ADDRESS,  NEVER,    NEVER),
    "hook hangs":     (NEVER,   NEVER,   NEVER,     NEVER,   NO_PLUGIN,    NO_ADDRESS,  NEVER,    NEVER),
    "server stop":    (NOBODY,  NOBODY,  STOPPED,   STOPPED, STOPPED,      STOPPED,     STOPPED,  STOPPED),
    "second stop":    (NOBODY,  NOBODY,  STOPPED,   STOPPED, STOPPED,      STOPPED,     STOPPED,  STOPPED),
    "cancelled":      (NOBODY,  NOBODY,  STOPPED,   STOPPED, STOPPED,      STOPPED,     STOPPED,  STOPPED),
}  # fmt: skip

TERMINATE_REQUEST = bytes.fromhex("ff03 c021 05 01 0004")


LONG_ENOUGH = 300.0
STOP = StopControlConnectionRequest(reason=1).encode()
REQUEST = OutgoingCallRequest(
    call_id=7,
    call_serial_number=0,
    minimum_bps=300,
    maximum_bps=100_000_000,
    bearer_type=Bearer.ANY,
    framing_type=Framing.ANY,
    packet_window_size=64,
).encode()


async def bring_to(step, client, backend, hold):
    """Let the client come as far as ``step``, and stop there; its call, if there is one already."""
    if step == "accepted":
        return None
    await client.start()
    if step == "started":
        return None
    if step == "authenticate":
        backend.before_authenticate = hold
    if step == "allocate":
        backend.before_allocate = hold
    deaf_to = {"requested": EVERYTHING, "lcp": frozenset({Protocol.LCP}), "ccp": frozenset({Protocol.CCP})}
    call = await client.request_call(deaf_to=deaf_to.get(step, frozenset()))
    if step == "up":
        await call.up.wait()
    await wait_all_tasks_blocked()
    assert not call.over.is_set()
    return call


async def end_it(end, memory, client, call, let_go):
    """Do what ends the call."""
    match end:
        case "eof":
            await client.close()
        case "reset":
            await client.reset()
        case "silence":
            if call is not None:
                call.deaf_to = EVERYTHING
        case "hook hangs":
            pass
        case "hook raises":
            let_go.set()
        case "stop request":
            await client.send(STOP)
        case "clear request":
            await client.clear_call(call)
        case "terminate":
            call.path.send_frame(TERMINATE_REQUEST)
        case "protocol error":
            await client.send(b"GET / HTTP/1.1\r\n\r\n")
        case "server stop":
            memory.server.stop()
        case "second stop":
            memory.server.stop()
            memory.server.stop()
        case "cancelled":
            memory.scope.cancel()


@pytest.mark.parametrize(
    ("end", "step", "label"),
    [
        pytest.param(end, step, label, id=f"{end}, {step}".replace(" ", "-"))
        for end, row in TABLE.items()
        for step, label in zip(STEPS, row, strict=True)
        if label is not NEVER
    ],
)
async def test_nothing_is_left(end, step, label, backend, log, autojump_clock):
    let_go = trio.Event()

    async def hold():
        await let_go.wait()
        raise OSError("the directory is down")

    async with memory_server(plugins=[backend]) as memory:
        client = await memory.connect()
        call = await bring_to(step, client, backend, hold)
        begun = trio.current_time()
        await end_it(end, memory, client, call, let_go)
        with trio.fail_after(LONG_ENOUGH):
            await (client if call is None else call).over.wait()
        if end == "second stop":
            await memory.stopped.wait()
            assert trio.current_time() == begun
        if end == "server stop":
            await memory.stopped.wait()
            assert trio.current_time() - begun <= memory.server.config.server.grace
        await client.close()
        await trio.sleep(LONG_ENOUGH)
        assert memory.leftovers() == []
    assert [entry["cause"] for entry in log.ends()] == ([] if label == NOBODY else [label])
    assert backend.released == backend.leased
    assert backend.kinds() == (["start", "stop"] if step == "up" else [])
    assert not log.named("internal error")


@pytest.mark.parametrize("step", STEPS[2:])
async def test_the_last_line_says_all(step, backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        client = await memory.connect()
        call = await bring_to(step, client, backend, trio.sleep_forever)
        await trio.sleep(5)
        await client.close()
        await call.over.wait()
    (line,) = log.ends()
    assert line["peer"] == "203.0.113.9"
    assert line["seconds"] == 5
    assert line["user"] == ("alice" if step in ("allocate", "ccp", "up") else "")
    assert line["seen_as"] == ("" if step in ("requested", "lcp") else "alice")
    assert line["address"] == ("10.90.0.2" if step in ("ccp", "up") else "")
    assert (line["received"], line["sent"]) == ("0 B", "0 B")
    assert line["why"] == "the client closed TCP without a goodbye"


class BlockedLink:
    """GRE does not pass in one direction."""

    def __init__(self, *, to_server):
        self.blocked = to_server

    def delays(self, packet, *, to_server):
        return () if to_server is self.blocked else (0.0,)


@pytest.mark.parametrize("end", ["clear_call", "stop", "close", "reset"])
@pytest.mark.parametrize(
    ("to_server", "cause", "why"),
    [(True, "no-gre", "no GRE packet ever arrived"), (False, "lcp-timeout", "blocked on the way to the client")],
)
async def test_a_client_that_loses_patience_without_gre(to_server, cause, why, end, backend, log, autojump_clock):
    async with memory_server(plugins=[backend], link=BlockedLink(to_server=to_server)) as memory:
        client = await memory.connect()
        await client.start()
        call = await client.request_call()
        await trio.sleep(10)
        await (client.clear_call(call) if end == "clear_call" else getattr(client, end)())
        await wait_all_tasks_blocked()
        assert memory.leftovers() == [] or end == "clear_call"
        assert not memory.server.registry.calls  # it waits for no answer to its Terminate-Request
        assert {cause.label: count for cause, count in memory.server.stats.ended.items()} == {cause: 1}
    (line,) = log.ends()
    assert line["cause"] == cause
    assert why in line["why"]


async def test_a_tun_that_goes_away_is_no_bug(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        (path,) = [ours.path for ours in memory.server.registry.calls.values()]
        path.fail("the TUN poptrio0 is gone")
        await call.over.wait()
    (line,) = log.ends()
    assert line["cause"] == "data-path-failed"
    assert "for this call: the TUN poptrio0 is gone" in line["why"]
    assert backend.records[-1][1].cause.label == "data-path-failed"


async def test_every_drop_counter_is_in_the_last_line(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        (ours,) = memory.server.registry.calls.values()
        ours.counters.send_failed, ours.counters.no_network, ours.counters.malformed = 3, 4, 5
        await call.hang_up()
    (line,) = log.ends()
    assert (line["send_failed"], line["no_network"], line["malformed"]) == (3, 4, 5)
    assert "late" not in line


async def test_a_clear_after_a_failed_login_frees_the_call_at_once(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        client = await memory.connect()
        await client.start()
        call = await client.request_call("alice", "wrong", deaf_to=frozenset({Protocol.LCP}))
        await wait_all_tasks_blocked()
        call.deaf_to = EVERYTHING
        await client.clear_call(call)
        await wait_all_tasks_blocked()
        assert not memory.server.registry.calls
        assert trio.current_time() == 0


async def test_a_call_that_is_cleared_in_the_same_segment(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        client = await memory.connect()
        await client.start()
        await client.send(REQUEST + CallClearRequest(call_id=7).encode())
        await wait_all_tasks_blocked()
        assert client.ended is None
        await client.close()
        await trio.sleep(LONG_ENOUGH)
        assert memory.leftovers() == []
    assert [line["cause"] for line in log.ends()] == ["client-hung-up"]


@pytest.mark.parametrize(
    ("octets", "label"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "protocol-error"),
        (StopControlConnectionRequest(reason=1).encode(), "client-hung-up"),
    ],
)
async def test_a_connection_that_ends_in_the_segment_of_a_request(octets, label, backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        client = await memory.connect()
        await client.start()
        await client.send(REQUEST + octets)
        await client.over.wait()
        await trio.sleep(LONG_ENOUGH)
        assert memory.leftovers() == []
    assert [line["cause"] for line in log.ends()] == [label]
    assert log.ends()[0]["why"].count("the client") == 1


async def test_a_lease_that_comes_when_the_call_has_just_ended(backend, log, autojump_clock):
    # Both wake in the same tick: whichever the scheduler runs first, the lease is given back once.
    async with memory_server(plugins=[backend]) as memory:
        for _ in range(20):
            let_go = trio.Event()
            backend.before_allocate = let_go.wait
            client = await memory.connect()
            await client.start()
            await client.request_call()
            await wait_all_tasks_blocked()
            let_go.set()
            await client.close()
            await trio.sleep(1)
        assert memory.leftovers() == []
    assert backend.leased == backend.released
    assert len(log.ends()) == 20
