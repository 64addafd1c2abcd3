"""A PPP session that is written down when IP passes, and read again: the peer notices nothing."""

import pytest

from poptrio.protocols.ppp import session_state
from poptrio.protocols.ppp.server_session import ServerSession
from poptrio.protocols.ppp.session_events import AuthenticationNeeded, EncryptionReset, SessionEnded

LATER = 5000.0


def twos(size):
    """Randomness that is the same in every session."""
    return b"\x02" * size


def up(make_server, options="<mppe 01000040>", **words):
    """A server session that is up, with its peer."""
    kind = type(make_server())
    peer = kind(ServerSession(make_server(**words).session.settings, twos))
    if words.get("encryption") == "refuse":
        peer.link()
        peer.hear("PAP AuthReq 1 user=alice password=secret")
        peer.accept(peer.question(), None)
        peer.assign()
        peer.agree("IPCP", "<addr 10.0.0.2>")
    else:
        peer.up(options)
    peer.events(object)
    assert session_state.is_quiet(peer.session)
    return peer


def moved(peer):
    """The peer of the session as it goes on in a process whose clock says `LATER`."""
    session = ServerSession(peer.session.settings, twos)
    session_state.restore(session, session_state.state_of(peer.session, peer.now), LATER)
    other = type(peer)(session)
    other.now = LATER
    return other


def compare(peer, other, *script):
    """Both say the same to every line of ``script``, and to every pause, in seconds."""
    for step in script:
        said = [one.wait(step) if isinstance(step, float) else one.hear(step) for one in (peer, other)]
        assert said[0] == said[1], step
        deadlines = [one.session.next_deadline() - one.now for one in (peer, other)]
        assert deadlines[0] == pytest.approx(deadlines[1]), step
    return [one.events(object) for one in (peer, other)]


SCRIPTS = {
    "echoes of the peer": ["LCP EchoReq 9 0a0b0c0d", "LCP EchoReq 10 0a0b0c0d"],
    "our echoes": [29.0, 2.0, "LCP EchoRep 4 0a0b0c0d", 60.0],
    "silence": [600.0],
    "goodbye": ["LCP TermReq 5"],
    "an acknowledgement that was lost": ["IPCP ConfReq 1 <addr 10.0.0.2>", "LCP ConfReq 1 <mru 1400> <magic 0a0b0c0d>"],
    "a response that was not answered": [f"CHAP Response 3 value={'07' * 49} name=alice"],
    "MPPE loses its place": ["CCP ResetReq 7"],
    "CCP again": ["CCP ConfReq 2 <mppe 01000020>"],
    "another address": ["IPCP ConfReq 2 <addr 10.0.0.9>", "IPCP ConfReq 3 <addr 10.0.0.2>"],
    "LCP again": ["LCP ConfReq 2 <mru 1400> <magic 0a0b0c0d>"],
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_going_on_is_as_never_having_stopped(make_server, script):
    peer = up(make_server)
    peer.wait(10.0)
    before = len(peer.events(object))
    stayed, went = compare(peer, moved(peer), *script)
    assert [type(event) for event in stayed[before:]] == [type(event) for event in went]


def test_without_encryption_and_by_pap(make_server):
    peer = up(make_server, auth=("pap",), encryption="refuse")
    compare(peer, moved(peer), "PAP AuthReq 2 user=alice password=secret", 31.0, "LCP TermReq 2")


def test_the_events_are_those_of_a_session_that_is_up(make_server):
    other = moved(up(make_server))
    other.hear("CCP ResetReq 7")
    assert [type(event) for event in other.events(object)] == [EncryptionReset]
    other.hear("LCP TermReq 5")
    assert other.events(SessionEnded)


def test_a_challenge_that_is_out_comes_again_at_once(make_server):
    peer = up(make_server, authentication_interval=100.0)
    (challenge,) = peer.wait(100.0)[-1:]
    assert challenge.startswith("CHAP Challenge")
    assert not session_state.is_quiet(peer.session)
    other = moved(peer)
    (again,) = other.wait(0.0)
    assert again.startswith("CHAP Challenge")
    identifier = again.split()[2]
    other.hear(f"CHAP Response {identifier} value={'07' * 49} name=alice")
    assert len(other.events(AuthenticationNeeded)) == 1


def test_intervals_that_are_other_ones_now(make_server):
    peer = up(make_server)
    state = session_state.state_of(peer.session, peer.now)
    for interval, due in ((0.0, float("inf")), (5.0, 5.0)):
        session = ServerSession(make_server(lcp_echo_interval=interval).session.settings, twos)
        session_state.restore(session, state, LATER)
        assert session.next_deadline() - LATER == due
