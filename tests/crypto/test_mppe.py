"""MPPE packet by packet: format, key changes, losses in stateless mode, peers that swap the modes, and noise."""

from hashlib import sha1

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poptrio.crypto import rc4
from poptrio.crypto.mppe import MppeDecryptor, MppeEncryptor
from poptrio.crypto.mppe_keys import MppeParameters

FLUSHED, ENCRYPTED = 0x8000, 0x1000
PARAMETERS = [
    MppeParameters(bits, stateless, bytes(range(1, 17))[: 16 if bits == 128 else 8])
    for bits in (128, 56, 40)
    for stateless in (True, False)
]
STATELESS, STATEFUL = PARAMETERS[:2]


def datagram(number: int) -> bytes:
    """An IPv4 datagram of 30 octets behind its protocol field, different for every number."""
    return b"\x00\x21\x45\x00\x00\x1e" + number.to_bytes(4, "big") * 6 + b"\x00\x00"


def header(packet: bytes) -> int:
    return int.from_bytes(packet[:2], "big")


def reference_keys(parameters: MppeParameters) -> list[bytes]:
    """The first 20 session keys, literally by RFC 3078 §7.3 and RFC 3079 §3."""
    salt = {128: b"", 56: b"\xd1", 40: b"\xd1\x26\x9e"}[parameters.bits]
    start = parameters.start_key
    size = len(start)

    def interim(session_key: bytes) -> bytes:
        return sha1(start + bytes(40) + session_key + b"\xf2" * 40).digest()[:size]

    keys = [salt + interim(start)[len(salt) :]]
    while len(keys) < 20:
        key = rc4.CryptographyRc4().once(interim(keys[-1]), interim(keys[-1]))
        keys.append(salt + key[len(salt) :])
    return keys


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_packets_are_as_the_rfc_says(parameters):
    encryptor = MppeEncryptor(parameters)
    packets = [encryptor.encrypt(datagram(number)) for number in range(0x201)]
    keys = reference_keys(parameters)
    cipher = rc4.CryptographyRc4()
    if parameters.stateless:
        for number in range(19):
            assert header(packets[number]) == FLUSHED | ENCRYPTED | number
            assert packets[number][2:] == cipher.once(keys[number + 1], datagram(number))
    else:
        stream = cipher.new(keys[0])
        for number, packet in enumerate(packets):
            flag = number & 0xFF == 0xFF
            if flag:
                stream = cipher.new(keys[(number + 1) >> 8])
            assert header(packet) == (FLUSHED if flag else 0) | ENCRYPTED | number
            assert packet[2:] == stream.update(datagram(number))


@pytest.mark.parametrize("provider", [rc4.default, rc4.CryptographyRc4()], ids=lambda provider: provider.name)
@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_round_trip_past_the_end_of_the_count(parameters, provider):
    encryptor, decryptor = MppeEncryptor(parameters, provider), MppeDecryptor(parameters)
    for number in range(4096 + 20):
        assert decryptor.decrypt(encryptor.encrypt(datagram(number))) == datagram(number)
    assert not decryptor.reset_needed


def test_a_packet_within_a_frame_and_a_compressed_protocol_field():
    encryptor, decryptor = MppeEncryptor(STATELESS), MppeDecryptor(STATELESS)
    frame = encryptor.encrypt(b"\x21E", b"\xff\x03\x00\xfd")
    assert frame[:4] == b"\xff\x03\x00\xfd"
    assert decryptor.decrypt(frame, 4) == b"\x21E"


@pytest.mark.parametrize("gap", [1, 2, 255, 256, 3839, 3840])
def test_stateless_losses_are_made_up_for(gap):
    encryptor, decryptor = MppeEncryptor(STATELESS), MppeDecryptor(STATELESS)
    packets = [encryptor.encrypt(datagram(number)) for number in range(gap + 2)]
    assert decryptor.decrypt(packets[gap]) == datagram(gap)
    assert decryptor.decrypt(packets[gap + 1]) == datagram(gap + 1)
    assert not decryptor.reset_needed


@pytest.mark.parametrize("parameters", [STATELESS, STATEFUL], ids=str)
def test_repeated_and_late_packets_change_nothing(parameters):
    encryptor, decryptor = MppeEncryptor(parameters), MppeDecryptor(parameters)
    packets = [encryptor.encrypt(datagram(number)) for number in range(301)]
    for number in range(300):
        assert decryptor.decrypt(packets[number]) == datagram(number)
        assert decryptor.decrypt(packets[number]) is None
        assert decryptor.decrypt(packets[max(0, number - 254)]) is None
    assert decryptor.decrypt(packets[300]) == datagram(300)
    assert not decryptor.reset_needed


