"""A hundred whole calls over a link that drops, duplicates, reorders and delays; the same every time."""

import trio

from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.server import memory_server
from poptrio.testing.terrible_link import TerribleLink

CALLS = 100
PACKETS = 20
CONFIG = """
[server]
max_unauthenticated_per_address = 1000
[ppp]
restart_interval = 1.0
"""
SETTINGS = SessionSettings(negotiation=NegotiationSettings(restart_interval=1.0))


async def test_all_calls_come_up_and_carry_data(autojump_clock):
    link = TerribleLink(seed=2637, drop=0.1, duplicate=0.05, reorder=0.2, delay=0.05, detour=0.02)
    arrived = []

    async def one_call(memory):
        call = await memory.dial(settings=SETTINGS)
        assert call.address is not None, call.why
        ours = memory.server.registry.calls[call.connected.peer_call_id]
        while ours.up_since is None:  # noqa: ASYNC110 - the client's last Ack may have been lost
            await trio.sleep(0.1)
        for number in range(PACKETS):
            payload = number.to_bytes(2, "big") * 100
            call.send_ip(payload)
            ours.path.inject(ipv4_packet(call.server_address, call.address, payload))
            # Long enough for IPCP that one side must open again, because the last Ack to the other was lost.
            await trio.sleep(0.5)
        for path in (ours.path, call.path):
            numbers = [packet[-2:] for packet in path.delivered]
            assert numbers == sorted(set(numbers))  # in order, none twice, all decrypted rightly
            arrived.append(len(numbers))
        await call.hang_up()
        await call.client.close()

    async with memory_server(CONFIG, link=link, seed=2637) as memory:
        async with trio.open_nursery() as nursery:
            for _ in range(CALLS):
                nursery.start_soon(one_call, memory)
        await trio.sleep(10)
        assert memory.leftovers() == []
    assert len(arrived) == CALLS * 2
    assert min(arrived) >= PACKETS / 2
    assert 0.85 < sum(arrived) / (CALLS * PACKETS * 2) < 0.95
