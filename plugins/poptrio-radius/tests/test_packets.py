"""Packets: what we send is signed, what we get is checked on its octets; pyrad is the other side."""

import hmac
import struct
from hashlib import md5
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peer import SECRET, attributes, unsigned_reply
from pyrad.packet import AcctPacket, AuthPacket

from poptrio_radius.attributes import Attributes, BadAttribute
from poptrio_radius.dictionary import dictionary
from poptrio_radius.packets import BadPacket, Code, Flaw, Request, parse, respond, verify_reply, verify_request

ONE = bytes(range(16))


def access_request(**values):
    return Request(Code.ACCESS_REQUEST, attributes(**values)).encode(7, SECRET, ONE)


def test_pyrad_takes_our_access_request():
    raw = access_request(User_Name="bob", User_Password=b"sesame", Framed_Protocol="PPP")
    theirs = AuthPacket(packet=raw, secret=SECRET, dict=dictionary())
    assert raw[20] == 80, "the Message-Authenticator comes first"
    assert theirs.verify_message_authenticator()
    assert theirs["User-Name"] == ["bob"]
    assert theirs.PwDecrypt(theirs.get(2)[0]) == "sesame"
    assert theirs["Framed-Protocol"] == ["PPP"]


def test_pyrad_takes_our_accounting_request():
    raw = Request(Code.ACCOUNTING_REQUEST, attributes(Acct_Session_Id="1", Acct_Status_Type="Start")).encode(9, SECRET)
    theirs = AcctPacket(packet=raw, secret=SECRET, dict=dictionary())
    assert theirs.VerifyAcctRequest()
    assert verify_request(raw, SECRET, require_message_authenticator=False).attributes.number("Acct-Status-Type") == 1


def test_pyrad_takes_our_reply_and_we_take_pyrads():
    raw = access_request(User_Name="bob")
    theirs = AuthPacket(packet=raw, secret=SECRET, dict=dictionary())
    reply = theirs.CreateReply(Reply_Message="hello")
    assert verify_reply(reply.ReplyPacket(), raw, SECRET).attributes.text("Reply-Message") == "hello"
    ours = respond(parse(raw), Code.ACCESS_REJECT, attributes(Reply_Message="no"), SECRET)
    assert theirs.VerifyReply(theirs.CreateReply(packet=ours), ours, enforce_ma=True)


def test_two_requests_have_two_authenticators():
    request = Request(Code.ACCESS_REQUEST, attributes(User_Name="bob"))
    assert request.encode(1, SECRET)[4:20] != request.encode(1, SECRET)[4:20]


def test_a_status_server_is_signed_too():
    raw = Request(Code.STATUS_SERVER, Attributes()).encode(1, SECRET)
    assert raw[20] == 80
    assert verify_reply(unsigned_reply(raw, Code.ACCESS_ACCEPT), raw, SECRET).code == Code.ACCESS_ACCEPT


@pytest.mark.parametrize("code", [Code.DISCONNECT_REQUEST, Code.COA_REQUEST])
def test_disconnect_and_coa_requests_are_verified(code):
    raw = Request(code, attributes(Acct_Session_Id="1")).encode(5, SECRET)
    packet = verify_request(raw, SECRET)
    assert packet.code == code
    with pytest.raises(BadPacket, match=r"^authenticator"):
        verify_request(raw, b"another")
    answer = respond(packet, Code(code + 1), Attributes(), SECRET)
    assert verify_reply(answer, raw, SECRET).code == code + 1


def test_a_request_without_message_authenticator_is_dropped_unless_the_operator_says_so():
    head = struct.pack("!BBH", Code.DISCONNECT_REQUEST, 1, 20)
    raw = head + md5(head + bytes(16) + SECRET).digest()
    with pytest.raises(BadPacket, match="missing"):
        verify_request(raw, SECRET)
    assert verify_request(raw, SECRET, require_message_authenticator=False).code == Code.DISCONNECT_REQUEST


def flaw_of(datagram, request, **options):
    with pytest.raises(BadPacket) as caught:
        verify_reply(datagram, request, SECRET, **options)
    return caught.value.flaw


