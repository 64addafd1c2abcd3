"""Requests and their servers: tries, fail-over, dead servers, and replies that a good server never sends."""

import random

import pytest
import trio
from peer import SECRET, Peer, answers, attributes, silent, unsigned_reply

from poptrio_radius.channels import UNKNOWN, Channels
from poptrio_radius.packets import Code, Request, respond
from poptrio_radius.server import RECOVERY, Patience, Server
from poptrio_radius.server_pool import NoReply, ServerPool

ACCESS = Request(Code.ACCESS_REQUEST, attributes(User_Name="bob"))


def elapsed(begin):
    """Seconds of virtual time, without the microseconds of real time that are among them."""
    return round(trio.current_time() - begin, 1)


class Field:
    """A pool and its scripted servers."""

    def __init__(self, nursery, scripts, order="listed", **channels):
        self.nursery = nursery
        self.peers = [Peer(nursery, script) for script in scripts]
        rng, patience = random.Random(1), Patience()
        self.servers = [
            Server(
                f"server-{number}",
                "authentication",
                Channels(peer.open_link, SECRET, nursery, **channels),
                patience,
                rng,
            )
            for number, peer in enumerate(self.peers)
        ]
        self.pool = ServerPool(self.servers, patience, order, rng)

    async def ask(self, seconds=10.0, request=ACCESS, **options):
        return await self.pool.ask(request, trio.current_time() + seconds, **options)

    def codes(self):
        return [len(peer.requests) for peer in self.peers]


@pytest.fixture
def field(nursery):
    return lambda *scripts, **options: Field(nursery, scripts, **options)


async def test_a_reply_is_the_answer(field, autojump_clock):
    one = field(answers(Reply_Message="hello"))
    reply = await one.ask()
    assert reply.packet.attributes.text("Reply-Message") == "hello"
    assert reply.server is one.servers[0]
    counters = reply.server.counters
    assert (counters.requests, counters.replies, counters.retransmissions, counters.timeouts) == (1, 1, 0, 0)


async def test_a_request_is_sent_again_unchanged_until_it_is_answered(field, autojump_clock):
    one = field(silent)
    heard = []

    def third_time(request):
        heard.append(trio.current_time())
        return answers()(request) if len(heard) == 3 else ()

    one.peers[0].script = third_time
    begin = trio.current_time()
    await one.ask()
    assert [round(time - begin, 1) for time in heard] == [0, 3, 6]
    assert len({request.raw for request in one.peers[0].requests}) == 1
    assert one.servers[0].counters.retransmissions == 2


async def test_a_reply_that_comes_after_the_retry_counts(field, autojump_clock):
    one = field(answers(after=4))
    begin = trio.current_time()
    await one.ask()
    assert elapsed(begin) == 4


async def test_silence_is_no_reply_and_within_the_deadline(field, autojump_clock):
    one = field(silent)
    begin = trio.current_time()
    with pytest.raises(NoReply, match="server-0: no answer"):
        await one.ask(seconds=8)
    assert elapsed(begin) == 8
    assert one.servers[0].dead
    assert one.servers[0].counters.timeouts == 1


async def test_the_second_server_gets_its_chance_before_the_deadline(field, autojump_clock):
    two = field(silent, answers())
    begin = trio.current_time()
    reply = await two.ask(seconds=10)
    assert reply.server is two.servers[1]
    assert elapsed(begin) == 5
    assert two.servers[0].dead


async def test_the_first_server_may_answer_while_the_second_is_asked(field, autojump_clock):
    two = field(answers(after=6), silent)
    reply = await two.ask(seconds=10)
    assert reply.server is two.servers[0]
    assert not two.servers[0].dead
    assert reply.request_authenticator == two.peers[0].requests[0].authenticator


async def test_a_dead_server_is_passed_over(field, autojump_clock):
    two = field(silent, answers())
    await two.ask()
    asked = len(two.peers[0].requests)
    begin = trio.current_time()
    await two.ask()
    assert elapsed(begin) == 0
    assert len(two.peers[0].requests) == asked


async def test_one_request_tries_a_dead_server_when_its_time_is_over(field, autojump_clock):
    two = field(silent, answers())
    await two.ask()
    await trio.sleep(80)
    asked = len(two.peers[0].requests)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(two.ask)
    tried = {request.raw for request in two.peers[0].requests[asked:]}
    assert len(tried) == 1


async def test_when_all_are_dead_all_are_asked(field, autojump_clock):
    two = field(silent, silent)
    with pytest.raises(NoReply, match="server-0: no answer; server-1: no answer"):
        await two.ask()
    two.peers[1].script = answers()
    assert (await two.ask()).server is two.servers[1]
    assert not two.servers[1].dead


