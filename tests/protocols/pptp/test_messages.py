"""Every control message against octets written down from the figures of RFC 2637 §2."""

import pytest

from poptrio.errors import DisconnectResult, LocalProtocolError, MalformedPacket
from poptrio.protocols.pptp import messages
from poptrio.protocols.pptp.codes import (
    ControlType,
    GeneralError,
    IncomingCallResult,
    OutgoingCallResult,
    StartResult,
    StopReason,
    StopResult,
    explained,
    spelled,
)
from poptrio.protocols.pptp.layout import HEADER_SIZE, Layout, Text64, u8
from poptrio.protocols.pptp.stream import BadMessage, LostSynchronization, MessageStream
from poptrio.testing.messages import decode_message


def text(value, size=64):
    return value.encode().ljust(size, b"\0").hex()


# (what the RFC's figure says, row by row; the message that it is)
VECTORS = [
    (
        "009c0001 1a2b3c4d 00010000"  # Length 156, Control Message; Magic Cookie; type 1, Reserved0
        "01000000"  # Protocol Version, Reserved1
        "00000001 00000002"  # Framing and Bearer Capabilities
        "00050a28" + text("pc.example") + text("Microsoft Windows NT"),
        messages.StartControlConnectionRequest(
            framing_capabilities=1,
            bearer_capabilities=2,
            maximum_channels=5,
            firmware_revision=2600,
            host_name="pc.example",
            vendor_name="Microsoft Windows NT",
        ),
    ),
    (
        "009c0001 1a2b3c4d 00020000"
        "0100 02 04"  # Protocol Version, Result Code, Error Code
        "00000003 00000003 00100102" + text("vpn.example") + text("poptrio"),
        messages.StartControlConnectionReply(
            result_code=StartResult.GENERAL_ERROR,
            error_code=GeneralError.NO_RESOURCE,
            framing_capabilities=3,
            bearer_capabilities=3,
            maximum_channels=16,
            firmware_revision=0x0102,
            host_name="vpn.example",
            vendor_name="poptrio",
        ),
    ),
    (
        "00100001 1a2b3c4d 00030000 03 00 0000",
        messages.StopControlConnectionRequest(reason=StopReason.STOP_LOCAL_SHUTDOWN),
    ),
    (
        "00100001 1a2b3c4d 00040000 02 06 0000",
        messages.StopControlConnectionReply(result_code=StopResult.GENERAL_ERROR, error_code=GeneralError.PAC_ERROR),
    ),
    ("00100001 1a2b3c4d 00050000 deadbeef", messages.EchoRequest(identifier=0xDEADBEEF)),
    (
        "00140001 1a2b3c4d 00060000 deadbeef 01 00 0000",
        messages.EchoReply(identifier=0xDEADBEEF, result_code=1),
    ),
    (
        "00a80001 1a2b3c4d 00070000"
        "0000 0007"  # Call ID, Call Serial Number
        "0000012c 05f5e100"  # Minimum and Maximum BPS
        "00000003 00000002"  # Bearer Type, Framing Type
        "0040 0001"  # Packet Recv. Window Size, Packet Processing Delay
        "0004 0000" + text("5551") + text("17"),
        messages.OutgoingCallRequest(
            call_id=0,
            call_serial_number=7,
            minimum_bps=300,
            maximum_bps=100_000_000,
            bearer_type=3,
            framing_type=2,
            packet_window_size=64,
            packet_processing_delay=1,
            phone_number_length=4,
            phone_number="5551",
            subaddress="17",
        ),
    ),
    (
        "00200001 1a2b3c4d 00080000"
        "8001 0002"  # Call ID, Peer's Call ID
        "02 04 0011"  # Result, Error, Cause
        "05f5e100 0040 0003 0000002a",
        messages.OutgoingCallReply(
            call_id=0x8001,
            peer_call_id=2,
            result_code=OutgoingCallResult.GENERAL_ERROR,
            error_code=GeneralError.NO_RESOURCE,
            cause_code=17,
            connect_speed=100_000_000,
            packet_window_size=64,
            packet_processing_delay=3,
            physical_channel_id=42,
        ),
    ),
    (
        "00dc0001 1a2b3c4d 00090000"
        "0102 0304 00000002 00000005"  # Call ID, Call Serial Number; Bearer Type; Physical Channel ID
        "0003 0002" + text("123") + text("45") + text("6"),
        messages.IncomingCallRequest(
            call_id=0x0102,
            call_serial_number=0x0304,
            bearer_type=2,
            physical_channel_id=5,
            dialed_number_length=3,
            dialing_number_length=2,
            dialed_number="123",
            dialing_number="45",
            subaddress="6",
        ),
    ),
    (
        "00180001 1a2b3c4d 000a0000 0001 0102 03 00 0040 0005 0000",
        messages.IncomingCallReply(
            call_id=1,
            peer_call_id=0x0102,
            result_code=IncomingCallResult.DO_NOT_ACCEPT,
            packet_window_size=64,
            packet_transmit_delay=5,
        ),
    ),
    (
        "001c0001 1a2b3c4d 000b0000 0001 0000 0000fa00 0010 0002 00000001",
        messages.IncomingCallConnected(
            peer_call_id=1, connect_speed=64000, packet_window_size=16, packet_transmit_delay=2, framing_type=1
        ),
    ),
    ("00100001 1a2b3c4d 000c0000 1234 0000", messages.CallClearRequest(call_id=0x1234)),
    (
        "00940001 1a2b3c4d 000d0000 1234 02 06 0010 0000" + text("rx=1 tx=2", 128),
        messages.CallDisconnectNotify(
            call_id=0x1234,
            result_code=DisconnectResult.GENERAL_ERROR,
            error_code=GeneralError.PAC_ERROR,
            cause_code=16,
            call_statistics="rx=1 tx=2",
        ),
    ),
    (
        "00280001 1a2b3c4d 000e0000 1234 0000 00000001 00000002 00000003 00000004 00000005 00000006",
        messages.WanErrorNotify(
            peer_call_id=0x1234,
            crc_errors=1,
            framing_errors=2,
            hardware_overruns=3,
            buffer_overruns=4,
            time_out_errors=5,
            alignment_errors=6,
        ),
    ),
    (
        "00180001 1a2b3c4d 000f0000 1234 0000 ffffffff 000a0000",
        messages.SetLinkInfo(peer_call_id=0x1234, send_accm=0xFFFFFFFF, receive_accm=0x000A0000),
    ),
]
NAMES = [message.layout.name for _, message in VECTORS]

