"""Captures of a call in memory: three interfaces, no secrets, bounded, and nothing left behind when they are over."""

import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.datapath.memory import MemoryCallPath
from poptrio.datapath.tap import Layer
from poptrio.observe import pcapng
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.server.capture import MOST_WAITING
from poptrio.server.captures import MOST_CAPTURES, CaptureOrder, CaptureRefused, NothingToCapture
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.server import CLIENT_ADDRESS, SERVER_ADDRESS, memory_server

PAYLOAD = b"attack at dawn, and bring a towel"
ALICE = CaptureOrder(user="alice", by="root")


class File:
    """What a reader got."""

    def __init__(self, data):
        self.data = data
        reader = pcapng.Reader()
        blocks = list(reader.feed(data))
        self.comment = reader.comment
        self.interfaces = [block.interface.name for block in blocks if isinstance(block, pcapng.Description)]
        self.packets = [block for block in blocks if isinstance(block, pcapng.Packet)]
        self.statistics = [block for block in blocks if isinstance(block, pcapng.Statistics)]
        self.why = {block.comment.removeprefix("the capture ended: ") for block in self.statistics}

    def of(self, layer, *, inbound):
        return [packet.data for packet in self.packets if (packet.interface, packet.inbound) == (layer, inbound)]


PI_ERROR = 8388608
RECEIVED = "1"
"""As tshark says it."""


class SlowLink:
    """Every packet takes a tenth of a second."""

    def delays(self, packet, *, to_server):
        return (0.1,)


async def read(capture):
    data = b""
    while chunk := await capture.next_chunk():
        data += chunk
    return File(data)


async def exchange(memory, call):
    """One packet each way."""
    (ours,) = memory.server.registry.calls.values()
    call.send_ip(PAYLOAD)
    ours.path.inject(ipv4_packet(call.server_address, call.address, PAYLOAD))
    await wait_all_tasks_blocked()


