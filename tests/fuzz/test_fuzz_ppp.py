"""Hypothesis against PPP sessions of both roles, in every phase.

Nothing a peer sends makes a session raise; its end comes once and last; a deadline that is reached moves; and an answer
is not much longer than what asked for it.
"""

import itertools
import math
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import MsChapV2Request
from poptrio.protocols.ppp.authenticator import Accepted, Challenged, Credentials, Refused
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.client_session import ClientSession
from poptrio.protocols.ppp.frames import Packet, Protocol, build_frame
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.proof import prove
from poptrio.protocols.ppp.server_session import ServerSession
from poptrio.protocols.ppp.session import Phase
from poptrio.protocols.ppp.session_events import (
    AuthenticationNeeded,
    EncryptionChanged,
    NetworkUp,
    SessionEnded,
    SessionSettings,
)
from poptrio.testing.playbook import CountingRandom
from poptrio.testing.ppp_notation import frame_from_line

KEYS = MppeKeys(b"s" * 16, b"r" * 16, b"w" * 8, b"v" * 8)
ADDRESS = IPv4Address("10.0.0.2")
MOST_ANSWERED = 2000
"""Octets that one frame may cause besides twice its own length: our requests, repeated, and the answers held back."""

# Frames that lead somewhere, so that arbitrary ones meet every phase; ours to answer and the peer's to begin with.
LINES = [
    "LCP ConfReq 1 <mru 1400> <magic 0a0b0c0d> <pfc> <acfc>",
    "LCP ConfReq 1 <auth mschap-v2> <magic 0a0b0c0d>",
    "LCP ConfReq 1 <auth pap>",
    "LCP ConfAck 1 <mru 1400> <auth mschap-v2> <magic 01010101> <pfc> <acfc>",
    "LCP ConfAck 1 <mru 1400> <magic 01010101> <pfc> <acfc>",
    "LCP ConfNak 1 <mru 1400>",
    "LCP ConfRej 1 <pfc>",
    "LCP TermReq 2",
    "LCP TermAck 2",
    "LCP CodeRej 2 01010004",
    "LCP CodeRej 2 0c010004",
    "LCP ProtRej 2 80fd",
    "LCP ProtRej 2 8021",
    "LCP EchoReq 2 0a0b0c0d",
    "LCP EchoReq 2 00000000",
    "LCP EchoRep 2 01010101",
    "LCP Ident 2 0a0b0c0d4d5352415356",
    "CHAP Challenge 9 value=0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d name=server",
    "CHAP Success 9 S=00",
    "CHAP Failure 9 E=691 R=0",
    f"CHAP Response 3 value={'07' * 49} name=alice",
    f"CHAP Response 4 value={'07' * 49} name=alice",
    "PAP AuthReq 1 user=alice password=secret",
    "PAP AuthAck 1 welcome",
    "CCP ConfReq 1 <mppe 01000040>",
    "CCP ConfReq 2 <mppe 010000f1>",
    "CCP ConfReq 3",
    "CCP ConfAck 1 <mppe 01000040>",
    "CCP ConfRej 1 <mppe 01000040>",
    "CCP ResetReq 4",
    "CCP TermReq 4",
    "IPCP ConfReq 1 <addr 10.0.0.2>",
    "IPCP ConfReq 2 <addr 0.0.0.0> <dns1 0.0.0.0> <2 002d0f01>",
    "IPCP ConfAck 1 <addr 10.0.0.1>",
    "IPCP ConfAck 1 <addr 0.0.0.0> <dns1 0.0.0.0> <dns2 0.0.0.0>",
    "IPCP ConfNak 1 <addr 10.0.0.2>",
    "IPCP TermReq 4",
    "8057 0101000a",
    "EAP Request 9 identity=",
    "EAP Request 10 md5=100a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d",
    f"EAP Request 11 mschap-v2=010b0015{'10' + '0a' * 16}",
    f"EAP Request 12 mschap-v2=040b0034{('E=691 R=1 C=' + '0b' * 16 + ' V=3').encode().hex()}",
    "EAP Success 12",
    "EAP Failure 12",
    "EAP Response 3 identity=alice",
    f"EAP Response 4 mschap-v2=0204003b31{'07' * 49}{b'alice'.hex()}",
    "EAP Response 4 nak=04",
    "EAP Response 5 mschap-v2=03",
    f"CHAP ChangePw 4 {'07' * 582}",
]
KNOWN = st.sampled_from([frame_from_line(line) for line in LINES])


def spoilt(frame, position, octet, length):
    """A known frame with one octet changed, cut or lengthened."""
    octets = bytearray(frame)
    octets[position % len(octets)] = octet
    return (bytes(octets) + bytes(20))[: length % (len(octets) + 20)]


