"""The option exchange and the Restart timer by themselves (RFC 1661 §4.3 to §5.6), with IPCP as the example."""

import math
from ipaddress import IPv4Address

import pytest

from poptrio.protocols.ppp.automaton import State
from poptrio.protocols.ppp.control_protocol import LayerEvent, NegotiationSettings
from poptrio.protocols.ppp.frames import Code, Packet
from poptrio.protocols.ppp.ipcp import Ipcp
from poptrio.protocols.ppp.options import Insistence

SETTINGS = NegotiationSettings(restart_interval=2.0, max_configure=3, max_terminate=2, max_failure=2)
ADDRESS = bytes.fromhex("03060a000001")
PEERS_ADDRESS = bytes.fromhex("03060a000002")


@pytest.fixture
def ipcp():
    """IPCP in Req-Sent; its request has left."""
    ipcp = new_ipcp()
    ipcp.open(0.0)
    ipcp.up(0.0)
    assert ipcp.packets_to_send() == (Packet(Code.CONFIGURE_REQUEST, 1, ADDRESS),)
    assert ipcp.state is State.REQ_SENT
    return ipcp


def new_ipcp():
    return Ipcp.as_server(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), [], [], SETTINGS)


def hear(ipcp, code, identifier, data=b"", now=0.0):
    ipcp.receive(Packet(code, identifier, data), now)
    return list(ipcp.packets_to_send())


def open_up(ipcp):
    hear(ipcp, Code.CONFIGURE_ACK, 1, ADDRESS)
    hear(ipcp, Code.CONFIGURE_REQUEST, 1, PEERS_ADDRESS)
    assert ipcp.layer_events[-1] is LayerEvent.UP
    assert ipcp.opened


def test_while_the_layer_below_is_down_packets_are_discarded():
    ipcp = new_ipcp()
    assert hear(ipcp, Code.CONFIGURE_REQUEST, 1, PEERS_ADDRESS) == []
    ipcp.rejected_by_peer(0.0)
    assert ipcp.state is State.INITIAL
    ipcp.open(0.0)
    assert hear(ipcp, Code.CONFIGURE_REQUEST, 1, PEERS_ADDRESS) == []
    assert ipcp.state is State.STARTING


def test_the_restart_timer_repeats_the_request_max_configure_times_in_all(ipcp):
    for now in (2.0, 4.0):
        ipcp.handle_timeout(now - 0.1)
        assert ipcp.packets_to_send() == ()
        ipcp.handle_timeout(now)
        assert ipcp.packets_to_send() == (Packet(Code.CONFIGURE_REQUEST, 1, ADDRESS),)
    ipcp.handle_timeout(6.0)
    assert ipcp.packets_to_send() == ()
    assert (ipcp.state, ipcp.layer_events[-1], ipcp.deadline) == (State.STOPPED, LayerEvent.FINISHED, math.inf)


def test_the_timer_rests_when_both_agreed(ipcp):
    assert ipcp.deadline == 2.0
    open_up(ipcp)
    assert ipcp.deadline == math.inf


def test_an_answer_gives_the_full_count_again(ipcp):
    ipcp.handle_timeout(2.0)
    ipcp.handle_timeout(4.0)
    hear(ipcp, Code.CONFIGURE_NAK, 1, ADDRESS, now=5.0)
    for now in (7.0, 9.0):
        ipcp.handle_timeout(now)
        assert ipcp.state is State.REQ_SENT
    ipcp.handle_timeout(11.0)
    assert ipcp.state is State.STOPPED


def test_a_stopped_protocol_begins_anew_when_the_peer_does(ipcp):
    for now in (2.0, 4.0, 6.0):
        ipcp.handle_timeout(now)
    ipcp.packets_to_send()
    said = hear(ipcp, Code.CONFIGURE_REQUEST, 1, PEERS_ADDRESS, now=9.0)
    assert said == [Packet(Code.CONFIGURE_REQUEST, 2, ADDRESS), Packet(Code.CONFIGURE_ACK, 1, PEERS_ADDRESS)]
    assert ipcp.deadline == 11.0


