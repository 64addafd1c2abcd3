"""Conversations about EAP as peer: what our client answers, and when it may go on."""

from hashlib import md5

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.session_events import Authenticated

CHALLENGE = f"mschap-v2=01090019{'10' + '0a' * 16}{b'srv'.hex()}".replace("0019", "0018")


@pytest.fixture
def client(make_client):
    client = make_client(auth=["eap"], encryption="prefer")
    client.link("<auth eap> <magic 0a0b0c0d>")
    return client


def test_it_says_who_it_is(client):
    assert client.hear("EAP Request 1 identity=who?") == ["EAP Response 1 identity=alice"]


def test_a_repeated_request_gets_the_same_response(client):
    client.hear("EAP Request 1 identity=")
    first = client.hear(f"EAP Request 2 {CHALLENGE}")
    assert client.hear(f"EAP Request 2 {CHALLENGE}") == first


def test_it_repeats_nothing_by_itself(client):
    client.hear("EAP Request 1 identity=")
    assert [line for line in client.wait(20.0) if line.startswith("EAP")] == []


def test_a_notification_is_taken_note_of(client):
    assert client.hear("EAP Request 1 notification=soon") == ["EAP Response 1 notification="]


def test_other_methods_are_refused_by_those_it_has(client):
    assert client.hear("EAP Request 1 type13=20") == ["EAP Response 1 nak=1a04"]


def test_md5(client):
    challenge = b"\x0a" * 16
    value = md5(b"\x07secret" + challenge).digest()
    assert client.hear(f"EAP Request 7 md5=10{challenge.hex()}") == [
        f"EAP Response 7 md5=10{value.hex()}{b'alice'.hex()}"
    ]
    client.hear("EAP Success 7")
    assert client.events(Authenticated)


def test_success_out_of_the_blue_is_no_success(client):
    client.hear("EAP Success 1")
    client.hear("EAP Request 1 identity=", "EAP Success 1", f"EAP Request 2 {CHALLENGE}", "EAP Success 2")
    assert client.events(Authenticated) == []


def test_a_server_that_does_not_know_the_password_is_not_believed(client):
    client.hear(f"EAP Request 2 {CHALLENGE}")
    text = b"S=" + b"0" * 40
    said = client.hear(f"EAP Request 3 mschap-v2=0309{len(text) + 4:04x}{text.hex()}")
    assert said == ["EAP Response 3 mschap-v2=04", "LCP TermReq 2"]
    client.hear("LCP TermAck 2")
    assert "does not know the password" in client.ended.detail


def test_a_failure_is_taken_note_of_and_its_number_known(client):
    client.hear(f"EAP Request 2 {CHALLENGE}")
    text = f"E=649 R=0 C={'0b' * 16} V=3 M=no".encode()
    assert client.hear(f"EAP Request 3 mschap-v2=0409{len(text) + 4:04x}{text.hex()}") == [
        "EAP Response 3 mschap-v2=04"
    ]
    client.hear("EAP Failure 3", "LCP TermAck 2")
    assert (client.session.error_code, client.ended.cause) == (649, CauseOfEnd.AUTHENTICATION_FAILED)
    assert client.ended.detail == text.decode()


def test_a_server_that_goes_on_has_accepted_us_though_its_success_was_lost(client):
    client.hear("EAP Request 1 identity=", f"EAP Request 7 md5=10{'0a' * 16}")
    client.hear("IPCP ConfReq 1 <addr 10.0.0.1>")
    assert client.events(Authenticated)


@pytest.mark.parametrize("lines", [[], ["EAP Request 1 identity="]])
def test_but_not_before_we_have_proved_anything(client, lines):
    client.hear(*lines, "IPCP ConfReq 1 <addr 10.0.0.1>", "CCP ConfReq 1")
    assert client.events(Authenticated) == []


@pytest.mark.parametrize(
    "request_", ["mschap-v2=", "mschap-v2=0109", "mschap-v2=01090099", "mschap-v2=0109000510", "md5=", "md5=1000"]
)
def test_a_broken_request_is_malformed(client, request_):
    assert client.hear(f"EAP Request 4 {request_}") == []
    assert client.session.malformed == 1