PACKETS = st.builds(
    lambda protocol, code, identifier, data: build_frame(protocol, Packet(code, identifier, data).encode()),
    st.sampled_from(
        [Protocol.LCP, Protocol.CHAP, Protocol.PAP, Protocol.EAP, Protocol.CCP, Protocol.IPCP, 0x8057, 0x0281]
    ),
    st.integers(0, 17),
    st.integers(0, 6) | st.integers(0, 255),
    st.binary(max_size=40),
)
LARGE = st.builds(
    lambda protocol, code, piece, size: build_frame(protocol, Packet(code, 1, (piece * size)[:size]).encode()),
    st.sampled_from([Protocol.LCP, Protocol.CHAP, Protocol.PAP, Protocol.CCP, Protocol.IPCP, 0x8057]),
    st.integers(1, 15),
    st.sampled_from([b"\x02\x02", b"\x63\x02", b"\x03\x02", b"\x12\x02", b"\x0a\x0b\x0c\x0d", b"\xff" * 255]),
    st.sampled_from([100, 128, 1400, 1496, 1497, 9000, 65_400, 65_531]),
)
"""Packets up to the largest Length field: many options, or few large ones."""

FRAMES = st.one_of(
    KNOWN,
    KNOWN,
    PACKETS,
    LARGE,
    st.builds(spoilt, KNOWN, st.integers(0, 200), st.integers(0, 255), st.integers(0, 200)),
    st.binary(max_size=64),
)
ANSWERS = ["accept", "refuse", "retry", "ask", "speak", "again", "assign", "reset", "end"]
STEPS = st.lists(
    st.one_of(FRAMES, FRAMES, FRAMES, st.floats(0.0, 40.0), st.sampled_from(ANSWERS)),
    max_size=40,
)
PREFIXES = {
    "server": [LINES[0], LINES[3], LINES[20], "accept", "assign", LINES[24], LINES[27], LINES[31], LINES[33]],
    "client": [LINES[1], LINES[4], LINES[17], "accept", LINES[24], LINES[27], LINES[31], LINES[35]],
}


def success_for(response):
    """The Success with which a server that knows the password answers our client's Response to line 17."""
    value = Packet.decode(response[response.index(b"\xc2\x23") + 2 :], "CHAP").data[1:50]
    request = MsChapV2Request(
        name="alice",
        username="alice",
        identifier=9,
        challenge=b"\x0a\x0b\x0c\x0d" * 4,
        peer_challenge=value[:16],
        nt_response=value[24:48],
    )
    proof = prove(request, "secret")
    return frame_from_line(f"CHAP Success 9 {proof.authenticator_response if proof else 'S=0'}")


class Subject:
    """A session with its checks after every step."""

    def __init__(self, role, policy, authentication=AuthProtocol.MSCHAP_V2):
        chosen = SessionSettings(
            authentication=(authentication, AuthProtocol.PAP),
            encryption=EncryptionPolicy(policy, (128, 40)),
            lcp_echo_interval=7.0,
            authentication_interval=20.0,
        )
        if role == "server":
            self.session = ServerSession(chosen, CountingRandom())
        else:
            self.session = ClientSession(chosen, Credentials("alice", "secret", ("other",), "new"), CountingRandom())
        self.now = 0.0
        self.happened = []
        self.response = None  # the client's CHAP Response
        self.session.start(self.now)
        self.check(0)

    def take(self, step):
        """One step: a frame, seconds, or an answer from the outside."""
        session = self.session
        asked = 0
        if isinstance(step, bytes):
            asked = len(step)
            session.receive_frame(step, self.now)
        elif isinstance(step, float):
            self.wait(step)
        elif step == "end":
            session.terminate(CauseOfEnd.ADMIN_RESET, "", self.now)
        elif step == "reset":
            session.request_encryption_reset(self.now)
        elif isinstance(session, ServerSession):
            self.answer(step)
        elif step == "accept" and self.response is not None:
            session.receive_frame(success_for(self.response), self.now)
        self.check(asked)

    def answer(self, step):
        requests = [event.request for event in self.happened if isinstance(event, AuthenticationNeeded)]
        if step == "assign":
            self.session.assign(IPv4Address("10.0.0.1"), ADDRESS, [IPv4Address("10.0.0.3")], [], self.now)
        elif requests and step == "accept":
            self.session.authenticated(requests[-1], Accepted("S=1"), KEYS, self.now)
        elif step == "again":
            self.session.challenge_again(self.now)
        elif requests and step == "ask":
            self.session.challenged(requests[-1], Challenged("more", b"\x01\x63\x00\x05\x06"), self.now)
        elif requests and step == "speak":
            self.session.speak_eap(requests[-1], ("mschap-v2", "md5"), self.now)
        elif requests:
            code = 648 if len(requests) % 2 else 691
            refused = Refused(code, retry=step == "retry")
            self.session.refused(requests[-1], refused, CauseOfEnd.AUTHENTICATION_FAILED, "", self.now)

    def wait(self, seconds):
        """Time passes; every deadline on the way is served, and none comes back for ever."""
        until = self.now + seconds
        for rounds in itertools.count():
            deadline = self.session.next_deadline()
            assert not math.isnan(deadline)
            if deadline > until:
                break
            assert rounds < 200, "a deadline that does not move"
            self.now = max(self.now, deadline)
            self.session.handle_timeout(self.now)
            assert self.session.next_deadline() > self.now
            self.check(0)
        self.now = until

    def check(self, asked):
        frames = self.session.frames_to_send()
        assert sum(map(len, frames)) <= MOST_ANSWERED + 2 * asked
        self.response = next((frame for frame in frames if b"\xc2\x23\x02" in frame[:5]), self.response)
        while (event := self.session.next_event()) is not None:
            self.happened.append(event)
        ends = [number for number, event in enumerate(self.happened) if isinstance(event, SessionEnded)]
        if self.session.phase is Phase.DEAD:
            assert ends == [len(self.happened) - 1]
            assert self.session.next_deadline() == math.inf
        else:
            assert ends == []


