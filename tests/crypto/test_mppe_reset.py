"""Stateful MPPE over a link that loses packets and Reset-Requests, with each kind of peer there is.

The models below change keys the slow, literal way and share nothing with `poptrio.crypto.mppe` but RC4. They differ in
what a FLUSHED packet means: RFC 3078 §8.2 begins the key stream again with the current key; Linux changes the key.
"""

from hashlib import sha1
from random import Random

import pytest

from poptrio.crypto import rc4
from poptrio.crypto.mppe import MppeDecryptor, MppeEncryptor
from poptrio.crypto.mppe_keys import MppeParameters

PARAMETERS = [
    MppeParameters(128, False, bytes(range(16))),
    MppeParameters(56, False, bytes(range(8))),
    MppeParameters(40, False, bytes(range(8))),
]
FLUSHED, ENCRYPTED = 0x8000, 0x1000
DELAY = 5  # packets between asking for a reset and the peer's hearing of it


def datagram(number: int) -> bytes:
    """An IPv4 datagram of 30 octets behind its protocol field, different for every number."""
    return b"\x00\x21\x45\x00\x00\x1e" + number.to_bytes(4, "big") * 6 + b"\x00\x00"


class Peer:
    """Key, key stream and coherency count of one direction; the first session key is current."""

    def __init__(self, parameters: MppeParameters) -> None:
        self.start = parameters.start_key
        self.salt = {128: b"", 56: b"\xd1", 40: b"\xd1\x26\x9e"}[parameters.bits]
        self.key = self.salt + self.interim(self.start)[len(self.salt) :]
        self.restart()
        self.count = 0

    def interim(self, key: bytes) -> bytes:
        return sha1(self.start + bytes(40) + key + b"\xf2" * 40).digest()[: len(self.start)]

    def change_key(self) -> None:
        interim = self.interim(self.key)
        self.key = self.salt + rc4.default.once(interim, interim)[len(self.salt) :]
        self.restart()

    def restart(self) -> None:
        self.stream = rc4.default.new(self.key)


class LinuxSender(Peer):
    """Changes the key at flag packets and after each Reset-Request; says FLUSHED in both cases."""

    flush = False

    def reset(self) -> None:
        self.flush = True

    def encrypt(self, payload: bytes) -> bytes:
        count, self.count = self.count, (self.count + 1) & 0xFFF
        flush, self.flush = self.flush or count & 0xFF == 0xFF, False
        if flush:
            self.change_key()
        return (flush * FLUSHED | ENCRYPTED | count).to_bytes(2, "big") + self.stream.update(payload)


class RfcSender(Peer):
    """RFC 3078 to the letter: the first packet and answers to Reset-Requests are FLUSHED, flag packets are not."""

    flush = True

    def reset(self) -> None:
        self.restart()
        self.flush = True

    def encrypt(self, payload: bytes) -> bytes:
        count, self.count = self.count, (self.count + 1) & 0xFFF
        flush, self.flush = self.flush, False
        if count & 0xFF == 0xFF:
            self.change_key()
        return (flush * FLUSHED | ENCRYPTED | count).to_bytes(2, "big") + self.stream.update(payload)


class Receiver(Peer):
    """What both kinds of receiver have in common; asks again after 20 packets without the answer."""

    reset_needed = False
    waited = 0

    def ask(self) -> None:
        self.reset_needed = self.waited % 20 == 0
        self.waited += 1

    def reset_acknowledged(self) -> None:
        """A Reset-Ack came."""


class LinuxReceiver(Receiver):
    """Decrypts nothing between an error and the Reset-Ack, then nothing before a FLUSHED packet."""

    discard = False
    error = False

    def reset_acknowledged(self) -> None:
        self.error = False

    def decrypt(self, packet: bytes) -> bytes | None:
        if not self.error:
            payload = self.decompress(packet)
            if payload is not None:
                self.waited = 0
                return payload
            self.error = True
        self.ask()
        return None

    def decompress(self, packet: bytes) -> bytes | None:
        header = int.from_bytes(packet[:2], "big")
        count, flushed = header & 0xFFF, header & FLUSHED
        if count & 0xFF == 0xFF and not flushed:
            return None
        if not self.discard:
            if count != self.count:
                self.discard = True
                return None
        elif not flushed:
            return None
        else:
            while count & 0xF00 != self.count & 0xF00:
                self.change_key()
                self.count = (self.count + 0x100) & 0xFFF
            self.discard = False
        if flushed:
            self.change_key()
        self.count = (count + 1) & 0xFFF
        return self.stream.update(packet[2:])


