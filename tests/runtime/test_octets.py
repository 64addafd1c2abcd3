"""Octets of a TCP connection and of any other stream: the same to whoever reads them."""

import socket
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from poptrio.runtime.octets import Octets, Readiness, StreamOctets, TcpOctets


class Line:
    """Octets, and the stream of the other side."""

    def __init__(self, octets: Octets, peer: trio.abc.Stream) -> None:
        self.octets = octets
        self.peer = peer

    async def next(self) -> bytes:
        """What can be read next."""
        while True:
            with trio.fail_after(5.0):
                await self.octets.wait()
            if (data := self.octets.read()) is not None:
                return data


@pytest.fixture(params=["tcp", "stream"])
async def line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    if request.param == "stream":
        ours, theirs = memory_stream_pair()
        yield Line(StreamOctets(ours), theirs)
        return
    readiness = Readiness()
    mine, other = map(trio.socket.from_stdlib_socket, socket.socketpair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readiness.run)
        stream, peer = trio.SocketStream(mine), trio.SocketStream(other)
        octets = TcpOctets(stream, readiness)
        yield Line(octets, peer)
        octets.close()
        await stream.aclose()
        await peer.aclose()
        nursery.cancel_scope.cancel()


async def test_what_was_sent_is_read_and_then_the_end(line: Line):
    for data in (b"one", b"two"):
        await line.peer.send_all(data)
        assert await line.next() == data
    await line.peer.aclose()
    assert await line.next() == b""


async def test_nothing_is_there_after_an_interruption(line: Line):
    async def read() -> None:
        await line.octets.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        line.octets.interrupt()
    assert line.octets.read() is None
    await line.peer.send_all(b"later")
    assert await line.next() == b"later"


async def test_an_interruption_before_anybody_waits_counts(line: Line):
    line.octets.interrupt()
    with trio.fail_after(5.0):
        await line.octets.wait()
    assert line.octets.read() is None


async def test_who_was_cancelled_may_wait_again(line: Line):
    with trio.move_on_after(0):
        await line.octets.wait()
    await line.peer.send_all(b"again")
    assert await line.next() == b"again"
