"""What must not get through: clear text, foreign addresses, somebody else's GRE packets."""

from ipaddress import IPv4Address

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.datapath.base import CallEndpoint
from poptrio.protocols.ppp.frames import Protocol
from poptrio.testing.client import EVERYTHING
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.server import SERVER_ADDRESS, memory_server

CLEAR_IP = b"\xff\x03\x00\x21" + ipv4_packet(IPv4Address("10.90.0.2"), IPv4Address("10.90.0.1"), b"in clear")
CLEAR_IP_COMPRESSED = CLEAR_IP[3:]
CCP_TERMINATE = bytes.fromhex("ff03 80fd 05 01 0004")
CCP_RESTART = bytes.fromhex("ff03 80fd 01 09 000a 12 06 01000040")
LCP_TERMINATE = bytes.fromhex("ff03 c021 05 01 0004")


async def call_at(step, memory, backend):
    if step == "authenticate":
        backend.before_authenticate = trio.sleep_forever
    if step == "allocate":
        backend.before_allocate = trio.sleep_forever
    deaf = {"requested": EVERYTHING, "lcp": {Protocol.LCP}, "ccp": {Protocol.CCP}, "ipcp": {Protocol.IPCP}}
    client = await memory.connect()
    await client.start()
    call = await client.request_call(deaf_to=frozenset(deaf.get(step, ())))
    await wait_all_tasks_blocked()
    return call


@pytest.mark.parametrize("step", ["requested", "lcp", "authenticate", "allocate", "ccp", "ipcp", "up"])
async def test_clear_text_never_gets_through_where_encryption_is_required(step, backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await call_at(step, memory, backend)
        assert (call.address is not None) == (step == "up")
        (ours,) = memory.server.registry.calls.values()
        ways_out = (b"", CCP_RESTART, CCP_TERMINATE, LCP_TERMINATE)
        for frame in ways_out:
            if frame:
                call.path.send_frame(frame)
            for clear in (CLEAR_IP, CLEAR_IP_COMPRESSED):
                call.path.send_frame(clear)
            await wait_all_tasks_blocked()
        assert ours.path.delivered == []
        assert ours.counters.packets_in == 0
        dropped = ours.counters.clear_text + ours.counters.no_network
        assert dropped >= 2


async def test_the_server_sends_nothing_in_clear_either(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await call_at("up", memory, backend)
        (ours,) = memory.server.registry.calls.values()
        call.path.send_frame(CCP_TERMINATE)
        for _ in range(3):
            ours.path.inject(ipv4_packet(IPv4Address("10.90.0.1"), call.address, b"secret"))
        await wait_all_tasks_blocked()
        ours.path.inject(ipv4_packet(IPv4Address("10.90.0.1"), call.address, b"secret"))
        assert call.path.counters.clear_text == 0
        assert len(call.path.delivered) <= 3
        assert ours.counters.packets_out <= 3
    assert not any(b"secret" in frame for frame in call.frames)


async def test_ccp_going_down_ends_the_call(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await call_at("up", memory, backend)
        call.path.send_frame(CCP_TERMINATE)
        await call.over.wait()
    assert log.ends()[0]["cause"] == "encryption-lost"


@pytest.mark.parametrize("source", ["10.90.0.3", "10.90.0.1", "192.168.1.1", "0.0.0.0"])
async def test_a_foreign_inner_source_is_dropped_and_counted(source, backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        first, second = [await memory.dial(user, password) for user, password in USERS]
        assert (str(first.address), str(second.address)) == ("10.90.0.2", "10.90.0.3")
        ours = memory.server.registry.calls[first.connected.peer_call_id]
        first.send_ip(b"foreign", source=IPv4Address(source))
        await wait_all_tasks_blocked()
        assert ours.path.delivered == []
        assert ours.counters.foreign_source == 1
        await first.hang_up()
        await wait_all_tasks_blocked()
    assert log.ends()[0]["foreign_source"] == 1


USERS = [("alice", "correct horse"), ("bob", "battery staple")]


async def test_gre_from_another_outer_address_is_dropped_and_counted(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        victim = await call_at("up", memory, backend)
        ours = victim.connected.peer_call_id
        stranger = CallEndpoint(victim.call_id, ours, IPv4Address("198.51.100.66"), SERVER_ADDRESS)
        path = memory.network.client().open_call(stranger, victim)
        before = memory.server.registry.calls[ours].counters.gre_received
        path.send_frame(LCP_TERMINATE)
        path.send_frame(CLEAR_IP)
        await wait_all_tasks_blocked()
        assert memory.network.server.counters.wrong_source == 2
        assert memory.server.registry.calls[ours].counters.gre_received == before
        assert not victim.over.is_set()


async def test_gre_for_a_call_that_has_ended(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await call_at("up", memory, backend)
        path = memory.network.client().open_call(call.path.endpoint, call)
        await call.hang_up()
        await wait_all_tasks_blocked()
        path.send_frame(CLEAR_IP)
        await wait_all_tasks_blocked()
        assert memory.network.server.counters.no_such_call == 1


async def test_nothing_but_lcp_and_authentication_is_answered_before_authentication(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await call_at("authenticate", memory, backend)
        seen = len(call.frames)
        for protocol in ("8021", "80fd", "8057", "8281"):
            call.path.send_frame(bytes.fromhex(f"ff03 {protocol} 01 01 0004"))
        await wait_all_tasks_blocked()
        assert len(call.frames) == seen