every_message = pytest.mark.parametrize(
    ("octets", "message"), [(bytes.fromhex(octets), message) for octets, message in VECTORS], ids=NAMES
)


def test_all_fifteen_have_a_vector():
    assert [message.control_type for _, message in VECTORS] == list(ControlType)
    assert "WAN-Error-Notify" in NAMES
    assert "Start-Control-Connection-Request" in NAMES


@every_message
def test_encode(octets, message):
    assert message.encode() == octets


@every_message
def test_decode_all_at_once(octets, message):
    assert decode_message(octets) == message


@every_message
def test_decode_byte_by_byte(octets, message):
    stream = MessageStream()
    for position in range(len(octets) - 1):
        stream.feed(octets[position : position + 1])
        assert stream.next_message() is None
    stream.feed(octets[-1:])
    assert stream.next_message() == message
    assert stream.pending == 0


@every_message
def test_decode_with_trailing_data(octets, message):
    stream = MessageStream()
    echo = messages.EchoRequest(identifier=5)
    stream.feed(octets + echo.encode() + octets[:9])
    assert stream.next_message() == message
    assert stream.next_message() == echo
    assert stream.next_message() is None
    assert stream.pending == 9
    stream.feed(octets[9:])
    assert stream.next_message() == message


@every_message
def test_every_truncation_is_malformed(octets, message):
    for length in range(len(octets)):
        with pytest.raises(MalformedPacket, match="cut off"):
            decode_message(octets[:length])


@every_message
def test_one_octet_too_many_is_malformed(octets, message):
    with pytest.raises(MalformedPacket, match="1 octets too many"):
        decode_message(octets + b"\0")


@every_message
def test_a_wrong_length_is_bad_format(octets, message):
    for length in (len(octets) - 1, len(octets) + 1, 0, 65535):
        with pytest.raises(BadMessage, match=f"claims {length} octets") as caught:
            decode_message(length.to_bytes(2, "big") + octets[2:])
        assert caught.value.error == GeneralError.BAD_FORMAT


