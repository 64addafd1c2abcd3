"""The notation in which the conversations of these tests are written, and the playbook's clock."""

import pytest

from poptrio.errors import MalformedPacket
from poptrio.protocols.ppp.notation import line_from_frame, log_line
from poptrio.testing.ppp_notation import frame_from_line


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        ("LCP ConfReq 1 <mru 1400> <auth mschap-v2> <pfc>", "ff03c021 0101000f 01040578 0305c22381 0702"),
        ("LCP ConfNak 1 <auth eap> <accm 000a0000>", "ff03c021 0301000e 0304c227 0206000a0000"),
        ("LCP ConfNak 1 <auth c229>", "ff03c021 03010008 0304c229"),
        ("EAP Request 1 identity=", "ff03c227 0101000501"),
        ("EAP Response 1 identity=DOM\\alice", "ff03c227 0201000e01 444f4d5c616c696365"),
        ("EAP Request 2 md5=0401020304", "ff03c227 0102000a04 0401020304"),
        ("EAP Response 2 nak=1a", "ff03c227 0202000603 1a"),
        ("EAP Request 3 type13=20", "ff03c227 010300060d 20"),
        ("EAP Success 3", "ff03c227 03030004"),
        ("CHAP ChangePw 4 00ff", "ff03c223 07040006 00ff"),
        ("LCP ConfReq 1 <1 01> <13 06> <99>", "ff03c021 0101000c 010301 0d0306 6302"),
        ("LCP TermReq 2", "ff03c021 05020004"),
        ("LCP 42 2 0102", "ff03c021 2a0200060102"),
        ("IPCP ConfReq 3 <addr 10.0.0.2> <wins2 0.0.0.0>", "ff038021 01030010 03060a000002 840600000000"),
        ("IPCP ConfReq 3 <3 0a>", "ff038021 01030007 03030a"),
        ("CCP ResetReq 4", "ff0380fd 0e040004"),
        ("CHAP Challenge 5 value=0a0b name=a server", "ff03c223 0105000f 020a0b 6120736572766572"),
        ("CHAP Success 5 S=0 M=hello", "ff03c223 0305000f 533d30204d3d68656c6c6f"),
        ("PAP AuthReq 6 user=al password=a b", "ff03c023 0106000b 02616c 03612062"),
        ("PAP AuthAck 6 hi", "ff03c023 02060007 026869"),
        ("8057 0101", "ff038057 0101"),
    ],
)
def test_lines_are_frames_and_back(line, frame):
    assert frame_from_line(line) == bytes.fromhex(frame)
    assert line_from_frame(bytes.fromhex(frame)) == line


def test_what_is_no_frame_has_no_line():
    with pytest.raises(MalformedPacket):
        line_from_frame(b"\xff\x03\xc0\x21\x01")


def test_time_stops_where_nothing_is_waited_for(server):
    assert server.wait() == []
    assert server.now == 0.0
    server.wait(5.0)
    assert server.now == 5.0


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        ("ff03c023 0106000e 02616c 06676568 65696d", "PAP AuthReq 6 user=al password=(hidden)"),
        ("ff03c023 01060009 02616c 06 67", "13 octets, malformed: "),
        ("ff03c023 09060006 6768", "PAP 9 6 (hidden)"),
        ("ff03c223 02050009 02 6768 616c", "CHAP Response 5 value=(hidden) name=al"),
        ("ff03c021 0805000a c023 01060004", "LCP ProtRej 5 c023(hidden)"),
        ("ff03c021 0101000a 0105010203 0302 00", "16 octets, malformed: "),
        ("ff03c223 01050007 01ff fe", "CHAP Challenge 5 value=ff name=\\xfe"),
        ("ff03c223 01050004", "8 octets, malformed: "),
        ("ff03c021" + "00" * 1501, "1505 octets"),
        ("", "0 octets, malformed: "),
    ],
)
def test_a_line_for_the_log_has_no_secret_and_never_fails(frame, line):
    assert log_line(bytes.fromhex(frame)).startswith(line)
