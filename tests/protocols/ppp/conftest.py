"""Our server and our client, each with the test as its peer, and the way to every phase of a session."""

from ipaddress import IPv4Address

import pytest

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.authenticator import Accepted, Credentials, Refused
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.client_session import ClientSession
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.server_session import ServerSession
from poptrio.protocols.ppp.session_events import AuthenticationNeeded, SessionSettings
from poptrio.testing.playbook import CountingRandom, Playbook

KEYS = MppeKeys(b"s" * 16, b"r" * 16, b"w" * 8, b"v" * 8)
OURS, ASSIGNED = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")


def session_settings(auth=("mschap-v2",), encryption="require", bits=(128,), mode="any", **others):
    """Settings by the words of the configuration."""
    return SessionSettings(
        authentication=[AuthProtocol.from_label(label) for label in auth],
        encryption=EncryptionPolicy(encryption, tuple(bits), mode),
        **others,
    )


class Peer(Playbook):
    """A playbook that can go through the usual steps, so that a test begins where it becomes interesting."""

    def ack(self, protocol):
        """The peer agrees to our latest Configure-Request."""
        return self.hear(self.requests[protocol].replace("ConfReq", "ConfAck"))

    def said(self):
        """As in `Playbook`; our Configure-Requests are remembered."""
        lines = super().said()
        self.requests = getattr(self, "requests", {}) | {
            line.split()[0]: line for line in lines if line.split()[1] == "ConfReq"
        }
        return lines

    def agree(self, protocol, options=""):
        """Both sides request and agree; what we said to the second Ack."""
        self.hear(f"{protocol} ConfReq 1 {options}")
        return self.ack(protocol)


class ServersPeer(Peer):
    """Calls our server."""

    def link(self, options="<mru 1400> <magic 0a0b0c0d>"):
        """LCP is up."""
        self.start()
        return self.agree("LCP", options)

    def respond(self, identifier=3, name="alice"):
        """The peer answers the challenge; the event that asks for judgement."""
        assert self.hear(f"CHAP Response {identifier} value={'07' * 49} name={name}") == []
        return self.question()

    def question(self):
        """The last `AuthenticationNeeded`."""
        return self.events(AuthenticationNeeded)[-1].request

    def accept(self, request, keys=KEYS, message="S=1", **others):
        """The plugins accept."""
        self.session.authenticated(request, Accepted(message, message), keys, self.now, **others)
        return self.said()

    def refuse(self, request, cause=CauseOfEnd.AUTHENTICATION_FAILED, **reason):
        """The plugins refuse."""
        self.session.refused(request, Refused(**reason), cause, "why", self.now)
        return self.said()

    def log_in(self, **others):
        """LCP is up, MS-CHAPv2 has succeeded."""
        self.link()
        return self.accept(self.respond(), **others)

    def assign(self, dns=(), wins=()):
        """The plugins have found an address."""
        return self.do(self.session.assign, OURS, ASSIGNED, dns, wins)

    def encrypt(self, options="<mppe 01000040>"):
        """CCP is up."""
        return self.agree("CCP", options)

    def up(self, options="<mppe 01000040>"):
        """IP may pass."""
        self.log_in()
        self.assign()
        self.encrypt(options)
        return self.agree("IPCP", "<addr 10.0.0.2>")


class ClientsPeer(Peer):
    """Is called by our client."""

    def link(self, options="<auth mschap-v2> <magic 0a0b0c0d>"):
        """LCP is up."""
        self.start()
        return self.agree("LCP", options)


@pytest.fixture
def make_server():
    """A new server session and its peer; settings by the words of the configuration."""
    return lambda **words: ServersPeer(ServerSession(session_settings(**words), CountingRandom()))


@pytest.fixture
def make_client():
    """A new client session and its peer."""

    def make(name="alice", password="secret", **words):
        return ClientsPeer(ClientSession(session_settings(**words), Credentials(name, password), CountingRandom()))

    return make


@pytest.fixture
def server(make_server):
    """A new server session as configured by default."""
    return make_server()


@pytest.fixture
def client(make_client):
    """A new client session as configured by default."""
    return make_client()