class RfcReceiver(Receiver):
    """RFC 3078 §8.2: a key change for every flag packet, seen or lost; FLUSHED restarts with the current key."""

    def decrypt(self, packet: bytes) -> bytes | None:
        header = int.from_bytes(packet[:2], "big")
        count, flushed = header & 0xFFF, header & FLUSHED
        in_place = count == self.count and not self.waited
        while True:
            if self.count & 0xFF == 0xFF:
                self.change_key()
            if self.count == count:
                break
            self.count = (self.count + 1) & 0xFFF
        self.count = (count + 1) & 0xFFF
        if flushed:
            self.restart()
        elif not in_place:
            self.ask()
            return None
        self.waited = 0
        return self.stream.update(packet[2:])


class OurReceiver(MppeDecryptor):
    """Ours needs no Reset-Ack."""

    def reset_acknowledged(self) -> None:
        pass


def converse(sender, receiver, random: Random, packets: int, loss: float) -> list[int]:
    """Send numbered datagrams; returns the numbers that came through, every one of them intact."""
    heard_at: set[int] = set()
    delivered = []
    for number in range(packets):
        if number in heard_at:
            sender.reset()
            if random.random() >= loss:
                receiver.reset_acknowledged()
        packet = sender.encrypt(datagram(number))
        if random.random() < loss:
            continue
        payload = receiver.decrypt(packet)
        if payload is not None:
            assert payload == datagram(number)
            delivered.append(number)
        if receiver.reset_needed:
            receiver.reset_needed = False
            if random.random() >= loss:
                heard_at.add(number + DELAY)
    return delivered


SENDERS = [MppeEncryptor, LinuxSender, RfcSender]
RECEIVERS = [OurReceiver, LinuxReceiver, RfcReceiver]
OURS = [(MppeEncryptor, receiver) for receiver in RECEIVERS] + [(sender, OurReceiver) for sender in SENDERS[1:]]


def longest_gap(delivered: list[int], packets: int) -> int:
    return max(after - before for before, after in zip([-1, *delivered], [*delivered, packets], strict=True))


@pytest.mark.parametrize(("sender", "receiver"), OURS)
@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_without_loss_everything_arrives(parameters, sender, receiver):
    delivered = converse(sender(parameters), receiver(parameters), Random(1), 1200, 0)
    assert delivered == list(range(1200))


@pytest.mark.parametrize(("sender", "receiver"), OURS)
@pytest.mark.parametrize("seed", range(5))
def test_every_loss_is_recovered_from(sender, receiver, seed):
    parameters = PARAMETERS[seed % 3]
    delivered = converse(sender(parameters), receiver(parameters), Random(seed), 5000, 0.02)
    assert longest_gap(delivered, 5000) < 120
    assert len(delivered) > 5000 * 0.75


@pytest.mark.parametrize(("sender", "receiver"), OURS)
@pytest.mark.parametrize("seed", range(3))
def test_a_terrible_link_never_delivers_garbage_and_never_hangs(sender, receiver, seed):
    delivered = converse(sender(PARAMETERS[0]), receiver(PARAMETERS[0]), Random(seed), 5000, 0.2)
    assert longest_gap(delivered, 5000) < 400


@pytest.mark.parametrize(("sender", "receiver"), OURS)
@pytest.mark.parametrize("first_lost", [0, 1, 0xFE, 0xFF, 0x100, 0xFFE, 0xFFF])
@pytest.mark.parametrize("lost", [1, 2, 255, 256, 257, 600])
def test_losses_around_flag_packets(sender, receiver, first_lost, lost):
    sending, receiving = sender(PARAMETERS[0]), receiver(PARAMETERS[0])
    for number in range(first_lost):
        assert receiving.decrypt(sending.encrypt(datagram(number))) == datagram(number)
    for number in range(lost):
        sending.encrypt(datagram(number))
    delivered = converse(sending, receiving, Random(0), 40, 0)
    assert delivered[-1] == 39
    assert delivered[0] <= DELAY + 1