def test_terminate_request_gets_its_ack_and_a_moment_for_the_last_packets(ipcp):
    open_up(ipcp)
    assert hear(ipcp, Code.TERMINATE_REQUEST, 9, now=5.0) == [Packet(Code.TERMINATE_ACK, 9)]
    assert (ipcp.layer_events[-1], ipcp.deadline) == (LayerEvent.DOWN, 7.0)
    ipcp.handle_timeout(7.0)
    assert (ipcp.state, ipcp.layer_events[-1]) == (State.STOPPED, LayerEvent.FINISHED)
    assert ipcp.packets_to_send() == ()


def test_the_layer_below_goes_down_and_comes_up_again(ipcp):
    open_up(ipcp)
    ipcp.down(5.0)
    assert (ipcp.state, ipcp.layer_events[-1], ipcp.deadline) == (State.STARTING, LayerEvent.DOWN, math.inf)
    ipcp.down(5.0)
    assert ipcp.packets_to_send() == ()
    ipcp.up(6.0)
    assert ipcp.packets_to_send() == (Packet(Code.CONFIGURE_REQUEST, 2, ADDRESS),)


def test_close_sends_max_terminate_requests(ipcp):
    open_up(ipcp)
    ipcp.close(5.0)
    ipcp.handle_timeout(7.0)
    assert [packet.code for packet in ipcp.packets_to_send()] == [Code.TERMINATE_REQUEST] * 2
    ipcp.handle_timeout(9.0)
    assert (ipcp.state, ipcp.layer_events[-1]) == (State.CLOSED, LayerEvent.FINISHED)


def test_a_closed_protocol_answers_everything_with_terminate_ack(ipcp):
    ipcp.close(0.0)
    hear(ipcp, Code.TERMINATE_ACK, 2)
    assert ipcp.state is State.CLOSED
    said = hear(ipcp, Code.CONFIGURE_REQUEST, 1, PEERS_ADDRESS)
    assert [packet.code for packet in said] == [Code.TERMINATE_ACK]


def test_max_failure_naks_then_a_reject(ipcp):
    wrong = bytes.fromhex("03060a000009")
    for number in range(2):
        assert hear(ipcp, Code.CONFIGURE_REQUEST, number, wrong) == [Packet(Code.CONFIGURE_NAK, number, PEERS_ADDRESS)]
    assert hear(ipcp, Code.CONFIGURE_REQUEST, 2, wrong) == [Packet(Code.CONFIGURE_REJECT, 2, wrong)]
    assert ipcp.failure == ipcp.dispute == "the peer insists on 10.0.0.9 instead of 10.0.0.2"


def test_an_ack_lets_the_count_begin_again(ipcp):
    wrong = bytes.fromhex("03060a000009")
    for _ in range(4):
        assert hear(ipcp, Code.CONFIGURE_REQUEST, 1, wrong)[0].code == Code.CONFIGURE_NAK
        assert hear(ipcp, Code.CONFIGURE_REQUEST, 2, PEERS_ADDRESS)[0].code == Code.CONFIGURE_ACK


def test_refusals_without_end_are_left_to_the_timer(ipcp):
    for number in range(1, 4):
        assert hear(ipcp, Code.CONFIGURE_REJECT, number) == [Packet(Code.CONFIGURE_REQUEST, number + 1, ADDRESS)]
    assert ipcp.dispute == "the peer refused 3 Configure-Requests in a row"
    assert hear(ipcp, Code.CONFIGURE_REJECT, 4) == []
    hear(ipcp, Code.CONFIGURE_ACK, 4, ADDRESS)
    assert ipcp.dispute is None


def test_identifiers_wrap():
    ipcp = new_ipcp()
    assert [ipcp.next_identifier() for _ in range(257)][-3:] == [255, 0, 1]


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_insistence_counts(patience):
    insistence = Insistence(patience)
    assert [insistence.exhausted() for _ in range(patience + 2)] == [False] * patience + [True] * 2
