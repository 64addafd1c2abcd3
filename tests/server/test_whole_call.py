"""A whole call in memory, from TCP to IP packets both ways."""

import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.datapath.memory import PerfectLink
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.server import CLIENT_ADDRESS, memory_server

PAYLOAD = b"attack at dawn, and bring a towel"


class Tap(PerfectLink):
    """A link that remembers what passed."""

    def __init__(self):
        self.seen = []

    def delays(self, packet, *, to_server):
        self.seen.append(packet)
        return super().delays(packet, to_server=to_server)


async def exchange(memory, call):
    """One packet each way; what came out on the other side."""
    (ours,) = memory.server.registry.calls.values()
    call.send_ip(PAYLOAD)
    ours.path.inject(ipv4_packet(call.server_address, call.address, PAYLOAD))
    await wait_all_tasks_blocked()
    return ours.path.delivered, call.path.delivered


async def test_a_call_from_dial_to_hang_up(backend, log, autojump_clock):
    tap = Tap()
    async with memory_server(plugins=[backend], link=tap) as memory:
        call = await memory.dial()
        assert (str(call.address), str(call.server_address)) == ("10.90.0.2", "10.90.0.1")
        assert call.encryption == "MPPE-128 stateless"
        assert call.mtu == 1396
        at_server, at_client = await exchange(memory, call)
        assert at_server == [ipv4_packet(call.address, call.server_address, PAYLOAD)]
        assert at_client == [ipv4_packet(call.server_address, call.address, PAYLOAD)]
        assert not any(PAYLOAD in packet for packet in tap.seen)
        await trio.sleep(9000)
        await call.hang_up()
        await wait_all_tasks_blocked()

        (line,) = log.ends()
        assert line["user"] == "alice"
        assert line["peer"] == str(CLIENT_ADDRESS)
        assert (line["seconds"], line["duration"]) == (9000, "2h30m")
        assert line["received"] == line["sent"] == "53 B"
        assert (line["cause"], line["why"]) == ("client-hung-up", "the client hung up")
        assert len(log.named("call up")) == 1
        await call.client.close()
        await trio.sleep(1)
        assert memory.leftovers() == []
    assert backend.kinds() == ["start", "stop"]
    (_, start), (_, stop) = backend.records
    assert (start.seconds, stop.seconds) == (0, 9000)
    assert (stop.traffic.bytes_in, stop.traffic.packets_out) == (53, 1)
    assert stop.cause.label == "client-hung-up"


async def test_a_call_in_clear_where_that_is_configured(backend, autojump_clock):
    tap = Tap()
    settings = SessionSettings(encryption=EncryptionPolicy("refuse"))
    async with memory_server('[ppp]\nencryption = "refuse"', [backend], link=tap) as memory:
        call = await memory.dial(settings=settings)
        assert (call.encryption, call.mtu) == ("none", 1400)
        at_server, at_client = await exchange(memory, call)
        assert len(at_server) == len(at_client) == 1
    assert any(PAYLOAD in packet for packet in tap.seen)


async def test_the_log_shows_both_names_and_the_times_of_the_steps(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial("EXAMPLE\\alice")
        assert call.address is not None
    (up,) = log.named("call up")
    assert (up["user"], up["seen_as"]) == ("alice", "EXAMPLE\\alice (looked up as alice)")
    assert up["steps_ms"] == "lcp=0.0 authentication=0.0 encryption=0.0 network=0.0"
    (line,) = log.ends()
    assert (line["user"], line["seen_as"]) == ("alice", "EXAMPLE\\alice (looked up as alice)")


async def test_what_the_log_never_shows(backend, log, autojump_clock):
    async with memory_server('[log]\nlevel = "debug"', [backend]) as memory:
        for password in ("correct horse", "wrong horse"):
            await memory.dial("alice", password)
    assert log.named("control message")
    assert "horse" not in str(log.entries)


async def test_a_plugin_lowers_the_mtu(backend, log, autojump_clock):
    backend.accept = {"framed_mtu": 1200}
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        (ours,) = memory.server.registry.calls.values()
        ours.path.inject(ipv4_packet(call.server_address, call.address, bytes(1300), dont_fragment=True))
        assert ours.counters.too_big == 1
    assert log.named("call up")[0]["mtu"] == 1200


async def test_a_lease_is_the_calls_until_its_last_line(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        assert (backend.leased, backend.released) == ([call.address], [])
        await call.hang_up()
        await wait_all_tasks_blocked()
        assert backend.released == [call.address]
