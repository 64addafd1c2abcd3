"""What is asked for each protocol, and what is made of each reply, against a scripted server."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest
import trio
from peer import SECRET, Peer, answers, silent

from poptrio.api import (
    Accept,
    CallInfo,
    Challenge,
    MsChapV2ChangePasswordRequest,
    PapRequest,
    Reject,
    Unavailable,
    verify,
)
from poptrio.crypto.mschap import hash_nt_password_hash, lm_password_hash, nt_password_hash
from poptrio.testing.requests import (
    chap_md5_request,
    eap_identity,
    mschap_v1_request,
    mschap_v2_request,
    pap_request,
)
from poptrio_radius.attributes import Attributes
from poptrio_radius.authentication import Authentication
from poptrio_radius.channels import Channels
from poptrio_radius.config import RadiusConfig
from poptrio_radius.hiding import hide_password, hide_salted, reveal_password
from poptrio_radius.packets import Code, respond
from poptrio_radius.server import Patience, Server
from poptrio_radius.server_pool import ServerPool

PASSWORD = "correct horse"
CALL = CallInfo(
    session_id="5e551on",
    call_id=77,
    peer_call_id=1,
    peer=IPv4Address("203.0.113.9"),
    server=IPv4Address("192.0.2.1"),
    started=datetime(2026, 1, 1, tzinfo=UTC),
    connection_id="c0nnect1on",
)


class Desk:
    """An `Authentication` and the scripted servers that it asks."""

    def __init__(self, nursery, *scripts, **keys):
        servers = [{"address": f"127.0.0.{number}", "secret": "testing123"} for number, _ in enumerate(scripts, 1)]
        config = RadiusConfig.model_validate({"servers": servers, **keys})
        rng, patience = random.Random(1), Patience(timeout=3.0, tries=3)
        self.peers = [Peer(nursery, script) for script in scripts]
        self.servers = [
            Server(f"server-{number}", "authentication", Channels(peer.open_link, SECRET, nursery), patience, rng)
            for number, peer in enumerate(self.peers)
        ]
        self.authentication = Authentication(config, ServerPool(self.servers, patience, "listed", rng), 10.0)

    async def decide(self, request, call=CALL):
        return await self.authentication.decide(call, request)

    def asked(self, number=-1):
        """The attributes of a request that the first server got."""
        return self.peers[0].requests[number].attributes


@pytest.fixture
def desk(nursery):
    return lambda *scripts, **keys: Desk(nursery, *scripts, **keys)


async def test_pap_hides_the_password(desk, autojump_clock):
    one = desk(answers())
    assert await one.decide(pap_request("alice", PASSWORD)) == Accept(user="alice")
    asked = one.asked()
    assert asked.text("User-Name") == "alice"
    hidden = asked.octets("User-Password")[0]
    assert reveal_password(hidden, SECRET, one.peers[0].requests[0].authenticator).rstrip(b"\0") == PASSWORD.encode()


async def test_every_request_says_who_we_are_and_which_call_it_is(desk, autojump_clock):
    one = desk(answers())
    await one.decide(pap_request("alice", PASSWORD))
    asked = one.asked()
    texts = {
        "NAS-Identifier": "poptrio",
        "NAS-Port-Id": "pptp-77",
        "Calling-Station-Id": "203.0.113.9",
        "Called-Station-Id": "192.0.2.1",
        "Acct-Session-Id": "5e551on",
        "Acct-Multi-Session-Id": "c0nnect1on",
        "Tunnel-Client-Endpoint": "203.0.113.9",
        "Tunnel-Server-Endpoint": "192.0.2.1",
    }
    assert {name: asked.text(name) for name in texts} == texts
    numbers = {"NAS-Port": 77, "NAS-Port-Type": 5, "Service-Type": 2, "Framed-Protocol": 1, "Tunnel-Type": 1}
    assert {name: asked.number(name) for name in numbers} == numbers
    assert one.peers[0].requests[0].raw[20] == 80, "Message-Authenticator is not the first attribute"


async def test_chap_is_its_identifier_and_response(desk, autojump_clock):
    one, request = desk(answers()), chap_md5_request("alice", PASSWORD)
    assert isinstance(await one.decide(request), Accept)
    assert one.asked().octets("CHAP-Password") == [bytes([request.identifier]) + request.response]
    assert one.asked().octets("CHAP-Challenge") == [request.challenge]


def mschap_v2_script(request, password=PASSWORD, **more):
    """A server that knows the password: proof and keys as RFC 2548 has them."""
    right = verify(request, password)

    def script(packet):
        salted = {
            "MS_MPPE_Send_Key": hide_salted(right.mppe_keys.send, SECRET, packet.authenticator, b"\x80\x01"),
            "MS_MPPE_Recv_Key": hide_salted(right.mppe_keys.receive, SECRET, packet.authenticator, b"\x80\x02"),
        }
        proof = bytes([request.identifier]) + right.authenticator_response.encode()
        return answers(MS_CHAP2_Success=proof, **salted, **more)(packet)

    return script, right


async def test_mschap_v2_brings_keys_and_proof(desk, autojump_clock):
    request = mschap_v2_request("CORP\\alice", PASSWORD)
    script, right = mschap_v2_script(request)
    one = desk(script)
    decision = await one.decide(request)
    assert (decision.mppe_keys, decision.authenticator_response) == (right.mppe_keys, right.authenticator_response)
    assert decision.aliases == ("CORP\\alice",)
    response = one.asked().octets("MS-CHAP2-Response")[0]
    assert response[2:18] + response[26:] == request.peer_challenge + request.nt_response


async def test_mschap_v2_without_proof_refuses(desk, autojump_clock):
    decision = await desk(answers()).decide(mschap_v2_request("alice", PASSWORD))
    assert isinstance(decision, Reject)
    assert "MS-CHAP2-Success" in decision.reason


async def test_mschap_v1_makes_its_keys_of_the_hashes(desk, autojump_clock):
    request = mschap_v1_request("alice", PASSWORD)
    hashes = lm_password_hash(PASSWORD)[:8] + hash_nt_password_hash(nt_password_hash(PASSWORD)) + bytes(8)

    def script(packet):
        return answers(MS_CHAP_MPPE_Keys=hide_password(hashes, SECRET, packet.authenticator))(packet)

    decision = await desk(script).decide(request)
    assert decision.mppe_keys == verify(request, PASSWORD).mppe_keys


@pytest.mark.parametrize("size", [0, 8, 15])
async def test_a_key_that_is_too_short_refuses(desk, size, autojump_clock):
    def script(packet):
        key = hide_salted(bytes(size), SECRET, packet.authenticator, b"\x80\x01")
        return answers(MS_MPPE_Send_Key=key, MS_MPPE_Recv_Key=key)(packet)

    decision = await desk(script).decide(pap_request("alice", PASSWORD))
    assert isinstance(decision, Reject)
    assert "MS-MPPE-Send-Key" in decision.reason


async def test_eap_is_relayed_whole_with_state_and_keys(desk, autojump_clock):
    long_packet = b"\x01\x02" + (600).to_bytes(2, "big") + b"\x0d" + bytes(595)
    pieces = [long_packet[:253], long_packet[253:506], long_packet[506:]]
    one = desk(answers(Code.ACCESS_CHALLENGE, EAP_Message=pieces, State=b"s1"))
    first = await one.decide(eap_identity("alice"))
    assert isinstance(first, Challenge)
    assert first.eap == long_packet
    response = b"\x02\x02" + (700).to_bytes(2, "big") + b"\x0d" + bytes(695)
    answer = replace(eap_identity("alice"), packet=response, context=first.context)

    def script(packet):
        key = hide_salted(bytes(range(32)), SECRET, packet.authenticator, b"\x80\x01")
        return answers(EAP_Message=b"\x03\x02\x00\x04", MS_MPPE_Send_Key=key, MS_MPPE_Recv_Key=key)(packet)

    one.peers[0].script = script
    decision = await one.decide(answer)
    assert one.asked().joined("EAP-Message") == response
    assert len(one.asked().octets("EAP-Message")) == 3
    assert one.asked().octets("State") == [b"s1"]
    assert (decision.eap, decision.mppe_keys.send) == (b"\x03\x02\x00\x04", bytes(range(16)))


async def test_a_one_time_password_in_the_same_call(desk, autojump_clock):
    one = desk(answers(Code.ACCESS_CHALLENGE, Reply_Message="Your code", State=b"s1"))
    challenge = await one.decide(pap_request("alice", PASSWORD))
    assert isinstance(challenge, Challenge)
    assert challenge.message == "Your code"
    one.peers[0].script = answers()
    code = PapRequest(name="alice", username="alice", password="246810", context=challenge.context)
    assert isinstance(await one.decide(code), Accept)
    assert one.asked().octets("State") == [b"s1"]


async def test_a_one_time_password_by_the_next_call_of_the_same_user_from_the_same_place(desk, autojump_clock):
    one = desk(answers(Code.ACCESS_CHALLENGE, State=b"s1"))
    await one.decide(pap_request("alice", PASSWORD))
    one.peers[0].script = answers()
    elsewhere = replace(CALL, peer=IPv4Address("203.0.113.8"))
    for request, call, state in (
        (pap_request("bob", "x"), CALL, []),
        (pap_request("alice", "x"), elsewhere, []),
        (pap_request("alice", "246810"), CALL, [b"s1"]),
        (pap_request("alice", "246810"), CALL, []),
    ):
        await one.decide(request, call)
        assert one.asked().octets("State") == state


async def test_a_challenge_is_forgotten_in_time(desk, autojump_clock):
    one = desk(answers(Code.ACCESS_CHALLENGE, State=b"s1"), challenge_memory=120.0)
    await one.decide(pap_request("alice", PASSWORD))
    await trio.sleep(121)
    await one.decide(pap_request("alice", "246810"))
    assert one.asked().octets("State") == []


async def test_a_challenge_that_the_protocol_cannot_carry_refuses(desk, autojump_clock):
    decision = await desk(answers(Code.ACCESS_CHALLENGE, State=b"s1")).decide(chap_md5_request("alice", PASSWORD))
    assert isinstance(decision, Reject)
    assert "no way to say" in decision.reason


async def test_a_refusal_brings_code_retry_challenge_and_message(desk, autojump_clock):
    error = b"\x01E=691 R=1 C=000102030405060708090A0B0C0D0E0F V=3 M=Try again"
    decision = await desk(answers(Code.ACCESS_REJECT, MS_CHAP_Error=error)).decide(mschap_v2_request("alice", "x"))
    assert (decision.code, decision.retry, decision.challenge, decision.message) == (
        691,
        True,
        bytes(range(16)),
        "Try again",
    )


async def test_an_expired_password_may_be_changed(desk, autojump_clock):
    one = desk(answers(Code.ACCESS_REJECT, MS_CHAP_Error=b"\x01E=648 R=0 V=3"))
    decision = await one.decide(mschap_v2_request("alice", PASSWORD))
    assert (decision.code, decision.retry) == (648, True)
    change = MsChapV2ChangePasswordRequest(
        name="alice",
        username="alice",
        identifier=9,
        challenge=bytes(16),
        peer_challenge=bytes(range(16)),
        nt_response=bytes(24),
        encrypted_password=bytes(range(256)) * 2 + bytes(4),
        encrypted_hash=bytes(16),
    )
    one.peers[0].script = answers(MS_CHAP2_Success=b"\x09S=" + b"A" * 40)
    accepted = await one.decide(change)
    assert accepted.authenticator_response == "S=" + "A" * 40
    pieces = one.asked().octets("MS-CHAP-NT-Enc-PW")
    assert b"".join(piece[4:] for piece in pieces) == change.encrypted_password
    assert [piece[2:4] for piece in pieces] == [bytes([0, number]) for number in range(1, len(pieces) + 1)]
    assert len(one.asked().octets("MS-CHAP2-CPW")[0]) == 68


async def test_a_reply_message_is_for_the_user(desk, autojump_clock):
    decision = await desk(answers(Code.ACCESS_REJECT, Reply_Message=["No", "money"])).decide(pap_request("alice", "x"))
    assert decision.message == "No\nmoney"


@pytest.mark.parametrize(("unavailable", "ask_next"), [("reject", False), ("next", True)])
async def test_silence_is_unavailable_before_the_server_gives_up(desk, unavailable, ask_next, autojump_clock):
    decision = await desk(silent, silent, unavailable=unavailable).decide(pap_request("alice", PASSWORD))
    assert isinstance(decision, Unavailable)
    assert decision.ask_next is ask_next
    assert trio.current_time() <= 9.1


async def test_the_name_that_the_client_hashed_is_the_one_that_is_asked(desk, autojump_clock):
    request = replace(mschap_v2_request("alice@example.org", PASSWORD), username="alice")  # as strip_realm makes it
    script, _ = mschap_v2_script(request)
    one = desk(script)
    await one.decide(request)
    assert one.asked().text("User-Name") == "alice@example.org"


async def test_a_name_as_it_was_sent(desk, autojump_clock):
    one = desk(answers(), user_name="as-sent")
    await one.decide(pap_request("CORP\\alice", PASSWORD))
    assert one.asked().text("User-Name") == "CORP\\alice"


async def test_the_server_may_give_the_user_another_name(desk, autojump_clock):
    decision = await desk(answers(User_Name="customer-7")).decide(pap_request("alice", PASSWORD))
    assert (decision.user, decision.aliases) == ("customer-7", ("alice",))


async def test_what_does_not_fit_is_refused_without_asking(desk, autojump_clock):
    one = desk(answers())
    decision = await one.decide(pap_request("alice", "x" * 200))
    assert isinstance(decision, Reject)
    assert "cannot be asked by RADIUS" in decision.reason
    assert one.peers[0].requests == []


async def test_a_forged_accept_lets_nobody_in(desk, autojump_clock):
    def forged(packet):
        return [(0.0, respond(packet, Code.ACCESS_ACCEPT, Attributes(), b"guess"))]

    decision = await desk(forged).decide(pap_request("alice", PASSWORD))
    assert isinstance(decision, Unavailable)