async def test_a_call_is_captured_in_three_layers(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        capture = memory.server.captures.start(ALICE)
        await exchange(memory, call)
        await trio.sleep(35)  # LCP echoes
        await call.hang_up()
        file = await read(capture)
    to_server = ipv4_packet(call.address, call.server_address, PAYLOAD)
    to_client = ipv4_packet(call.server_address, call.address, PAYLOAD)
    assert file.interfaces == ["gre", "ppp", "ip"]
    assert file.of(Layer.IP, inbound=True) == [to_server]
    assert file.of(Layer.IP, inbound=False) == [to_client]
    assert file.of(Layer.PPP, inbound=True)[0] == b"\xff\x03\x00\x21" + to_server
    assert file.of(Layer.PPP, inbound=False)[0] == b"\xff\x03\x00\x21" + to_client
    assert any(frame[2:5] == b"\xc0\x21\x0a" for frame in file.of(Layer.PPP, inbound=True))
    wire = file.of(Layer.GRE, inbound=True) + file.of(Layer.GRE, inbound=False)
    assert wire
    assert not any(PAYLOAD in packet for packet in wire)
    ends = {(packet[12:16], packet[16:20]) for packet in file.of(Layer.GRE, inbound=True)}
    assert ends == {(CLIENT_ADDRESS.packed, SERVER_ADDRESS.packed)}
    assert file.why == {"the call is over"}
    assert {statistics.dropped for statistics in file.statistics} == {0}
    assert sum(statistics.received for statistics in file.statistics) == len(file.packets)
    assert "of alice from 203.0.113.9" in file.comment
    (begun,), (ended,) = log.named("capture begun"), log.named("capture ended")
    assert (begun["user"], begun["by"], begun["log_level"]) == ("alice", "root", "warning")
    assert (ended["packets"], ended["octets"], ended["why"]) == (len(file.packets), len(file.data), "the call is over")


async def test_the_time_of_a_packet_is_the_wall_clocks(backend, monkeypatch, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        capture = memory.server.captures.start(ALICE)
        monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_123)
        await exchange(memory, call)
        await call.hang_up()
        file = await read(capture)
    assert {packet.time for packet in file.packets} == {1_700_000_000_000_000_123}


async def test_a_call_that_is_not_captured_is_as_if_there_were_no_captures(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        (ours,) = memory.server.registry.calls.values()
        slots = ["_deliver", "_send_gre", "_owner", "tap"]
        before = [getattr(ours.path, name) for name in slots]
        assert type(ours.path) is MemoryCallPath
        capture = memory.server.captures.start(replace(ALICE, seconds=5.0))
        assert type(ours.path) is not MemoryCallPath
        await trio.sleep(6)
        assert type(ours.path) is MemoryCallPath
        assert [getattr(ours.path, name) for name in slots] == before
        assert (await read(capture)).why == {"its time is over"}
        await exchange(memory, call)
        assert len(ours.path.delivered) == 1
        await call.hang_up()
        await trio.sleep(1)
        await call.client.close()
        await trio.sleep(1)
        assert memory.leftovers() == []


async def test_a_capture_is_no_larger_than_asked_for(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        capture = memory.server.captures.start(replace(ALICE, octets=4000))
        for _ in range(40):
            await exchange(memory, call)
        file = await read(capture)
        assert 3000 < len(file.data) <= 4000
        assert file.why == {"it is as large as it may be"}
        (ours,) = memory.server.registry.calls.values()
        assert len(ours.path.delivered) == 40


async def test_a_reader_that_is_slow_loses_packets_and_holds_nobody_up(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        call = await memory.dial()
        (ours,) = memory.server.registry.calls.values()
        capture = memory.server.captures.start(ALICE)
        packet = ipv4_packet(call.server_address, call.address, bytes(1300))
        for _ in range(400):
            ours.path.inject(packet)
        await wait_all_tasks_blocked()
        assert ours.counters.packets_out == 400
        first = await capture.next_chunk()
        assert len(first) <= MOST_WAITING
        ours.path.inject(packet)
        await wait_all_tasks_blocked()
        await call.hang_up()
        rest = await read(capture)
    file = File(first + rest.data)
    dropped = sum(statistics.dropped for statistics in file.statistics)
    assert dropped > 0
    assert dropped + len(file.packets) == sum(statistics.received for statistics in file.statistics)
    assert log.named("capture ended")[0]["dropped"] == dropped


async def test_a_reader_that_goes_ends_the_capture(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        await memory.dial()
        capture = memory.server.captures.start(ALICE)
        capture.abandon()
        assert memory.server.captures.count == 0
        assert await capture.next_chunk() == b""
    assert log.named("capture ended")[0]["why"] == "its reader is gone"


async def test_passwords_of_pap_are_in_no_layer(backend, autojump_clock):
    config = '[ppp]\nauthentication = ["pap"]\nencryption = "refuse"'
    settings = SessionSettings(authentication=(AuthProtocol.PAP,), encryption=EncryptionPolicy("refuse"))
    async with memory_server(config, [backend], link=SlowLink()) as memory:
        client = await memory.connect()
        await client.start()
        call = await client.request_call(settings=settings)
        # Nobody is authenticated yet, and so the Call ID is all that there is.
        capture = memory.server.captures.start(CaptureOrder(call=call.connected.peer_call_id))
        await call.settled()
        assert call.address is not None, call.why
        await call.hang_up()
        file = await read(capture)
    requests = [frame for frame in file.of(Layer.PPP, inbound=True) if frame[2:5] == b"\xc0\x23\x01"]
    assert [frame[8:] for frame in requests] == [b"\x05alice\x0d" + b"*" * 13]
    assert sum(b"\xc0\x23\x01" in packet for packet in file.of(Layer.GRE, inbound=True)) == 1
    assert b"correct horse" not in file.data


async def test_the_next_call_of_a_user_is_waited_for(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        capture = memory.server.captures.start(replace(ALICE, wait=True, seconds=100.0))
        await memory.dial("bob", "battery staple", peer=CLIENT_ADDRESS + 1)
        await trio.sleep(90)
        await memory.dial("alice", "wrong horse")
        call = await memory.dial("EXAMPLE\\alice")
        await trio.sleep(50)
        await call.hang_up()
        file = await read(capture)
    assert file.of(Layer.PPP, inbound=False)[0][2:5] == b"\xc2\x23\x03"  # CHAP Success
    assert file.why == {"the call is over"}
    assert log.named("capture waits")[0]["user"] == "alice"


async def test_a_user_who_does_not_call_leaves_an_empty_file_that_says_so(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        file = await read(memory.server.captures.start(replace(ALICE, wait=True, seconds=100.0)))
        assert trio.current_time() >= 100
        assert file.packets == []
        assert file.why == {"alice did not call within 100 s"}
        waiting = memory.server.captures.start(replace(ALICE, wait=True))
        waiting.abandon()
        await memory.dial()
        assert memory.server.captures.count == 0


@pytest.mark.parametrize(
    ("config", "order", "sentence"),
    [
        ("", CaptureOrder(user="carol"), "no call of carol"),
        ("", CaptureOrder(call=0), "no call 0"),
        ("", replace(ALICE, user="bob"), r"bob has 2 calls: \d+, \d+"),
        ("[capture]\nenabled = false", ALICE, "captures are forbidden"),
        ("[capture]\nmax_octets = 5000", ALICE, "at most 5000 octets"),
        ("[capture]\nmax_seconds = 10.0", ALICE, "at most 10 s"),
    ],
)
async def test_what_cannot_be_captured_is_said(backend, config, order, sentence, autojump_clock):
    async with memory_server(config, [backend]) as memory:
        await memory.dial()
        for peer in (1, 2):
            await memory.dial("bob", "battery staple", peer=CLIENT_ADDRESS + peer)
        with pytest.raises(CaptureRefused, match=sentence) as refused:
            memory.server.captures.start(order)
        assert refused.value.remedy
        assert isinstance(refused.value, NothingToCapture) == ("no call" in sentence)


async def test_a_call_is_captured_once_and_not_too_many_at_a_time(backend, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        await memory.dial()
        captures = memory.server.captures
        first = captures.start(ALICE)
        with pytest.raises(CaptureRefused, match="being captured already"):
            captures.start(ALICE)
        first.abandon()
        waiting = [captures.start(CaptureOrder(user="bob", wait=True)) for _ in range(MOST_CAPTURES)]
        with pytest.raises(CaptureRefused, match=f"there are {MOST_CAPTURES} captures"):
            captures.start(ALICE)
        for one in waiting:
            one.abandon()
        captures.start(ALICE).abandon()


async def test_a_call_in_the_kernel_is_refused_with_what_to_do_instead(backend, autojump_clock):
    class KernelPath:
        """All that matters of one: it is no `GreCallPath`."""

    async with memory_server(plugins=[backend]) as memory:
        await memory.dial()
        (ours,) = memory.server.registry.calls.values()
        path, ours.path = ours.path, KernelPath()
        with pytest.raises(CaptureRefused, match="pass in the kernel") as refused:
            memory.server.captures.start(ALICE)
        assert f"tcpdump -i poptrio0-{ours.info.call_id}`" in refused.value.remedy
        ours.path = path


async def test_a_bug_in_a_capture_ends_the_call_and_nothing_else(backend, log, monkeypatch, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        await memory.dial("bob", "battery staple", peer=CLIENT_ADDRESS + 1)
        call = await memory.dial()
        memory.server.captures.start(ALICE)
        monkeypatch.setattr(pcapng, "packet_block", None)
        call.send_ip(PAYLOAD)
        await call.over.wait()
        await wait_all_tasks_blocked()
        assert memory.server.call_count == 1
    assert len(log.named("data path error")) == 1


def dissected(path, data):
    """What tshark makes of each packet: interface, direction, protocols, source, destination, malformed, severity."""
    path.write_bytes(data)
    fields = ["frame.interface_name", "frame.p2p_dir", "frame.protocols", "ip.src", "ip.dst"]
    command = ["tshark", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-E", "separator=/s"]
    for field in [*fields, "_ws.malformed", "_ws.expert.severity"]:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.split(" ") for line in done.stdout.splitlines()]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")
async def test_tshark_understands_all_three_interfaces(backend, tmp_path, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        waiting = memory.server.captures.start(replace(ALICE, wait=True))
        call = await memory.dial()
        await exchange(memory, call)
        await trio.sleep(35)
        await call.hang_up()
        file = await read(waiting)
    rows = dissected(tmp_path / "alice.pcapng", file.data)
    assert len(rows) == len(file.packets)
    assert not any(malformed for *_, malformed, _ in rows)
    assert not any(severity and int(severity) >= PI_ERROR for *_, severity in rows)
    layers = {(row[0], row[2]) for row in rows}
    assert {("ppp", f"ppp:{protocol}") for protocol in ("chap", "ccp", "ipcp", "lcp", "ip:data")} <= layers
    assert {("gre", f"raw:ip:gre:ppp:{protocol}") for protocol in ("chap", "ccp", "ipcp", "comp_data")} <= layers
    assert {layer for interface, layer in layers if interface == "ip"} == {"raw:ip:data"}
    (outside,) = {(row[3], row[4]) for row in rows if row[0] == "gre" and row[1] == RECEIVED}
    assert tuple(map(IPv4Address, outside)) == (CLIENT_ADDRESS, SERVER_ADDRESS)
    inside = {(row[3], row[4]) for row in rows if row[0] == "ip"}
    assert inside == {(str(call.address), str(call.server_address)), (str(call.server_address), str(call.address))}


async def test_all_captures_end_at_once(backend, log, autojump_clock):
    async with memory_server(plugins=[backend]) as memory:
        await memory.dial()
        captures = memory.server.captures
        one, other = captures.start(ALICE), captures.start(CaptureOrder(user="nobody", by="root", wait=True))
        captures.end_all("the server is upgraded")
        assert [(await read(capture)).why for capture in (one, other)] == [{"the server is upgraded"}] * 2
        assert log.named("capture ended")[0]["why"] == "the server is upgraded"
        assert captures.count == 0
