"""Conversations about CHAP-MD5, MS-CHAPv1 and MS-CHAPv2 as peer; what we send is judged as a plugin judges it."""

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.auth_requests import ChapMd5Request, MsChapV1Request, MsChapV2Request
from poptrio.protocols.ppp.proof import prove
from poptrio.protocols.ppp.session_events import Authenticated
from poptrio.testing.ppp_notation import frame_from_line

SIZES = {"chap-md5": 16, "mschap-v1": 8, "mschap-v2": 16}


def challenge(auth, identifier=9, octet="0a"):
    return f"CHAP Challenge {identifier} value={octet * SIZES[auth]} name=server"


def request_from(auth, line, octet="0a"):
    """The request that a server makes of our Response."""
    frame = frame_from_line(line)[4:]
    value, name = frame[5 : 5 + frame[4]], frame[5 + frame[4] :].decode()
    common = {"name": name, "username": name, "identifier": frame[1], "challenge": bytes.fromhex(octet * SIZES[auth])}
    if auth == "chap-md5":
        return ChapMd5Request(response=value, **common)
    if auth == "mschap-v1":
        return MsChapV1Request(lm_response=value[:24], nt_response=value[24:48], use_nt=value[48] == 1, **common)
    return MsChapV2Request(peer_challenge=value[:16], nt_response=value[24:48], flags=value[48], **common)


@pytest.fixture(params=SIZES)
def auth(request):
    return request.param


@pytest.fixture
def client(make_client, auth):
    client = make_client(name="DOM\\alice", auth=[auth], encryption="refuse", lcp_echo_interval=0.0)
    assert client.link(f"<auth {auth}> <magic 0a0b0c0d>") == []  # the server begins
    return client


def succeed(auth, line):
    proof = prove(request_from(auth, line), "secret")
    return f"CHAP Success 9 {proof.authenticator_response or 'Welcome'}"


def test_our_response_proves_the_password(client, auth):
    (response,) = client.hear(challenge(auth))
    assert response.startswith("CHAP Response 9 ")
    assert response.endswith(" name=DOM\\alice")
    assert prove(request_from(auth, response), "secret") is not None
    assert prove(request_from(auth, response), "wrong") is None


def test_success_brings_the_network_up(client, auth):
    (response,) = client.hear(challenge(auth))
    assert client.hear(succeed(auth, response))[0].startswith("IPCP ConfReq")
    assert client.events(Authenticated)


def test_the_lm_response_stays_empty(make_client):
    client = make_client(auth=["mschap-v1"])
    client.link("<auth mschap-v1>")
    (response,) = client.hear(challenge("mschap-v1"))
    request = request_from("mschap-v1", response)
    assert (request.lm_response, request.use_nt) == (bytes(24), True)


@pytest.mark.parametrize("auth", ["mschap-v1", "mschap-v2"])
def test_both_sides_derive_the_same_keys(make_client, auth):
    client = make_client(auth=[auth])
    client.link(f"<auth {auth}>")
    (response,) = client.hear(challenge(auth))
    client.hear(succeed(auth, response))
    ours, theirs = client.session.authentication.mppe_keys, prove(request_from(auth, response), "secret").mppe_keys
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert (ours.weak_send, ours.weak_receive) == (theirs.weak_receive, theirs.weak_send)


@pytest.mark.parametrize("text", ["", "S=", "S=" + "00" * 20, "Welcome", "é" * 42])
def test_a_server_that_does_not_know_the_password_is_left(make_client, text):
    client = make_client()
    client.link()
    client.hear(challenge("mschap-v2"))
    assert client.hear(f"CHAP Success 9 {text}") == ["LCP TermReq 2"]
    client.hear("LCP TermAck 2")
    assert client.ended.cause is CauseOfEnd.AUTHENTICATION_FAILED
    assert "S= is wrong" in client.ended.detail
    assert client.events(Authenticated) == []


def test_what_follows_s_does_not_matter(make_client):
    client = make_client()
    client.link()
    (response,) = client.hear(challenge("mschap-v2"))
    client.hear(succeed("mschap-v2", response) + " M=welcome")
    assert client.events(Authenticated)


def test_what_goes_on_without_a_blank_is_another_s(make_client):
    client = make_client()
    client.link()
    (response,) = client.hear(challenge("mschap-v2"))
    assert client.hear(succeed("mschap-v2", response) + "0") == ["LCP TermReq 2"]
    assert client.events(Authenticated) == []


@pytest.mark.parametrize(
    ("text", "number"), [("E=691 R=0 C=00 V=3 M=no", 691), ("E=0000000647 R=0", 647), ("go away", None), ("", None)]
)
def test_failure_and_its_error_number(client, auth, text, number):
    client.hear(challenge(auth))
    assert client.hear(f"CHAP Failure 9 {text}") == ["LCP TermReq 2"]
    client.hear("LCP TermAck 2")
    assert client.ended.cause is CauseOfEnd.AUTHENTICATION_FAILED
    assert client.ended.detail == (text or "the server sent a CHAP Failure")
    assert client.session.error_code == number


def test_there_is_no_error_number_before_authentication(make_client):
    assert make_client().session.error_code is None


def test_a_repeated_challenge_gets_the_same_response(client, auth):
    first = client.hear(challenge(auth))
    assert client.hear(challenge(auth)) == first


def test_another_challenge_gets_another_response(client, auth):
    first = client.hear(challenge(auth))
    assert client.hear(challenge(auth, octet="0b")) != first
    (again,) = client.hear(challenge(auth, identifier=10, octet="0b"))
    assert again.startswith("CHAP Response 10 ")
    assert prove(request_from(auth, again, "0b"), "secret") is not None


def test_a_lost_response_is_repeated_then_given_up(client, auth):
    response = client.hear(challenge(auth))
    assert [client.wait() for _ in range(9)] == [response] * 9
    assert client.wait() == ["LCP TermReq 2"]
    client.hear("LCP TermAck 2")
    assert client.ended.cause is CauseOfEnd.AUTHENTICATION_TIMEOUT


def test_answers_to_nothing_that_we_sent_are_discarded(client, auth):
    assert client.hear("CHAP Success 9 S=00", "CHAP Failure 9 E=691") == []
    client.hear(challenge(auth))
    assert client.hear("CHAP Success 8 S=00", "CHAP Failure 10 E=691", "CHAP Response 9 value=00 name=x") == []
    assert client.events(Authenticated) == []


def test_a_later_challenge_is_answered_and_leaves_the_keys_as_they_are(client, auth):
    (response,) = client.hear(challenge(auth))
    client.hear(succeed(auth, response))
    keys = client.session.authentication.mppe_keys
    (again,) = client.hear(challenge(auth, octet="0c"))
    proof = prove(request_from(auth, again, "0c"), "secret")
    client.hear(f"CHAP Success 9 {proof.authenticator_response or ''}")
    assert client.session.authentication.mppe_keys is keys
    assert client.ended is None


@pytest.mark.parametrize("auth", ["mschap-v1", "mschap-v2"])
def test_a_challenge_of_another_size_is_malformed(client, auth):
    assert client.hear("CHAP Challenge 9 value=0a0b name=server") == []
    assert client.session.malformed == 1
