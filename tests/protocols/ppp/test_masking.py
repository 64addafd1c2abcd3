"""No password that stands in a frame in clear gets into a capture, whatever the frame looks like."""

import random

import pytest

from poptrio.protocols.ppp.masking import without_passwords

PASSWORD = b"correct horse"
PAP = b"\x01\x07\x00\x18" + b"\x05alice" + b"\x0d" + PASSWORD
GTC = b"\x02\x07\x00\x12\x06" + PASSWORD


def masked(text):
    return text.replace(PASSWORD, b"*" * len(PASSWORD))


@pytest.mark.parametrize("header", [b"", b"\xff\x03"])
@pytest.mark.parametrize(
    "frame",
    [
        b"\xc0\x23" + PAP,
        b"\xc2\x27" + GTC,
        b"\xc2\x27\x02\x07\x00\x12\x05" + PASSWORD,
    ],
    ids=["PAP", "Generic Token Card", "one-time password"],
)
def test_the_password_is_asterisks_and_all_else_stays(header, frame):
    assert without_passwords(header + frame) == header + masked(frame)


EXPANDED = b"\xc2\x27\x02\x07\x00\x19\xfe\0\0\0\0\0\0"


@pytest.mark.parametrize("kind", [b"\x05", b"\x06"])
def test_a_password_is_one_behind_an_expanded_type_too(kind):
    frame = EXPANDED + kind + PASSWORD
    assert without_passwords(frame) == masked(frame)
    assert without_passwords(EXPANDED + b"\x1a" + PASSWORD) == EXPANDED + b"\x1a" + PASSWORD


def test_hashes_under_a_key_that_everybody_has_seen_are_asterisks():
    frame = b"\xc2\x23\x05\x07\x00\x11" + PASSWORD
    assert without_passwords(frame) == masked(frame)


@pytest.mark.parametrize("rejected", [b"\xc0\x23" + PAP, b"\xc2\x27" + GTC], ids=["PAP", "EAP"])
def test_nothing_of_a_rejected_packet_stays(rejected):
    frame = b"\xc0\x21\x08\x01\x00\x20" + rejected
    assert without_passwords(frame) == frame[:8] + b"*" * (len(frame) - 8)


@pytest.mark.parametrize("length", [0, 4, 6, 200, 255])
def test_a_length_that_lies_hides_nothing(length):
    frame = b"\xc0\x23\x01\x07\x00\x18" + bytes((length,)) + b"alice" + b"\x0d" + PASSWORD
    assert PASSWORD not in without_passwords(frame)
    assert len(without_passwords(frame)) == len(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"\xc0\x23\x02\x07\x00\x05\x00",
        b"\xc2\x23\x02\x01\x00\x09\x04abcd",
        b"\xc2\x27\x01\x07\x00\x0e\x06Password:",
        b"\xc0\x21\x08\x01\x00\x08\x80\x57\x01\x01",
        b"\x80\x21\x01\x01\x00\x04",
        b"\x00\xfd" + PASSWORD,
    ],
)
def test_what_holds_no_password_is_left_alone(frame):
    assert without_passwords(frame) == frame


def test_any_octets_keep_their_length():
    dice = random.Random(5)
    for _ in range(2000):
        start = dice.choice([b"\xc0\x23\x01", b"\xc2\x27\x02\x00\x00\x00\x06", b"\xc0\x21\x08", b"\xff\x03", b""])
        frame = start + dice.randbytes(dice.randrange(12))
        for end in range(len(frame) + 1):
            assert len(without_passwords(frame[:end])) == end