def test_replies_that_are_not_from_our_server():
    request = access_request(User_Name="bob")
    good = respond(parse(request), Code.ACCESS_ACCEPT, Attributes(), SECRET)
    assert verify_reply(good, request, SECRET).code == Code.ACCESS_ACCEPT
    assert flaw_of(good[:4] + bytes(16) + good[20:], request) is Flaw.AUTHENTICATOR
    assert flaw_of(respond(parse(request), Code.ACCESS_ACCEPT, Attributes(), b"another"), request) is Flaw.AUTHENTICATOR
    assert flaw_of(unsigned_reply(request, identifier=8), request) is Flaw.IDENTIFIER
    assert flaw_of(unsigned_reply(request, Code.ACCOUNTING_RESPONSE), request) is Flaw.CODE


def test_a_replay_of_an_old_reply_is_not_the_answer_to_a_new_request():
    old = Request(Code.ACCESS_REQUEST, Attributes()).encode(7, SECRET)
    new = Request(Code.ACCESS_REQUEST, Attributes()).encode(7, SECRET)
    assert flaw_of(respond(parse(old), Code.ACCESS_ACCEPT, Attributes(), SECRET), new) is Flaw.AUTHENTICATOR


def test_without_message_authenticator_only_if_the_operator_says_so():
    request = access_request(User_Name="bob")
    old = unsigned_reply(request)
    assert flaw_of(old, request) is Flaw.MESSAGE_AUTHENTICATOR_MISSING
    assert verify_reply(old, request, SECRET, require_message_authenticator=False).code == Code.ACCESS_ACCEPT
    eap = unsigned_reply(request, packed=b"\x4f\x06\x03\x01\x00\x04")
    assert flaw_of(eap, request, require_message_authenticator=False) is Flaw.MESSAGE_AUTHENTICATOR_MISSING


@pytest.mark.parametrize("packed", [b"\x50\x12" + bytes(16), b"\x50\x03x", 2 * (b"\x50\x12" + bytes(16))])
def test_a_message_authenticator_that_is_there_must_be_right(packed):
    request = access_request(User_Name="bob")
    reply = unsigned_reply(request, packed=packed)
    assert flaw_of(reply, request, require_message_authenticator=False) is Flaw.MESSAGE_AUTHENTICATOR


def test_the_message_authenticator_need_not_be_first_in_replies():
    request = access_request(User_Name="bob")
    packed = b"\x12\x04hi\x50\x12" + bytes(16)
    head = struct.pack("!BBH", Code.ACCESS_REJECT, 7, 20 + len(packed))
    packed = packed[:6] + hmac.digest(SECRET, head + ONE + packed, "md5")
    reply = head + md5(head + ONE + packed + SECRET).digest() + packed
    assert verify_reply(reply, request, SECRET).attributes.text("Reply-Message") == "hi"


@pytest.mark.parametrize("vector", [bytes(16), None])
def test_both_readings_of_a_message_authenticator_in_accounting_are_taken(vector):
    request = Request(Code.ACCOUNTING_REQUEST, attributes(Acct_Session_Id="1")).encode(7, SECRET)
    packed = b"\x50\x12" + bytes(16)
    head = struct.pack("!BBH", Code.ACCOUNTING_RESPONSE, 7, 20 + len(packed))
    packed = packed[:2] + hmac.digest(SECRET, head + (vector or request[4:20]) + packed, "md5")
    reply = head + md5(head + request[4:20] + packed + SECRET).digest() + packed
    assert verify_reply(reply, request, SECRET).code == Code.ACCOUNTING_RESPONSE


def test_a_proxy_state_that_we_never_sent_is_the_mark_of_an_attack():
    request = access_request(User_Name="bob")
    reply = respond(parse(request), Code.ACCESS_ACCEPT, attributes(Proxy_State=b"collision"), SECRET)
    assert flaw_of(reply, request) is Flaw.PROXY_STATE


@pytest.mark.parametrize(
    ("octets", "flaw"),
    [
        (b"", Flaw.TRUNCATED),
        (bytes(19), Flaw.TRUNCATED),
        (b"\x02\x07\x00\x13" + bytes(16), Flaw.TRUNCATED),
        (b"\x02\x07\x00\x15" + bytes(16), Flaw.TRUNCATED),
        (b"\x02\x07\x10\x01" + bytes(4100), Flaw.TOO_LONG),
        (b"\x02\x07\x00\x15" + bytes(17), Flaw.ATTRIBUTE_LENGTH),
        (b"\x02\x07\x00\x16" + bytes(16) + b"\x12\x00", Flaw.ATTRIBUTE_LENGTH),
        (b"\x02\x07\x00\x16" + bytes(16) + b"\x12\x01", Flaw.ATTRIBUTE_LENGTH),
        (b"\x02\x07\x00\x16" + bytes(16) + b"\x12\x03", Flaw.ATTRIBUTE_LENGTH),
    ],
)
def test_lengths_that_lie(octets, flaw):
    with pytest.raises(BadPacket) as caught:
        parse(octets)
    assert caught.value.flaw is flaw