@pytest.mark.parametrize("policy", ["require", "prefer", "refuse"])
@pytest.mark.parametrize("role", ["server", "client"])
@settings(deadline=None, max_examples=150)
@given(depth=st.integers(0, 9), steps=STEPS)
def test_nothing_that_a_peer_sends_breaks_a_session(role, policy, depth, steps):
    subject = Subject(role, policy)
    for step in PREFIXES[role][:depth]:
        subject.take(step if step in ("accept", "assign") else frame_from_line(step))
    for step in steps:
        subject.take(step)
    subject.wait(70.0)
    subject.take("end")
    subject.wait(20.0)
    assert subject.session.phase is Phase.DEAD
    encryption = [event for event in subject.happened if isinstance(event, EncryptionChanged)]
    assert not encryption or encryption[-1] == EncryptionChanged(None, None)


EAP_PREFIXES = {
    "server": [
        LINES[0],
        LINES[3].replace("mschap-v2", "eap"),
        "EAP Response 3 identity=alice",
        "speak",
        f"EAP Response 4 mschap-v2=0204003b31{'07' * 49}{b'alice'.hex()}",
        "accept",
        "EAP Response 5 mschap-v2=03",
    ],
    "client": [
        LINES[1].replace("mschap-v2", "eap"),
        LINES[4],
        "EAP Request 9 identity=",
        f"EAP Request 11 mschap-v2=010b0015{'10' + '0a' * 16}",
    ],
}


@pytest.mark.parametrize("role", ["server", "client"])
@settings(deadline=None, max_examples=300)
@given(depth=st.integers(0, 7), steps=STEPS)
def test_nothing_that_a_peer_says_in_eap_breaks_a_session(role, depth, steps):
    subject = Subject(role, "prefer", AuthProtocol.EAP)
    for step in EAP_PREFIXES[role][:depth]:
        subject.take(step if step in ANSWERS else frame_from_line(step))
    for step in steps:
        subject.take(step)
    subject.wait(70.0)
    subject.take("end")
    subject.wait(20.0)
    assert subject.session.phase is Phase.DEAD


@settings(deadline=None, max_examples=100)
@given(steps=st.lists(FRAMES, max_size=30))
def test_without_authentication_nothing_but_lcp_and_authentication_is_answered(steps):
    subject = Subject("server", "require")
    for step in steps:
        subject.session.receive_frame(step, subject.now)
        for frame in subject.session.frames_to_send():
            number = int.from_bytes(frame[2:4] if frame[:2] == b"\xff\x03" else frame[:2], "big")
            assert number in (Protocol.LCP, Protocol.CHAP, Protocol.PAP, Protocol.EAP)
            assert number != Protocol.LCP or frame[4] != 8, "a Protocol-Reject before authentication"


@pytest.mark.parametrize("role", PREFIXES)
def test_the_prefixes_lead_to_a_session_that_is_up(role):
    subject = Subject(role, "require")
    for step in PREFIXES[role]:
        subject.take(step if step in ("accept", "assign") else frame_from_line(step))
    subject.take(frame_from_line("IPCP ConfAck 2 <addr 10.0.0.2> <dns1 0.0.0.0> <dns2 0.0.0.0>"))
    assert any(isinstance(event, NetworkUp) for event in subject.happened)
    assert subject.session.phase is Phase.NETWORK