def test_an_overtaken_stateless_packet_does_not_cost_the_others():
    encryptor, decryptor = MppeEncryptor(STATELESS), MppeDecryptor(STATELESS)
    packets = [encryptor.encrypt(datagram(number)) for number in range(4)]
    decrypted = [decryptor.decrypt(packets[number]) for number in (0, 2, 1, 3)]
    assert decrypted == [datagram(0), datagram(2), None, datagram(3)]


def test_a_peer_cannot_order_key_changes_without_end():
    encryptor, decryptor = MppeEncryptor(STATELESS), MppeDecryptor(STATELESS)
    packets = [encryptor.encrypt(datagram(number)) for number in range(3 * 3841)]
    assert decryptor.decrypt(packets[3840]) == datagram(3840)
    # The second jump is more than the credit: only the packets after it, each with some credit, catch up.
    second = 2 * 3841 - 1
    answers = [decryptor.decrypt(packet) for packet in packets[second : second + 300]]
    first_decrypted = next(index for index, answer in enumerate(answers) if answer is not None)
    assert 200 < first_decrypted < 260
    expected = [datagram(number) for number in range(second + first_decrypted, second + 300)]
    assert answers[first_decrypted:] == expected


@pytest.mark.parametrize("parameters", [STATELESS, STATEFUL], ids=str)
def test_packets_that_are_no_mppe_packets(parameters):
    encryptor, decryptor = MppeEncryptor(parameters), MppeDecryptor(parameters)
    packet = encryptor.encrypt(datagram(0))
    for size in range(3):
        assert decryptor.decrypt(packet[:size]) is None
    assert decryptor.decrypt(bytes([packet[0] & ~0x10]) + packet[1:]) is None
    assert not decryptor.reset_needed
    assert decryptor.decrypt(packet) == datagram(0)


@pytest.mark.parametrize("parameters", [STATELESS, STATEFUL], ids=str)
@pytest.mark.parametrize("first", [datagram(0), datagram(0)[1:], b"\x00\x57" + b"\x60\x00\x00\x00\x00\x04" + bytes(38)])
def test_a_peer_that_sends_in_the_other_mode(parameters, first):
    other = STATEFUL if parameters.stateless else STATELESS
    encryptor, decryptor = MppeEncryptor(other), MppeDecryptor(parameters)
    assert decryptor.decrypt(encryptor.encrypt(first)) == first
    for number in range(1, 600):
        assert decryptor.decrypt(encryptor.encrypt(datagram(number))) == datagram(number)


def test_the_mode_is_not_doubted_after_the_first_packet():
    encryptor, decryptor = MppeEncryptor(STATEFUL), MppeDecryptor(STATELESS)
    packets = [encryptor.encrypt(datagram(number)) for number in range(3)]
    assert decryptor.decrypt(packets[1]) != datagram(1)
    assert decryptor.decrypt(packets[2]) != datagram(2)


@given(st.sampled_from(PARAMETERS), st.lists(st.binary(max_size=40) | st.just(b"\x9f\x00\x00"), max_size=6))
@settings(deadline=None, max_examples=150)
def test_noise_never_raises(parameters, packets):
    decryptor = MppeDecryptor(parameters)
    for packet in packets:
        answer = decryptor.decrypt(packet)
        assert answer is None or len(answer) == len(packet) - 2


@given(st.sampled_from(PARAMETERS), st.integers(0, 0xFFFF), st.integers(0, 12))
@settings(deadline=None, max_examples=150)
def test_no_header_and_no_size_raises(parameters, word, size):
    decryptor = MppeDecryptor(parameters)
    decryptor.decrypt(MppeEncryptor(parameters).encrypt(datagram(0)))
    packet = word.to_bytes(2, "big") + bytes(size)
    for _ in range(2):
        answer = decryptor.decrypt(packet)
        assert answer is None or len(answer) == size


def test_no_key_in_a_repr():
    for thing in (MppeEncryptor(STATELESS), MppeDecryptor(STATEFUL), STATELESS):
        assert "\\x01\\x02" not in repr(thing)
