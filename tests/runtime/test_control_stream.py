"""The control connection over a stream: deadlines that move, writes that fail, ends that are told once."""

import itertools

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from poptrio.errors import CauseOfEnd
from poptrio.protocols.pptp.codes import StopReason
from poptrio.protocols.pptp.control import ControlConnection, ControlSettings, Role
from poptrio.protocols.pptp.events import ConnectionEnded, ConnectionStarted
from poptrio.runtime.control_stream import WRITE_TIMEOUT, ControlStream, echo_identifiers
from poptrio.runtime.ticker import Ticker


class End:
    """One end of a control connection and what it heard."""

    def __init__(self, role, stream, ticker, **settings):
        self.heard = []
        self.control = ControlConnection(role, ControlSettings(**settings), trio.current_time(), itertools.count())
        self.wire = ControlStream(stream, self.control, self.heard.append, ticker)

    def endings(self):
        return [event for event in self.heard if isinstance(event, ConnectionEnded)]


@pytest.fixture
def ticker(nursery):
    ticker = Ticker()
    nursery.start_soon(ticker.run)
    return ticker


async def both(nursery, ticker, streams=None, **settings):
    ours, theirs = streams or memory_stream_pair()
    server, client = End(Role.SERVER, ours, ticker, **settings), End(Role.CLIENT, theirs, ticker)
    for end in (server, client):
        nursery.start_soon(end.wire.read)
    client.control.start(trio.current_time())
    await client.wire.flush()
    await wait_all_tasks_blocked()
    assert isinstance(client.heard[0], ConnectionStarted)
    return server, client


async def test_both_hear_the_end_once(nursery, ticker, autojump_clock):
    server, client = await both(nursery, ticker)
    client.control.stop(StopReason.NONE, trio.current_time())
    await client.wire.flush()
    await wait_all_tasks_blocked()
    assert [end.wire.ended for end in (server, client)] == [*server.endings(), *client.endings()]
    assert trio.current_time() == 0


async def test_whoever_is_paused_twice_reads_on_after_one_word(nursery, ticker, autojump_clock):
    server, client = await both(nursery, ticker)
    for _ in range(2):
        server.wire.pause()
        await wait_all_tasks_blocked()
        assert server.wire.is_paused
    server.wire.go_on()
    server.wire.pause()  # before the reader has heard of it
    await wait_all_tasks_blocked()
    client.control.stop(StopReason.NONE, trio.current_time())
    await client.wire.flush()
    await wait_all_tasks_blocked()
    assert (server.wire.is_paused, server.endings()) == (True, [])
    server.wire.go_on()
    await wait_all_tasks_blocked()
    assert (server.wire.is_paused, len(server.endings())) == (False, 1)


async def test_a_stop_before_the_start_ends_the_reader_at_once(nursery, ticker, autojump_clock):
    ours, _theirs = memory_stream_pair()
    server = End(Role.SERVER, ours, ticker)
    nursery.start_soon(server.wire.read)
    await wait_all_tasks_blocked()
    server.control.stop(StopReason.STOP_LOCAL_SHUTDOWN, trio.current_time())
    await server.wire.flush()
    await wait_all_tasks_blocked()
    assert len(server.endings()) == 1
    assert trio.current_time() == 0


async def test_a_deadline_that_comes_closer_is_kept(nursery, ticker, autojump_clock):
    ours, theirs = memory_stream_pair()
    server = End(Role.SERVER, ours, ticker, stop_timeout=1.0)
    nursery.start_soon(server.wire.read)
    client = ControlConnection(Role.CLIENT, ControlSettings(), 0.0, itertools.count())
    client.start(0.0)
    await theirs.send_all(client.data_to_send())
    await wait_all_tasks_blocked()
    server.control.stop(StopReason.STOP_LOCAL_SHUTDOWN, trio.current_time())
    await server.wire.flush()
    await trio.sleep(0.9)
    assert not server.endings()
    await trio.sleep(0.2)
    assert len(server.endings()) == 1


async def test_a_peer_that_does_not_read_is_given_up_and_that_once(nursery, ticker, autojump_clock):
    ours, _theirs = lockstep_stream_pair()  # a write waits for its reader
    server = End(Role.SERVER, ours, ticker, start_timeout=1000.0)
    nursery.start_soon(server.wire.read)
    server.control.receive_data(b"GET / HTTP/1.1\r\n\r\n" + bytes(200), 0.0)
    server.control._outbox.output += b"something to say"
    for _ in range(3):
        nursery.start_soon(server.wire.flush)
    await trio.sleep(WRITE_TIMEOUT + 0.1)
    assert len(server.endings()) == 1
    begun = trio.current_time()
    await server.wire.flush()
    assert trio.current_time() == begun


async def test_a_write_is_not_cut_by_cancellation_but_by_abandon(nursery, ticker, autojump_clock):
    ours, _theirs = lockstep_stream_pair()
    server = End(Role.SERVER, ours, ticker)
    server.control._outbox.output += b"something to say"
    with trio.CancelScope() as scope:
        scope.cancel()

        async def abandon():
            await trio.sleep(2)
            server.wire.abandon()

        nursery.start_soon(abandon)
        await server.wire.flush()
        assert trio.current_time() == 2


async def test_what_the_peer_said_before_it_closed_is_still_heard(nursery, ticker, autojump_clock):
    server, client = await both(nursery, ticker)
    server.control.stop(StopReason.STOP_LOCAL_SHUTDOWN, trio.current_time())
    farewell = server.control.data_to_send()
    await server.wire._stream.send_all(farewell)
    await server.wire._stream.aclose()
    client.control.request_call(1, trio.current_time())
    await client.wire.flush()  # fails: TCP is closed
    await wait_all_tasks_blocked()
    (end,) = client.endings()
    assert end.cause is CauseOfEnd.SERVER_SHUTDOWN


@pytest.mark.parametrize("reset", [False, True])
async def test_eof_and_reset(reset, nursery, ticker, autojump_clock):
    server, client = await both(nursery, ticker)
    if reset:
        await server.wire._stream.aclose()
    await client.wire._stream.aclose()
    await wait_all_tasks_blocked()
    for end in (server, client):
        assert [event.cause for event in end.endings()] == [CauseOfEnd.CONTROL_CONNECTION_LOST]


def test_echo_identifiers_are_32_bits_and_begin_anywhere():
    first = [next(echo_identifiers()) for _ in range(20)]
    assert len(set(first)) > 15
    assert all(0 <= number < 2**32 for number in first)