async def test_a_server_that_answers_others_is_not_dead(field, autojump_clock):
    one = field(lambda request: () if request.attributes.text("User-Name") == "bob" else answers()(request))
    alice = Request(Code.ACCESS_REQUEST, attributes(User_Name="alice"))

    async def ask_for_alice():
        await trio.sleep(1)
        await one.ask(request=alice)

    one.nursery.start_soon(ask_for_alice)
    with pytest.raises(NoReply):
        await one.ask()
    assert not one.servers[0].dead


async def test_a_deadline_too_short_for_one_try_says_nothing_about_the_server(field, autojump_clock):
    one = field(silent)
    with pytest.raises(NoReply):
        await one.ask(seconds=1)
    assert not one.servers[0].dead
    with pytest.raises(NoReply, match="no time"):
        await one.ask(seconds=0)


async def test_a_cancelled_request_gives_everything_back(field, autojump_clock):
    one = field(silent)
    with trio.move_on_after(1):
        await one.ask()
    assert not one.servers[0].dead
    (channel,) = one.servers[0].channels._channels
    assert len(channel.free) == 256
    assert not channel.waiting


async def test_a_challenge_is_answered_to_the_server_that_sent_it_and_to_no_other(field, autojump_clock):
    two = field(silent, answers())
    with pytest.raises(NoReply):
        await two.ask(only=two.servers[0])
    assert two.codes() == [3, 0]


async def test_weights_share_the_requests(field, autojump_clock):
    two = field(answers(), answers(), order="weighted")
    two.servers[1].weight = 3
    for _ in range(200):
        await two.ask()
    first, second = two.codes()
    assert first + second == 200
    assert 30 <= first <= 70


async def test_200_at_once_against_a_server_that_needs_2_seconds(field, autojump_clock):
    one = field(answers(after=2))
    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(one.ask)
    assert elapsed(begin) == 2
    assert one.servers[0].counters.replies == 200
    assert len(one.peers[0].links) == 1


async def test_more_than_256_in_flight_use_several_links(field, autojump_clock):
    one = field(answers(after=2))
    async with trio.open_nursery() as nursery:
        for _ in range(600):
            nursery.start_soon(one.ask)
    assert one.servers[0].counters.replies == 600
    assert len(one.peers[0].links) == 3
    await one.ask()
    assert len(one.peers[0].links) == 3


# What a good server never sends.


async def ignored(one, evil, reason):
    """``evil`` comes at once, the right answer after a second; the right one counts."""
    one.peers[0].script = lambda request: (
        [(0, octets) for octets in evil(request)] + [(1, respond(request, Code.ACCESS_REJECT, attributes(), SECRET))]
    )
    begin = trio.current_time()
    reply = await one.ask()
    assert reply.packet.code == Code.ACCESS_REJECT
    assert elapsed(begin) == 1
    assert one.servers[0].counters.dropped[reason] == len(evil(one.peers[0].requests[-1]))


async def test_a_wrong_authenticator_does_not_end_the_wait(field, autojump_clock):
    await ignored(field(silent), lambda r: [respond(r, Code.ACCESS_ACCEPT, attributes(), b"guess")], "authenticator")


async def test_a_wrong_identifier_does_not_end_the_wait(field, autojump_clock):
    def evil(request):
        reply = respond(request, Code.ACCESS_ACCEPT, attributes(), SECRET)
        return [reply[:1] + bytes([reply[1] ^ 1]) + reply[2:]]

    await ignored(field(silent), evil, UNKNOWN)


async def test_truncated_looping_and_empty_packets_do_not_end_the_wait(field, autojump_clock):
    def evil(request):
        identifier = bytes([request.identifier])
        loop = b"\x02" + identifier + b"\x00\x18" + bytes(16) + b"\x12\x00\x12\x00"
        return [loop, loop[:-1] + b"\x09"]

    await ignored(field(silent), evil, "attribute length")
    await ignored(field(silent), lambda r: [bytes([2, r.identifier, 0, 20])], "truncated")
    await ignored(field(silent), lambda r: [b"", b"\x02"], UNKNOWN)


async def test_256_guesses_do_not_end_the_wait(field, autojump_clock):
    def evil(request):
        return [bytes([2, request.identifier, 0, 20]) + bytes([guess]) * 16 for guess in range(256)]

    await ignored(field(silent), evil, "authenticator")


async def test_a_reply_without_message_authenticator_is_dropped_and_a_late_one_with_it_counts(field, autojump_clock):
    await ignored(field(silent), lambda r: [unsigned_reply(r.raw)], "message authenticator missing")


async def test_old_servers_are_believed_only_if_the_operator_says_so(field, autojump_clock):
    one = field(lambda request: [(0, unsigned_reply(request.raw))], require_message_authenticator=False)
    assert (await one.ask()).packet.code == Code.ACCESS_ACCEPT


