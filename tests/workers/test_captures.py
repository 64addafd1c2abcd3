"""Captures of calls of workers: the file comes from the worker, and a slow or lost one harms nobody."""

from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poptrio.observe import pcapng
from poptrio.server.captures import CaptureOrder, CaptureRefused
from poptrio.testing.inner_packets import ipv4_packet

ALICE = CaptureOrder(user="alice", by="root")


async def read(capture):
    """The packets of a capture, by layer and direction, and why it ended."""
    reader, packets, whys = pcapng.Reader(), [], set()
    while chunk := await capture.next_chunk():
        for block in reader.feed(chunk):
            if isinstance(block, pcapng.Packet):
                packets.append((block.interface, block.inbound, block.data))
            elif isinstance(block, pcapng.Statistics):
                whys.add(block.comment.removeprefix("the capture ended: "))
    return packets, whys


async def test_a_call_of_a_worker_is_captured(fleet, log, autojump_clock):
    async with fleet() as two:
        call = await two.dial(1)
        capture = two.parent.captures.start(ALICE)
        await wait_all_tasks_blocked()
        call.send_ip(b"attack at dawn")
        await trio.sleep(1)
        await call.hang_up()
        packets, whys = await read(capture)
        assert two.parent.captures.count == two.sides[1].worker.server.captures.count == 0
    assert [data for layer, inbound, data in packets if (layer, inbound) == (2, True)] == [
        ipv4_packet(call.address, call.server_address, b"attack at dawn")
    ]
    assert whys == {"the call is over"}
    assert log.named("capture begun")[0]["by"] == log.named("capture ended")[0]["by"] == "root"


async def test_the_next_call_of_a_user_is_waited_for_on_any_worker(fleet, autojump_clock):
    async with fleet() as two:
        capture = two.parent.captures.start(replace(ALICE, wait=True, seconds=100.0))
        await trio.sleep(50)
        call = await two.dial(1)
        await trio.sleep(1)
        await call.hang_up()
        packets, whys = await read(capture)
    assert packets
    assert whys == {"the call is over"}


async def test_a_reader_that_stops_reading_fills_the_worker_only_so_far(fleet, log, autojump_clock):
    async with fleet() as two:
        call = await two.dial(0)
        capture = two.parent.captures.start(ALICE)
        await trio.sleep(1)
        for _ in range(1000):
            call.send_ip(bytes(1300))
        await trio.sleep(1)
        (ours,) = two.sides[0].worker.server.registry.calls.values()
        assert ours.counters.packets_in == 1000
        await capture.next_chunk()
        capture.abandon()
        await trio.sleep(1)
        assert two.sides[0].worker.server.captures.count == 0
        assert ours.path.tap is None
    (ended,) = log.named("capture ended")
    assert ended["why"] == "its reader is gone"
    assert ended["dropped"] > 1000


async def test_a_worker_that_is_lost_ends_the_file(fleet, log, autojump_clock):
    async with fleet() as two:
        await two.dial(0)
        capture = two.parent.captures.start(ALICE)
        await trio.sleep(1)
        two.sides[0].kill()
        await two.sides[0].ended.wait()
        packets, whys = await read(capture)
        assert (packets, whys) == ([], set())
        assert two.parent.captures.count == 0
        (ended,) = [line for line in log.named("capture ended") if line["why"] == "its worker is gone"]
        assert (ended["user"], ended["by"]) == ("alice", "root")
        await two.replace(0)


async def test_a_worker_that_cannot_says_so_in_the_file(fleet, autojump_clock):
    async with fleet() as two:
        await two.dial(0)
        (ours,) = two.sides[0].worker.server.registry.calls.values()
        two.sides[0].worker.server.captures.start(ALICE).abandon()
        here = two.sides[0].worker.server.captures.start(ALICE)
        packets, whys = await read(two.parent.captures.start(ALICE))
        assert packets == []
        assert whys == {f"call {ours.info.call_id} is being captured already: wait for the end of that"}
        here.abandon()
        with pytest.raises(CaptureRefused, match="no call of bob"):
            two.parent.captures.start(CaptureOrder(user="bob"))
