"""Calls that go from one server in memory to another, with everything that is remembered about them."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from poptrio.api import Accept, AddressLease, Quota, hookimpl, verify
from poptrio.errors import CauseOfEnd
from poptrio.server.server import TAKEN_UP_AT_ONCE
from poptrio.testing.server import load, memory_server
from poptrio.testing.succession import successor_of

TEN = "[accounting]\ninterim_interval = 10.0\ninterim_jitter = 0.0\n"


class Backend:
    """Accepts everybody by the password "secret", with ``accept``; ``records`` are what was accounted."""

    def __init__(self, **accept):
        self.accept = accept
        self.records = []
        self.continued = None

    @hookimpl
    async def poptrio_authenticate(self, call, request):
        answer = verify(request, "secret")
        return replace(answer, **self.accept) if isinstance(answer, Accept) else answer

    @hookimpl
    async def poptrio_account(self, record):
        self.records.append((trio.current_time(), record))

    def kinds(self):
        return [record.kind.value for _, record in self.records]


async def test_a_call_goes_on_and_is_billed_once(autojump_clock):
    old, new = Backend(classes=(b"\xff\x00",)), Backend()
    async with memory_server(TEN, [old]) as memory:
        call = await memory.dial("alice", "secret")
        call.send_ip(bytes(100))
        await trio.sleep(25)
        begun = trio.current_time() - 25
        assert old.kinds() == ["start", "interim", "interim"]
        async with successor_of(memory, load([new])) as server:
            await trio.sleep(10)
            ((when, interim),) = new.records
            assert when - begun == pytest.approx(30, abs=1.0)
            assert interim.traffic.packets_in == 1
            (session,) = server.authority.sessions
            assert session.address == call.address
            assert [found.call for found in server.authority.sessions.of_user("alice")] == [session.call]
            call.send_ip(bytes(100))
            await call.hang_up()
            await trio.sleep(1)
            assert new.kinds() == ["interim", "stop"]
            stop = new.records[-1][1]
            assert stop.call == old.records[0][1].call
            assert stop.accept.classes == (b"\xff\x00",)
            assert stop.seconds == pytest.approx(35, abs=1.0)
            assert stop.traffic.packets_in == 2
            start = old.records[0][1]
            assert (stop.mtu, stop.interface) == (start.mtu, start.interface)
            assert (stop.encryption, stop.protocol) == (start.encryption, start.protocol)
            assert stop.cause is CauseOfEnd.CLIENT_HUNG_UP
            assert not server.registry.calls


@pytest.mark.parametrize(
    ("accept", "cause", "seconds"),
    [
        ({"session_timeout": 40.0}, CauseOfEnd.SESSION_TIMEOUT, 40),
        ({"idle_timeout": 50.0}, CauseOfEnd.IDLE_TIMEOUT, 50),
    ],
)
async def test_limits_count_from_the_beginning(accept, cause, seconds, autojump_clock):
    async with memory_server("", [Backend(**accept)]) as memory:
        await memory.dial("alice", "secret")
        begun = trio.current_time()
        await trio.sleep(20)
        new = Backend()
        async with successor_of(memory, load([new])):
            await trio.sleep(40)
            assert new.records[-1][1].cause is cause
            assert new.records[-1][0] - begun == pytest.approx(seconds, abs=1.5)


async def test_a_quota_counts_what_went_before(autojump_clock):
    async with memory_server("", [Backend(quota=Quota(total=300))]) as memory:
        call = await memory.dial("alice", "secret")
        call.send_ip(bytes(100))
        new = Backend()
        async with successor_of(memory, load([new])):
            await trio.sleep(5)
            assert new.kinds() == []
            call.send_ip(bytes(100))
            call.send_ip(bytes(100))
            await trio.sleep(5)
            assert new.records[-1][1].cause is CauseOfEnd.QUOTA_REACHED


async def test_addresses_and_call_ids_are_not_given_twice(autojump_clock):
    async with memory_server('[addresses]\npool = ["10.90.0.2-10.90.0.4"]', [Backend()]) as memory:
        first = await memory.dial("alice", "secret")
        gone = await memory.dial("bob", "secret")
        await gone.hang_up()
        await trio.sleep(10)
        ids = memory.server.registry.call_ids
        (resting,) = ids.resting(trio.current_time())
        async with successor_of(memory, load([Backend()])) as server:
            ids = server.registry.call_ids
            assert ids.resting(trio.current_time()) == [(resting[0], pytest.approx(resting[1], abs=0.1))]
            assert len(ids.in_use) == 1
            pool = server.authority.hooks
            info = next(iter(server.authority.sessions)).call
            leases = [await pool.allocate_address(info, Accept(user=name)) for name in ("x", "y", "z")]
            assert [isinstance(lease, AddressLease) for lease in leases] == [True, True, False]
            assert first.address not in [lease.address for lease in leases[:2]]
            await trio.sleep(resting[1] + 1)
            taken = {ids.take(trio.current_time()) for _ in range(65534)}
            assert resting[0] in taken
            assert info.call_id not in taken


async def test_a_lease_that_is_not_of_the_pool_any_more_lives_until_its_call_ends(autojump_clock):
    async with memory_server('[addresses]\npool = ["10.90.0.2"]', [Backend()]) as memory:
        call = await memory.dial("alice", "secret")
        memory.server.config = memory.server.config.model_copy(
            update={"addresses": memory.server.config.addresses.model_copy(update={"pool": ("10.90.0.7",)})}
        )
        async with successor_of(memory, load([Backend()])) as server:
            (session,) = server.authority.sessions
            assert str(session.address) == "10.90.0.2"
            await call.hang_up()
            await trio.sleep(1)
            info = session.call
            lease = await server.authority.hooks.allocate_address(info, Accept(user="bob"))
            assert str(lease.address) == "10.90.0.7"


async def test_names_that_are_no_text(autojump_clock):
    async with memory_server("", [Backend(aliases=("al\udcffce", "\xe9"))]) as memory:
        call = await memory.dial("al\udcff\xe9", "secret")
        async with successor_of(memory, load([Backend()])) as server:
            (session,) = server.authority.sessions
            assert session.accept.user == "al\udcff\xe9"
            assert session.accept.aliases == ("al\udcffce", "\xe9")
            await call.hang_up()


async def test_stateful_encryption_goes_on_in_its_key_stream(autojump_clock):
    async with memory_server('[ppp]\nencryption_mode = "stateful"', [Backend()]) as memory:
        call = await memory.dial("alice", "secret")
        for _ in range(300):
            call.send_ip(bytes(50))
        await trio.sleep(1)
        async with successor_of(memory, load([Backend()])) as server:
            for _ in range(300):
                call.send_ip(bytes(50))
            await trio.sleep(1)
            (path,) = memory.network.server.calls.values()
            assert path.counters.packets_in == 600
            assert path.counters.undecryptable == 0
            path.inject(packet_to(call.address))
            await trio.sleep(1)
            assert server.call_count == 1
            assert len(call.path.delivered) == 1


def packet_to(address):
    head = bytes.fromhex("4500 0022 0000 4000 4011 0000 0a5a0001")
    return head + address.packed + bytes(14)


async def test_counters_go_on(autojump_clock):
    backend = Backend()
    async with memory_server(TEN, [backend]) as memory:
        before = await memory.dial("alice", "secret")
        before.send_ip(bytes(100))
        await before.hang_up()
        await before.client.close()
        await trio.sleep(1)
        memory.server.stats.refuse("no Call ID is free")
        counted = memory.server.path_totals.ended
        assert counted["packets_in"] == 1
        async with successor_of(memory, load([Backend()])) as server:
            assert (server.stats.up, server.stats.refused) == (1, 1)
            assert server.stats.ended == {CauseOfEnd.CLIENT_HUNG_UP: 1}
            assert server.path_totals.ended == counted


class StoppedAtOnce(Backend):
    """The server is stopped as soon as it has the calls."""

    def __init__(self):
        super().__init__()
        self.scope = trio.CancelScope()

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self):
        self.scope.cancel()
        yield


async def test_whoever_stops_the_new_server_at_once_leaves_no_call_without_a_stop(autojump_clock):
    old, new = Backend(), StoppedAtOnce()
    async with memory_server("", [old]) as memory:
        for number in range(TAKEN_UP_AT_ONCE + 1):
            await memory.dial(f"user{number}", "secret")
        with new.scope:
            async with successor_of(memory, load([new])):
                pass
        assert new.kinds() == ["stop"] * len(old.records)
        assert {record.cause for _, record in new.records} == {CauseOfEnd.SERVER_SHUTDOWN}