@pytest.mark.parametrize("control_type", [0, 16, 0xFFFF])
def test_an_unknown_control_message_type_is_bad_value(control_type):
    octets = bytes.fromhex(f"00100001 1a2b3c4d {control_type:04x}0000")
    with pytest.raises(BadMessage, match="Control Message Type") as caught:
        decode_message(octets)
    assert caught.value.error == GeneralError.BAD_VALUE


def test_a_management_message_is_bad_value():
    with pytest.raises(BadMessage, match="PPTP Message Type 2"):
        decode_message(bytes.fromhex("00100002 1a2b3c4d 00050000"))


def test_a_wrong_magic_cookie_is_seen_as_soon_as_it_is_there():
    stream = MessageStream()
    stream.feed(b"GET / H")
    assert stream.next_message() is None
    stream.feed(b"T")
    with pytest.raises(LostSynchronization, match="0x2f204854"):
        stream.next_message()


def test_reserved_fields_are_ignored_on_arrival():
    reserved_set = bytes.fromhex("00100001 1a2b3c4d 000cffff 1234 ffff")
    assert decode_message(reserved_set) == messages.CallClearRequest(call_id=0x1234, reserved1=0xFFFF)


def test_numbers_that_the_rfc_does_not_name_stay_numbers():
    reply = decode_message(messages.OutgoingCallReply(call_id=1, peer_call_id=2, result_code=77).encode())
    assert reply.result_code == 77
    assert "result_code=77" in str(reply)


def test_named_numbers_come_back_as_names():
    assert decode_message(
        messages.OutgoingCallReply(call_id=1, peer_call_id=2, result_code=4).encode()
    ).result_code is (OutgoingCallResult.BUSY)


@pytest.mark.parametrize(
    ("value", "arrives_as"),
    [
        ("", ""),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 64),
        ("ä" * 32, "ä" * 32),
        ("x" + "ä" * 32, "x" + "ä" * 31),  # never half a character
        ("before\0after", "before"),
        ("lone \udce4 surrogate", "lone ? surrogate"),
    ],
)
def test_texts(value, arrives_as):
    octets = messages.IncomingCallRequest(
        call_id=1, call_serial_number=1, bearer_type=1, physical_channel_id=1, subaddress=value
    ).encode()
    assert len(octets) == 220
    assert decode_message(octets).subaddress == arrives_as


def test_a_text_that_is_not_utf8_is_latin1():
    octets = bytearray(bytes.fromhex(VECTORS[0][0]))
    octets[28:32] = b"M\xfcll"
    assert decode_message(bytes(octets)).host_name == "Müllxample"


def test_a_number_too_big_for_its_field_is_our_bug():
    with pytest.raises(LocalProtocolError, match="Call-Clear-Request"):
        messages.CallClearRequest(call_id=0x10000).encode()


def test_log_notation():
    assert str(messages.OutgoingCallReply(call_id=3, peer_call_id=0, result_code=OutgoingCallResult.BUSY)) == (
        "[Outgoing-Call-Reply call_id=3 peer_call_id=0 result_code=busy error_code=none cause_code=0 connect_speed=0"
        " packet_window_size=0 packet_processing_delay=0 physical_channel_id=0]"
    )
    assert str(messages.CallDisconnectNotify(call_id=3, result_code=4, call_statistics="a\nb")) == (
        "[Call-Disconnect-Notify call_id=3 result_code=4 error_code=none cause_code=0 call_statistics='a\\nb']"
    )


def test_codes_in_words():
    assert spelled(OutgoingCallResult.NO_DIAL_TONE) == "no-dial-tone"
    assert spelled(99) == "99"
    assert explained(OutgoingCallResult.BUSY, GeneralError.NONE) == "busy (4)"
    assert explained(StartResult.GENERAL_ERROR, GeneralError.BAD_CALL_ID) == "general-error (2), bad-call-id (5)"
    assert explained(77, 99) == "77, 99"


def test_a_layout_that_does_not_add_up_is_refused():
    with pytest.raises(TypeError, match="Short has 77 octets, RFC 2637 says 78"):

        @messages.message(ControlType.ECHO_REQUEST, length=78)
        class Short(messages.ControlMessage):
            flag: u8
            name: Text64


def test_the_header_is_part_of_every_length():
    assert HEADER_SIZE == 12
    assert all(
        isinstance(message.layout, Layout) and message.layout.length == len(message.encode()) for _, message in VECTORS
    )
