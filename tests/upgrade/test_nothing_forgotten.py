"""Every attribute of what an upgrade hands over is in its state, or in the list here of what need not be.

Who adds one says by this which it is: kept (and then it also goes back), derived from what is kept, given by the
settings, or over by the time that a call is handed over.
"""

from dataclasses import fields

import pytest

from poptrio.crypto import mppe_state
from poptrio.datapath import path_state
from poptrio.protocols import gre_state
from poptrio.protocols.ppp import protocol_state, session_state
from poptrio.protocols.pptp import control_state
from poptrio.testing.server import memory_server

MADE_ANEW = {
    "ServerSession": (
        {"settings", "demand", "random"}
        | {"authentication", "addresses", "granted", "phase", "heard", "refusal", "terminating"}  # as in every call up
        | {"frames", "events"}  # told and sent
        | {"challenge_deadline", "echo_deadline", "establish_deadline", "other_deadline"}  # from …_due
    ),
    "NetworkPhase": (
        {"lcp", "settings", "tell", "malformed"}
        | {"up", "ending", "held", "no_address", "preference_deadline", "refusal_deadline", "wished_address"}
    ),
    "Lcp": (
        {"automaton", "options", "settings", "deadline", "now", "answer", "output", "layer_events"}
        | {"farewell", "notes", "requests_sent"}
    ),
    "Ccp": (
        {"automaton", "options", "settings", "deadline", "now", "answer", "output", "layer_events"}
        | {"readied", "reset_requested"}
    ),
    "Ipcp": {"automaton", "options", "settings", "deadline", "now", "answer", "output", "layer_events", "address"},
    "MruOption": {"ours", "disagreement", "failure", "insistence"},
    "MagicNumberOption": {"random", "collisions", "disagreement", "failure"},
    "FlagOption": {"kind", "name", "disagreement", "failure"},
    "MppeOption": {"mandatory", "policy", "strengths", "peer_offers", "disagreement", "failure", "insistence"},
    "ChapAuthenticator": (
        {"kind", "our_name", "random", "settings", "cause", "failure", "succeeded"}
        | {"challenge", "deadline", "dialogue", "output", "packet_in_question", "pending", "requests", "resend"}
        | {"sends_left"}  # of a challenge that is out: the client is asked once more
    ),
    "GreChannel": {"ack_deadline", "ack_delay", "call_id", "counters", "reorder_packets", "reorder_timeout"},
    "MppeEncryptor": {"new", "once"},
    "MppeDecryptor": {"new", "once"},
    "MemoryCallPath": (
        {"call_at", "deliver", "delivered", "endpoint", "on_delivered", "owner", "peer", "ports", "send_gre"}
        | {"channel", "receive_parameters", "send_parameters", "wake_at", "closed", "tap", "icmp_bucket"}
    ),
    "ControlConnection": {"link", "outbox", "settings", "stream", "table"},
}


def attributes(thing: object) -> set[str]:
    slots = {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())}
    return {name.lstrip("_") for name in slots | getattr(thing, "__dict__", {}).keys()}


def handed_over(connection, call):
    """What is handed over of a call and its connection, each with the states that keep it."""
    session, path = call.ppp.session, call.path
    lcp, network = session.lcp, session.network
    negotiation = protocol_state.NegotiationState
    yield session, [session_state.SessionState]
    yield network, [session_state.NetworkState]
    yield lcp, [protocol_state.LcpState, negotiation]
    yield network.ccp, [protocol_state.CcpState, negotiation]
    yield network.ipcp, [protocol_state.IpcpState, negotiation]
    yield lcp.mru, [protocol_state.MruState]
    yield lcp.magic, [protocol_state.MagicState]
    yield lcp.pfc, [protocol_state.FlagState]
    yield network.ccp.mppe, [protocol_state.MppeOptionState]
    yield session._authenticator, [protocol_state.AuthenticatorState]
    yield path, [path_state.PathState]
    yield path._channel, [gre_state.GreState]
    yield path._encryptor, [mppe_state.EncryptorState]
    yield path._decryptor, [mppe_state.DecryptorState]
    yield connection._control, [control_state.ControlState]


@pytest.fixture
async def seen():
    """Attributes and what states keep of them, by class."""
    async with memory_server() as memory:
        await memory.dial()
        (connection,) = memory.server.connections
        (call,) = connection.calls.values()
        yield {
            type(thing).__name__: (attributes(thing), {field.name for state in states for field in fields(state)})
            for thing, states in handed_over(connection, call)
        }


async def test_every_attribute_is_kept_or_made_anew(seen, autojump_clock):
    assert {name: there - kept for name, (there, kept) in seen.items()} == MADE_ANEW
