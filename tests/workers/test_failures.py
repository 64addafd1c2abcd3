"""What goes wrong between a worker and its parent costs the call that it is about, and nothing else."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
import trio
from worker_backend import Backend, is_up, settle

from poptrio.api import AddressLease, SessionChange, hookimpl, verify


class Odd(Backend):
    """Accepts one user in a way that no other process can be told of."""

    @hookimpl
    async def poptrio_authenticate(self, request):
        answer = verify(request, "correct horse")
        return replace(answer, aliases={"other": 1}.keys()) if request.username == "odd" else answer


class SlowLeases(Backend):
    """Addresses of something that goes on when the call is cancelled, the first much slower than the others."""

    def __init__(self):
        super().__init__()
        self.pause = 1.0
        self.asked = 0
        self.held = set()

    @hookimpl
    async def poptrio_allocate_address(self, call, user):
        self.asked += 1
        with trio.CancelScope(shield=True):
            await trio.sleep(6.0 if self.asked == 1 else 0.5)
        pool = [IPv4Address(f"10.90.0.{number}") for number in range(2, 10)]
        address = next(address for address in pool if address not in self.held)
        self.held.add(address)
        return AddressLease(address, user.user, lambda: self.held.discard(address))


async def test_an_answer_that_cannot_be_pickled_costs_its_call(fleet, log, autojump_clock):
    backend = Odd()
    async with fleet("", [backend]) as workers:
        bob = await workers.dial(1, "bob")
        odd = await workers.sides[0].memory.dial("odd")
        await settle()
        assert is_up(bob)
        assert not is_up(odd)
        assert is_up(await workers.dial(0, "carol"))


async def test_a_change_that_cannot_be_pickled_changes_nothing(fleet, log, autojump_clock):
    backend = Backend()
    async with fleet("", [backend]) as workers:
        calls = [await workers.dial(0, "alice"), await workers.dial(1, "bob")]
        (session,) = backend.sessions.of_user("alice")
        session.change(SessionChange(filter_ids={"a": 1}.keys()))
        await settle()
        assert all(map(is_up, calls))


async def test_an_address_that_comes_for_an_earlier_log_in_goes_back(fleet, autojump_clock):
    backend = SlowLeases()
    async with fleet("", [backend]) as workers:
        client = await workers.sides[0].memory.connect()
        await client.start()
        call = await client.request_call()
        await trio.sleep(0.3)
        call.path.send_frame(b"\xff\x03\xc0\x21\x01\x63\x00\x04")  # LCP Configure-Request: it negotiates again
        await trio.sleep(10)
        (session,) = backend.sessions
        assert backend.held == {call.address} == {session.address}
        other = await workers.dial(1, "bob")
        assert other.address != call.address


@pytest.mark.parametrize("seconds", [0.0, 0.1])
async def test_a_short_call_is_accounted(seconds, fleet, autojump_clock):
    backend = Backend()
    async with fleet("", [backend]) as workers:
        call = await workers.sides[0].memory.dial()
        await trio.sleep(seconds)
        await call.client.close()
        await settle()
        assert [record.kind.value for record in backend.records] == ["start", "stop"]


async def test_connections_stay_strangers_when_their_calls_have_failed(fleet, log, autojump_clock):
    async with fleet("[server]\nmax_unauthenticated_per_address = 4", [Backend()]) as workers:
        for number in range(8):
            await workers.sides[number % 2].memory.dial("mallory", "wrong")
            await settle()
        assert sum(len(side.worker.server.connections) for side in workers.sides) <= 4


async def test_call_ids_rest_after_the_death_of_workers(fleet, log, autojump_clock):
    async with fleet("", [Backend()]) as workers:
        lost, ended = await workers.dial(0), await workers.dial(0, "bob")
        await ended.hang_up()
        await settle()
        for _ in range(2):  # the second one dies before it has a call
            workers.sides[0].kill()
            await workers.sides[0].ended.wait()
            await workers.replace(0)
        free = workers.sides[0].worker.server.registry.call_ids._free
        assert not {lost.connected.peer_call_id, ended.connected.peer_call_id} & set(free)
