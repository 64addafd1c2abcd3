"""Our server and our client over a link that loses, repeats and reorders frames, in virtual time, the same every time.

Whatever the link does, both come up and agree, or both end; nothing hangs, and nothing raises.
"""

import random
from ipaddress import IPv4Address

import pytest

from poptrio.protocols.ppp import session_events as events
from poptrio.protocols.ppp.auth_requests import EapRequest
from poptrio.protocols.ppp.authenticator import Accepted, Credentials
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.client_session import ClientSession
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.proof import prove
from poptrio.protocols.ppp.server_session import ServerSession
from poptrio.protocols.ppp.session import Phase
from poptrio.protocols.ppp.session_events import SessionSettings

ADDRESS = IPv4Address("10.0.0.2")


class Link:
    """Two sessions and the frames between them; ``loss``, ``repeat`` and ``reorder`` are probabilities."""

    def __init__(self, seed, settings, loss, repeat, reorder):
        dice = self.dice = random.Random(seed)
        self.now = 0.0
        self.server = ServerSession(settings, dice.randbytes)
        self.client = ClientSession(settings, Credentials("DOM\\alice", "secret"), dice.randbytes)
        self.happened = {self.server: [], self.client: []}
        self.odds = (loss, repeat, reorder)
        self.under_way = []  # (when it arrives, number, receiver, frame)
        self.numbers = iter(range(10**6))

    def run(self, until):
        """Everything that happens up to ``until`` seconds."""
        self.client.start(0.0)
        self.server.start(0.0)
        self.resume(until)

    def resume(self, until):
        """The same, of sessions that have begun."""
        while True:
            self.carry()
            times = [entry[0] for entry in self.under_way]
            times += [self.server.next_deadline(), self.client.next_deadline()]
            if min(times) > until:
                return
            self.now = max(self.now, min(times))
            self.arrive()
            for session in (self.server, self.client):
                session.handle_timeout(self.now)

    def carry(self):
        """Put on the link what both have to say, and hear their events."""
        for session, receiver in ((self.server, self.client), (self.client, self.server)):
            while (event := session.next_event()) is not None:
                self.happened[session].append(event)
                if isinstance(event, events.AuthenticationNeeded):
                    self.judge(event.request)
            for frame in session.frames_to_send():
                self.send(receiver, frame)

    def judge(self, request):
        if isinstance(request, EapRequest):
            self.server.speak_eap(request, ("mschap-v2", "md5"), self.now)
            return
        proof = prove(request, "secret")
        response = proof.authenticator_response or ""
        self.server.authenticated(request, Accepted(response), proof.mppe_keys, self.now)
        self.server.assign(IPv4Address("10.0.0.1"), ADDRESS, [IPv4Address("10.0.0.3")], [], self.now)

    def send(self, receiver, frame):
        loss, repeat, reorder = self.odds
        if self.dice.random() >= loss:
            for _ in range(2 if self.dice.random() < repeat else 1):
                detour = 0.05 if self.dice.random() < reorder else 0.0
                self.under_way.append((self.now + 0.01 + detour, next(self.numbers), receiver, frame))

    def arrive(self):
        due = sorted(entry[:2] for entry in self.under_way if entry[0] <= self.now)
        arriving = {entry[:2]: entry[2:] for entry in self.under_way}
        self.under_way = [entry for entry in self.under_way if entry[0] > self.now]
        for key in due:
            receiver, frame = arriving[key]
            receiver.receive_frame(frame, self.now)

    def last(self, session, kind):
        return next((event for event in reversed(self.happened[session]) if isinstance(event, kind)), None)

    def is_up(self, session):
        network = self.last(session, (events.NetworkUp, events.NetworkDown))
        return session.phase is Phase.NETWORK and isinstance(network, events.NetworkUp)


def settings(auth="mschap-v2", policy="require", **others):
    return SessionSettings(
        authentication=[AuthProtocol.from_label(auth)], encryption=EncryptionPolicy(policy), **others
    )


def check_agreement(link):
    """Both sides are up, and mean the same."""
    ours, theirs = link.last(link.server, events.NetworkUp), link.last(link.client, events.NetworkUp)
    assert (theirs.our_address, theirs.peer_address) == (ours.peer_address, ours.our_address)
    assert ours.peer_address == ADDRESS
    server, client = link.last(link.server, events.EncryptionChanged), link.last(link.client, events.EncryptionChanged)
    if server is not None and client is not None:
        assert (server.send, server.receive) == (client.receive, client.send)


@pytest.mark.parametrize("auth", ["mschap-v2", "mschap-v1", "chap-md5", "pap", "eap"])
@pytest.mark.parametrize("policy", ["require", "prefer", "refuse"])
def test_a_good_link_comes_up_without_a_pause(auth, policy):
    link = Link(1, settings(auth, policy), 0, 0, 0)
    link.run(until=1.2)
    keys = auth.startswith("mschap") or auth == "eap"
    if keys or policy != "require":
        assert link.is_up(link.server)
        assert link.is_up(link.client)
        check_agreement(link)
        assert bool(link.last(link.server, events.EncryptionUp)) is (keys and policy != "refuse")
    else:
        assert link.server.phase is link.client.phase is Phase.DEAD


@pytest.mark.parametrize("seed", range(120))
def test_a_lossy_link_comes_up(seed):
    """One frame in ten is lost; a GRE channel that drops what is late and repeated lets no more than that through."""
    auth = ["mschap-v2", "mschap-v1", "eap", "chap-md5", "pap"][seed % 5]
    policy = "refuse" if seed % 5 > 2 else ["require", "prefer"][seed // 5 % 2]
    link = Link(seed, settings(auth, policy), 0.1, 0, 0)
    link.run(until=59.0)
    assert link.is_up(link.server)
    assert link.is_up(link.client)
    check_agreement(link)


@pytest.mark.parametrize("seed", range(120))
def test_a_terrible_link_comes_up_or_ends_cleanly(seed):
    link = Link(seed, settings(["mschap-v2", "eap"][seed % 2], lcp_echo_interval=5.0), 0.2, 0.1, 0.1)
    link.run(until=150.0)
    for session in (link.server, link.client):
        ends = [event for event in link.happened[session] if isinstance(event, events.SessionEnded)]
        if session.phase is Phase.DEAD:
            assert link.happened[session].index(ends[0]) == len(link.happened[session]) - 1
        else:
            assert link.is_up(session)
            assert ends == []


def test_a_dead_link_ends_both_sides():
    link = Link(1, settings(), 1.0, 0, 0)
    link.run(until=70.0)
    for session in (link.server, link.client):
        assert link.last(session, events.SessionEnded).cause.label == "no-gre"


def test_a_link_that_dies_is_noticed():
    link = Link(1, settings(lcp_echo_interval=5.0), 0, 0, 0)
    link.run(until=1.0)
    assert link.is_up(link.server)
    link.odds = (1.0, 0, 0)
    link.resume(until=60.0)
    for session in (link.server, link.client):
        assert link.last(session, events.SessionEnded).cause.label == "lcp-echo-timeout"
