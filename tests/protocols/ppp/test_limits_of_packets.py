"""What bounds the work and the memory that packets of a peer can cost: sizes, numbers of options, negotiations."""

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.control_protocol import MOST_OPTIONS
from poptrio.protocols.ppp.frames import Code, Packet, Protocol, build_frame
from poptrio.protocols.ppp.session import MOST_NEGOTIATIONS, Phase
from poptrio.protocols.ppp.session_events import AuthenticationNeeded
from poptrio.testing.ppp_notation import frame_from_line


def lcp_request(data):
    return build_frame(Protocol.LCP, Packet(Code.CONFIGURE_REQUEST, 1, data).encode())


def test_the_largest_frame_is_answered_and_one_octet_more_is_dropped(server):
    server.link()
    echo = frame_from_line("LCP EchoReq 1 0a0b0c0d" + "00" * 1492)
    assert len(echo) == 1504
    (answer,) = server.hear_frames(echo)
    assert len(frame_from_line(answer)) == 4 + 1400  # cut to the peer's MRU
    assert server.hear_frames(frame_from_line("LCP EchoReq 1 0a0b0c0d" + "00" * 1493)) == []
    assert server.session.malformed == 1


@pytest.mark.parametrize("option", [b"\x63\x02", b"\x02\x02"])
def test_a_request_with_more_options_than_there_are_is_malformed(server, option):
    server.start()
    assert "LCP Conf" in server.hear_frames(lcp_request(option * MOST_OPTIONS))[-1]
    assert server.session.malformed == 0
    assert server.hear_frames(lcp_request(option * (MOST_OPTIONS + 1))) == []
    assert server.hear_frames(lcp_request(option * 32_700)) == []
    assert server.session.malformed == 2


def test_a_repeated_option_is_naked_once(server):
    server.start()
    assert server.hear_frames(lcp_request(b"\x02\x02" * 60))[-1] == "LCP ConfNak 1 <accm 00000000>"


def test_a_chap_name_has_at_most_256_octets(server):
    server.link()
    assert server.hear(f"CHAP Response 3 value={'07' * 49} name={'n' * 257}") == []
    assert server.session.malformed == 1
    assert server.events(AuthenticationNeeded) == []
    assert len(server.respond(name="n" * 256).name) == 256


def test_a_peer_cannot_have_more_and_more_answers_judged_by_negotiating_anew(server):
    server.link()
    for number in range(2, MOST_NEGOTIATIONS + 1):
        server.agree("LCP", f"<mru {1200 + number}>")
        assert server.session.phase is Phase.AUTHENTICATE
    assert server.hear("LCP ConfReq 99 <mru 1300>")[-1].startswith("LCP TermReq")
    server.hear("LCP TermAck 9")
    assert (server.ended.cause, server.ended.detail) == (CauseOfEnd.PROTOCOL_ERROR, "it negotiated LCP 10 times")