def test_octets_behind_the_length_are_padding():
    request = access_request(User_Name="bob")
    reply = respond(parse(request), Code.ACCESS_ACCEPT, Attributes(), SECRET)
    assert verify_reply(reply + b"padding", request, SECRET).raw == reply


def test_a_reply_of_4096_octets_is_taken():
    request = access_request(User_Name="bob")
    long = Attributes()
    long.add_pieces("Class", bytes(253 * 15))
    long.add("Reply-Message", "x" * (4096 - 20 - 18 - 255 * 15 - 2))
    reply = respond(parse(request), Code.ACCESS_ACCEPT, long, SECRET)
    assert len(reply) == 4096
    assert len(verify_reply(reply, request, SECRET).attributes.octets("Class")) == 15


def test_what_does_not_fit_is_said():
    with pytest.raises(BadAttribute, match="User-Name would have 254 octets"):
        attributes(User_Name="x" * 254)
    many = Attributes()
    many.add_pieces("EAP-Message", bytes(4096))
    with pytest.raises(ValueError, match="4096 is the most"):
        Request(Code.ACCESS_REQUEST, many).encode(1, SECRET)
    with pytest.raises(ValueError, match="more than 128 octets"):
        access_request(User_Password=bytes(129))


def test_no_secret_is_in_a_repr():
    request = Request(Code.ACCESS_REQUEST, attributes(User_Name="bob", User_Password=b"sesame"))
    assert "sesame" not in repr(request)
    assert "sesame" not in repr(parse(request.encode(1, SECRET)))


@given(st.binary(max_size=200), st.integers(0, 5000))
def test_no_octets_break_the_parser(body, length):
    for raw in (body, struct.pack("!BBH", 2, 7, length) + body, struct.pack("!BBH", 2, 7, 4 + len(body)) + body):
        try:
            packet = parse(raw)
        except BadPacket:
            continue
        assert packet.raw == raw[: len(packet.raw)]
        list(packet.attributes)


@given(st.binary(max_size=100))
def test_no_signed_octets_break_the_verification(packed):
    request = access_request(User_Name="bob")
    reply = unsigned_reply(request, packed=packed)
    try:
        verify_reply(reply, request, SECRET, require_message_authenticator=False)
    except BadPacket as bad:
        flaw = bad.flaw
    else:
        flaw = None
    assert flaw is not Flaw.AUTHENTICATOR


def test_a_vendor_specific_that_does_not_add_up_is_kept_whole():
    raw = b"\x02\x07\x00\x1c" + bytes(16) + b"\x1a\x08\x00\x00\x01\x37\x07\x09"
    assert list(parse(raw).attributes) == ["Attr-26"]


def test_values_of_the_wrong_length_are_said_when_they_are_asked_for():
    packet = parse(b"\x02\x07\x00\x1f" + bytes(16) + b"\x1b\x05abc\x08\x03x\x12\x03\xff")
    with pytest.raises(BadAttribute, match="Session-Timeout has 3 octets where 4 are needed"):
        packet.attributes.number("Session-Timeout")
    with pytest.raises(BadAttribute, match="Framed-IP-Address has 1 octets"):
        packet.attributes.address("Framed-IP-Address")
    assert packet.attributes.text("Reply-Message") == "\udcff"


def test_attributes_by_name_and_type():
    made = attributes(Framed_IP_Address=IPv4Address("10.0.0.1"), Session_Timeout=60, MS_CHAP2_Success=b"0x41")
    made.add("Class", b"a")
    made.add("Class", b"b")
    assert made.address("Framed-IP-Address") == IPv4Address("10.0.0.1")
    assert made.number("Session-Timeout") == 60
    assert made.octets("MS-CHAP2-Success") == [b"0x41"]
    assert made.joined("Class") == b"ab"
    assert made.text("Reply-Message") is None
    assert "Class" in made
    assert "State" not in made
    assert len(made) == 5
    with pytest.raises(ValueError):
        attributes(Session_Timeout=2**32)
