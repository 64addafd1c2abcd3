"""A thousand calls at once, and what is left of them: nothing."""

import gc
import weakref
from ipaddress import IPv4Address

import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.server import memory_server

CALLS = 1000
CALLS_OF_A_CLIENT = 10
CONFIG = "[server]\nmax_unauthenticated = 5000\n[ppp]\nlcp_echo_interval = 20.0"


async def test_nothing_leaks(autojump_clock):
    async with memory_server(CONFIG) as memory:
        await wait_all_tasks_blocked()
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        clients, calls = [], []
        for number in range(CALLS // CALLS_OF_A_CLIENT):
            client = await memory.connect(IPv4Address("203.0.0.0") + number)
            await client.start()
            clients.append(client)
            calls += [await client.request_call() for _ in range(CALLS_OF_A_CLIENT)]
        for call in calls:
            await call.settled()
        assert len({call.address for call in calls}) == CALLS
        ours = list(memory.server.registry.calls.values())
        for call, server_call in zip(calls, ours, strict=True):
            call.send_ip(b"up")
            server_call.path.inject(ipv4_packet(call.server_address, call.address, b"down"))
        await trio.sleep(45)  # two LCP echoes
        assert all(call.counters.packets_in == call.counters.packets_out == 1 for call in ours)
        assert trio.lowlevel.current_statistics().tasks_living == tasks_before + CALLS + len(clients) * 2

        remains = weakref.WeakSet([*ours, *(call.path._owner for call in ours), *memory.server.connections])
        assert len(remains) == CALLS * 2 + len(clients)
        del ours, server_call, call
        gc.disable()  # reference counting alone must free what is the server's: see `poptrio.runtime.dismantle`
        try:
            for call in calls[::3]:
                await call.hang_up()
            for client in clients:
                await client.close()
            await trio.sleep(200)
            assert [type(one).__name__ for one in remains if type(one).__name__ != "PppDriver" or vars(one)] == []
        finally:
            gc.enable()
        assert memory.leftovers() == []
        assert trio.lowlevel.current_statistics().tasks_living == tasks_before
        assert memory.server.stats.up == sum(memory.server.stats.ended.values()) == CALLS
        assert not memory.authority.throttle._records
        assert not memory.server.ticker._alarms
        gc.collect()
        assert len(remains) == 0