async def test_a_replay_is_dropped(field, autojump_clock):
    one = field(answers())
    await one.ask()
    old = respond(one.peers[0].requests[0], Code.ACCESS_ACCEPT, attributes(), SECRET)
    one.peers[0].script = silent
    one.nursery.start_soon(one.ask, 30)
    await trio.sleep(1)
    (link,) = one.peers[0].links
    link.inject(old)
    await trio.sleep(1)
    assert one.servers[0].counters.dropped == {UNKNOWN: 1}
    link.inject(old[:1] + bytes([one.peers[0].requests[1].identifier]) + old[2:])
    one.peers[0].script = answers()
    await trio.sleep(5)
    assert one.servers[0].counters.dropped == {UNKNOWN: 1, "authenticator": 1}
    assert one.servers[0].counters.replies == 2


async def test_forgeries_are_logged_once_a_minute(field, log_events, autojump_clock):
    one = field(lambda request: [(0, respond(request, Code.ACCESS_ACCEPT, attributes(), b"x"))] * 500)
    with pytest.raises(NoReply):
        await one.ask(4)
    dropped = [event for event in log_events if event["event"] == "radius reply dropped"]
    assert len(dropped) == 1
    await trio.sleep(60)
    with pytest.raises(NoReply):
        await one.ask(4)
    dropped = [event for event in log_events if event["event"] == "radius reply dropped"]
    assert [event["count"] for event in dropped] == [1, 1000]


# Links that break.


async def test_a_server_that_cannot_be_reached_is_left_at_once(field, autojump_clock):
    two = field(answers(), answers())
    two.peers[0].refuses = OSError(113, "No route to host")
    begin = trio.current_time()
    reply = await two.ask()
    assert reply.server is two.servers[1]
    assert elapsed(begin) == 0
    assert two.servers[0].dead


async def test_a_connection_that_breaks_is_left_at_once_and_opened_again(field, autojump_clock):
    one = field(silent)
    one.peers[0].reliable = True

    async def cut():
        await trio.sleep(1)
        one.peers[0].links[0].close()

    one.nursery.start_soon(cut)
    begin = trio.current_time()
    with pytest.raises(NoReply, match="the connection was lost"):
        await one.ask()
    assert elapsed(begin) == 1
    one.peers[0].script = answers()
    await one.ask()
    assert len(one.peers[0].links) == 2


async def test_nothing_is_sent_twice_over_a_reliable_link(field, autojump_clock):
    one = field(answers(after=8))
    one.peers[0].reliable = True
    await one.ask()
    assert one.codes() == [1]


async def test_many_that_wait_for_a_link_learn_together_that_there_is_none(field, autojump_clock):
    one = field(silent)
    opened = []

    async def refuse():
        opened.append(trio.current_time())
        await trio.sleep(5)
        raise TimeoutError("no TLS connection")

    one.servers[0].channels._open_link = refuse
    begin = trio.current_time()

    async def fail():
        with pytest.raises(NoReply, match="no TLS connection"):
            await one.ask()

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(fail)
    assert len(opened) == 1
    assert elapsed(begin) == 5


# Coming back.


async def test_status_server_finds_out_that_a_server_is_back(field, log_events, autojump_clock):
    two = field(silent, answers())
    for server in two.servers:
        two.nursery.start_soon(server.probe)
    await two.ask()
    assert two.servers[0].dead
    await trio.sleep(30)
    probes = two.peers[0].at(Code.STATUS_SERVER)
    assert 2 <= len(probes) <= 4
    assert two.servers[0].dead
    two.peers[0].script = answers()
    await trio.sleep(15)
    assert not two.servers[0].dead
    assert [event["event"] for event in log_events] == ["radius server dead", "radius server alive"]
    probed = len(two.peers[0].at(Code.STATUS_SERVER))
    await trio.sleep(100)
    assert len(two.peers[0].at(Code.STATUS_SERVER)) == probed
    assert not two.peers[1].at(Code.STATUS_SERVER)


async def test_a_server_that_comes_back_gets_its_share_bit_by_bit(field, autojump_clock):
    two = field(silent, answers())
    two.nursery.start_soon(two.servers[0].probe)
    await two.ask()
    two.peers[0].script = answers()
    await two.peers[0].answered.wait()
    shares = []
    for _ in range(2):
        before = two.codes()[0]
        for _ in range(50):
            await two.ask()
            await trio.sleep(RECOVERY / 100)
        shares.append(two.codes()[0] - before)
    assert 0 < shares[0] < shares[1] < 50
    await two.ask()
    before = two.codes()[0]
    for _ in range(20):
        await two.ask()
    assert two.codes()[0] - before == 20


async def test_a_lonely_server_gets_everything_at_once_when_it_is_back(field, autojump_clock):
    one = field(silent)
    with pytest.raises(NoReply):
        await one.ask()
    one.peers[0].script = answers()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one.ask)
    assert not one.servers[0].dead