def test_the_models_differ_as_the_implementations_do():
    """An RFC sender gives a Linux receiver nothing but garbage after a loss: what ours must avoid."""
    sender, receiver = RfcSender(PARAMETERS[0]), LinuxReceiver(PARAMETERS[0])
    with pytest.raises(AssertionError):
        converse(sender, receiver, Random(1), 200, 0.05)


def test_ours_never_uses_a_key_stream_twice():
    encryptor = MppeEncryptor(PARAMETERS[0])
    encryptor.encrypt(datagram(0))
    ciphertexts = []
    for _ in range(20):
        encryptor.reset()
        ciphertexts.append(encryptor.encrypt(datagram(0))[2:])
    assert len(set(ciphertexts)) == 20


def test_reset_requests_before_the_next_packet_are_one():
    once, twice = MppeEncryptor(PARAMETERS[0]), MppeEncryptor(PARAMETERS[0])
    once.reset()
    twice.reset()
    twice.reset()
    packet = once.encrypt(datagram(0))
    assert packet == twice.encrypt(datagram(0))
    assert packet[:2] == b"\x90\xff"


def test_a_reset_means_nothing_in_stateless_mode():
    parameters = MppeParameters(128, True, bytes(16))
    encryptor, untouched = MppeEncryptor(parameters), MppeEncryptor(parameters)
    encryptor.reset()
    assert encryptor.encrypt(datagram(0)) == untouched.encrypt(datagram(0))


def test_how_often_a_reset_is_asked_for():
    encryptor, decryptor = MppeEncryptor(PARAMETERS[0]), MppeDecryptor(PARAMETERS[0])
    packets = [encryptor.encrypt(datagram(number)) for number in range(300)]
    asked = []
    for number, packet in enumerate([p for p in packets[1:] if not p[0] & 0x80][:280], 1):
        assert decryptor.decrypt(packet) is None
        if decryptor.reset_needed:
            decryptor.reset_needed = False
            asked.append(number)
    assert asked == [1, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256]


def test_a_recovery_takes_back_the_question():
    encryptor, decryptor = MppeEncryptor(PARAMETERS[0]), MppeDecryptor(PARAMETERS[0])
    encryptor.encrypt(datagram(0))
    assert decryptor.decrypt(encryptor.encrypt(datagram(1))) is None
    assert decryptor.reset_needed
    encryptor.reset()
    assert decryptor.decrypt(encryptor.encrypt(datagram(2))) == datagram(2)
    assert not decryptor.reset_needed


@pytest.mark.parametrize("sender", [LinuxSender, RfcSender])
def test_surplus_answers_do_no_harm(sender):
    sending, receiving = sender(PARAMETERS[0]), MppeDecryptor(PARAMETERS[0])
    for number in range(300):
        if number % 3 == 2:
            sending.reset()
        assert receiving.decrypt(sending.encrypt(datagram(number))) == datagram(number)


def test_as_many_lost_answers_of_linux_as_are_looked_for():
    sending, receiving = LinuxSender(PARAMETERS[0]), MppeDecryptor(PARAMETERS[0])
    for number in range(7):
        sending.reset()
        sending.encrypt(datagram(number))
    sending.reset()
    assert receiving.decrypt(sending.encrypt(datagram(8))) == datagram(8)


@pytest.mark.parametrize("protocol", [b"\x00\x2b", b"\x00\xfb"])
def test_a_flushed_packet_that_is_not_ip(protocol):
    """IPX can be recognised by its protocol field alone; what MPPE does not encrypt cannot, and is asked for again."""
    sending, receiving = LinuxSender(PARAMETERS[0]), MppeDecryptor(PARAMETERS[0])
    sending.encrypt(datagram(0))
    sending.reset()
    recognised = protocol == b"\x00\x2b"
    payload = protocol + bytes(40)
    assert receiving.decrypt(sending.encrypt(payload)) == (payload if recognised else None)
    assert receiving.reset_needed is not recognised
