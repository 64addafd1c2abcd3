"""The MPPE option of CCP: which bits are requested, and which are acknowledged, by policy."""

import pytest

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.protocols.ppp.ccp import EncryptionPolicy, MppeOption, describe_bits, usable_bits
from poptrio.protocols.ppp.options import Ack, Nak, Reject

BITS_128, BITS_56, BITS_40, STATELESS, MPPC, OBSOLETE = 0x40, 0x80, 0x20, 0x01000000, 0x01, 0x10


def option_for(policy="require", bits=(128, 56, 40), mode="any"):
    return MppeOption(EncryptionPolicy(policy, bits, mode))


def octets(bits):
    return bits.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("bits", "mode", "requested"),
    [
        ((128,), "any", STATELESS | BITS_128),
        ((128,), "stateless", STATELESS | BITS_128),
        ((128,), "stateful", BITS_128),
        ((40, 56), "any", STATELESS | BITS_56),
        ((40,), "stateful", BITS_40),
    ],
)
def test_the_strongest_is_requested_stateless_where_that_is_allowed(bits, mode, requested):
    assert option_for(bits=bits, mode=mode).request() == octets(requested)


class TestJudge:
    @pytest.mark.parametrize("bits", [BITS_128, BITS_56, BITS_40])
    def test_one_configured_strength_is_fine(self, bits):
        option = option_for()
        assert option.judge(octets(STATELESS | bits)) == Ack()
        option.agreed(octets(STATELESS | bits))
        assert option.sending == STATELESS | bits

    def test_of_several_strengths_the_answer_keeps_one(self):
        assert option_for().judge(octets(STATELESS | BITS_128 | BITS_56 | BITS_40)) == Nak(octets(STATELESS | BITS_128))
        assert option_for(bits=(56, 40)).judge(octets(STATELESS | BITS_128 | BITS_40)) == Nak(
            octets(STATELESS | BITS_40)
        )

    @pytest.mark.parametrize("surplus", [MPPC, OBSOLETE, MPPC | OBSOLETE, 0x00FF0000])
    def test_windows_sets_the_mppc_bit_and_is_answered_without_it(self, surplus):
        assert option_for().judge(octets(STATELESS | BITS_128 | surplus)) == Nak(octets(STATELESS | BITS_128))

    @pytest.mark.parametrize("asked", [0, MPPC, BITS_40, STATELESS])
    def test_nothing_that_we_may_use_is_naked_with_our_strongest(self, asked):
        option = option_for(bits=(128,))
        assert option.judge(octets(asked)) == Nak(octets(STATELESS | BITS_128))
        assert option.disagreement is not None

    def test_stateless_is_suggested_once_then_the_peers_wish_counts(self):
        option = option_for()
        assert option.judge(octets(BITS_128)) == Nak(octets(STATELESS | BITS_128))
        assert option.judge(octets(BITS_128)) == Ack()
        assert option.disagreement is None

    @pytest.mark.parametrize(("mode", "bit"), [("stateless", STATELESS), ("stateful", 0)])
    def test_a_configured_mode_is_insisted_on(self, mode, bit):
        option = option_for(mode=mode)
        for _ in range(4):
            assert option.judge(octets((bit ^ STATELESS) | BITS_128)) == Nak(octets(bit | BITS_128))
        assert option.judge(octets(bit | BITS_128)) == Ack()

    @pytest.mark.parametrize("value", [b"", b"\x40", b"\x01\x00\x00\x40\x00"])
    def test_one_of_another_size_is_rejected(self, value):
        assert option_for().judge(value) == Reject()


class TestAnswersToOurs:
    def test_a_nak_with_weaker_bits_is_followed_as_far_as_configured(self):
        option = option_for()
        option.naked(octets(STATELESS | BITS_40))
        assert option.request() == octets(STATELESS | BITS_40)

    def test_a_nak_for_stateful_is_followed_where_any_mode_is_allowed(self):
        option = option_for()
        option.naked(octets(BITS_128))
        assert option.request() == octets(BITS_128)

    @pytest.mark.parametrize(("mode", "bit"), [("stateless", STATELESS), ("stateful", 0)])
    def test_a_nak_for_the_other_mode_is_refused_three_times(self, mode, bit):
        option = option_for(mode=mode)
        for _ in range(3):
            assert option.request() == octets(bit | BITS_128)
            option.naked(octets((bit ^ STATELESS) | BITS_128))
        assert option.request() is None
        assert option.failure is not None

    @pytest.mark.parametrize("value", [octets(0), octets(BITS_56), octets(MPPC), b"", b"\x40"])
    def test_a_nak_without_anything_that_we_may_use_is_a_failure(self, value):
        option = option_for(bits=(128,))
        option.naked(value)
        assert option.request() is None
        assert option.failure.endswith("configured: 128 bits, any")

    def test_the_mppc_bit_in_a_nak_is_ignored(self):
        option = option_for()
        option.naked(octets(STATELESS | BITS_128 | MPPC))
        assert option.request() == octets(STATELESS | BITS_128)

    def test_a_reject_is_a_failure(self):
        option = option_for()
        option.rejected()
        assert (option.request(), option.receiving) == (None, 0)
        assert option.failure == "the peer offers no MPPE; configured: 128, 56, 40 bits, any"


class TestAllOrNothing:
    def test_windows_95_cannot_encrypt_one_direction_so_after_its_reject_its_own_wish_is_rejected(self):
        option = option_for("prefer")
        option.rejected()
        assert option.judge(octets(STATELESS | BITS_128)) == Reject()
        assert option.missing() is None
        option.agreed(None)
        assert option.sending == 0

    def test_a_tp_link_that_leaves_the_option_out_is_asked_to_add_it(self):
        option = option_for("prefer")
        assert option.missing() == octets(STATELESS | BITS_128)
        assert option.disagreement == "the peer offers no MPPE; configured: 128, 56, 40 bits, any"

    def test_where_encryption_is_required_a_wish_is_judged_even_after_a_reject(self):
        option = option_for("require")
        option.rejected()
        assert option.judge(octets(STATELESS | BITS_128)) == Ack()
        assert option.missing() is not None


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0, "nothing"),
        (STATELESS | BITS_128 | BITS_40, "128/40 stateless"),
        (BITS_56, "56 stateful"),
        (STATELESS | BITS_128 | MPPC, "128 stateless MPPC"),
        (0x10, "0x00000010 stateful"),
    ],
)
def test_bits_in_words(bits, words):
    assert describe_bits(bits) == words


def test_weak_bits_need_weak_keys():
    policy = EncryptionPolicy("require", (128, 56, 40))
    strong = MppeKeys(b"s" * 16, b"r" * 16)
    assert usable_bits(policy, strong) == (128,)
    assert usable_bits(policy, MppeKeys(b"s" * 16, b"r" * 16, b"w" * 8, b"v" * 8)) == (128, 56, 40)
    assert usable_bits(policy, MppeKeys(b"s" * 16, b"r" * 16, b"w" * 8)) == (128,)
