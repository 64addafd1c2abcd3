"""The options of LCP, one by one: what we request, and what we think of the peer's requests."""

import pytest

from poptrio.protocols.ppp.lcp import (
    AccmOption,
    AuthenticateOption,
    AuthProtocol,
    FlagOption,
    MagicNumberOption,
    MruOption,
    ProveOption,
)
from poptrio.protocols.ppp.options import Ack, Nak, Option, Reject
from poptrio.testing.playbook import CountingRandom

V2, V1, MD5, PAP = AuthProtocol.MSCHAP_V2, AuthProtocol.MSCHAP_V1, AuthProtocol.CHAP_MD5, AuthProtocol.PAP


def test_an_option_without_opinions_is_not_requested_and_rejected():
    option = Option()
    option.restart()
    option.acked(b"")
    option.naked(b"")
    option.rejected()
    option.agreed(None)
    assert (option.request(), option.judge(b""), option.missing()) == (None, Reject(), None)
    assert (option.failure, option.disagreement) == (None, None)


class TestMru:
    def test_ours_is_requested(self):
        assert MruOption(1400).request() == b"\x05\x78"

    @pytest.mark.parametrize("size", [128, 576, 1400, 1500, 65535])
    def test_any_usable_size_of_the_peer_is_fine(self, size):
        option = MruOption(1400)
        assert option.judge(size.to_bytes(2, "big")) == Ack()
        option.agreed(size.to_bytes(2, "big"))
        assert option.peers == size

    @pytest.mark.parametrize("value", [b"", b"\x05", b"\x00\x7f", b"\x00\x00", b"\x00\x05\x78"])
    def test_an_unusable_size_is_naked_with_ours(self, value):
        assert MruOption(1400).judge(value) == Nak(b"\x05\x78")

    def test_no_mru_option_means_1500(self):
        option = MruOption(1400)
        option.agreed(None)
        assert option.peers == 1500

    def test_a_smaller_wish_is_followed(self):
        option = MruOption(1400)
        option.naked(b"\x02\x40")
        assert option.request() == b"\x02\x40"

    def test_windows_2000_naks_with_the_same_value_for_ever_which_becomes_a_reject(self):
        option = MruOption(1400)
        for _ in range(2):
            option.naked(b"\x05\x78")
            assert option.request() == b"\x05\x78"
        option.naked(b"\x05\x78")
        assert option.request() is None

    @pytest.mark.parametrize("value", [b"\x05\xdc", b"\x00\x10", b"", b"\x05\x78\x00"])
    def test_a_useless_nak_is_not_followed(self, value):
        option = MruOption(1400)
        option.naked(value)
        assert option.request() == b"\x05\x78"

    def test_a_reject_is_obeyed(self):
        option = MruOption(1400)
        option.rejected()
        option.naked(b"\x05\x00")
        assert option.request() is None


class TestAccm:
    @pytest.mark.parametrize("value", ["00000000", "000a0000", "ffffffff"])
    def test_windows_sends_real_maps_and_all_are_fine(self, value):
        assert AccmOption().judge(bytes.fromhex(value)) == Ack()

    def test_one_of_another_size_is_naked(self):
        assert AccmOption().judge(b"\x00") == Nak(bytes(4))

    def test_it_is_never_requested(self):
        assert AccmOption().request() is None


class TestAuthenticate:
    def test_the_first_of_the_list_is_demanded(self):
        assert AuthenticateOption([V2, PAP]).request() == b"\xc2\x23\x81"

    def test_a_suggestion_in_the_list_is_followed(self):
        option = AuthenticateOption([V2, V1, MD5, PAP])
        option.naked(PAP.option_value)
        assert option.protocol is PAP

    @pytest.mark.parametrize("wish", [b"\xc2\x27", b"\xc2\x23\x42", b"", b"\xc2"])
    def test_any_other_suggestion_moves_on_to_the_next_of_the_list(self, wish):
        option = AuthenticateOption([V2, PAP])
        option.naked(wish)
        assert (option.protocol, option.failure) == (PAP, None)

    def test_a_list_used_up_is_a_failure_that_names_both_sides(self):
        option = AuthenticateOption([V2])
        option.naked(PAP.option_value)
        assert option.failure == "the peer wants pap; configured: mschap-v2"

    def test_an_unknown_one_is_named_by_its_number(self):
        option = AuthenticateOption([V2])
        option.naked(b"\xc2\x29")
        assert option.failure == "the peer wants 0xc229; configured: mschap-v2"

    def test_a_reject_is_a_failure(self):
        option = AuthenticateOption([V2])
        option.rejected()
        assert option.failure == "the peer refuses to authenticate itself; configured: mschap-v2"

    def test_a_new_negotiation_begins_with_the_whole_list(self):
        option = AuthenticateOption([V2, PAP])
        option.naked(PAP.option_value)
        option.restart()
        assert option.protocol is V2
        option.naked(PAP.option_value)
        assert option.protocol is PAP

    def test_a_peer_that_wants_to_authenticate_us_is_rejected(self):
        assert AuthenticateOption([V2]).judge(V2.option_value) == Reject()


class TestProve:
    def test_one_of_ours_is_fine(self):
        option = ProveOption([V2, MD5])
        assert option.judge(MD5.option_value) == Ack()
        option.agreed(MD5.option_value)
        assert option.protocol is MD5

    def test_another_is_naked_with_our_favourite(self):
        option = ProveOption([V2, MD5])
        assert option.judge(PAP.option_value) == Nak(V2.option_value)
        assert option.disagreement == "the server wants pap; allowed: mschap-v2, chap-md5"

    def test_an_unknown_one_too(self):
        option = ProveOption([V2])
        assert option.judge(b"\xc2\x29") == Nak(V2.option_value)
        assert option.disagreement == "the server wants 0xc229; allowed: mschap-v2"

    def test_a_server_may_want_none(self):
        option = ProveOption([V2])
        option.agreed(None)
        assert (option.protocol, option.request(), option.missing()) == (None, None, None)


class TestMagicNumber:
    def test_ours_is_requested_and_the_peers_acknowledged(self):
        option = MagicNumberOption(CountingRandom())
        assert option.request() == option.ours == b"\x01" * 4
        assert option.judge(b"\x0a" * 4) == Ack()
        option.agreed(b"\x0a" * 4)
        assert option.peers == b"\x0a" * 4

    def test_a_peer_without_one_has_zero(self):
        option = MagicNumberOption(CountingRandom())
        option.agreed(None)
        assert option.peers == bytes(4)

    @pytest.mark.parametrize("value", [bytes(4), b"", b"\x01" * 3])
    def test_zero_and_nonsense_are_naked_with_another_number(self, value):
        option = MagicNumberOption(CountingRandom())
        assert option.judge(value) == Nak(b"\x02" * 4)
        assert option.collisions == 0

    def test_collisions_are_counted_until_the_peer_has_another_number(self):
        option = MagicNumberOption(CountingRandom())
        assert option.collide() == b"\x02" * 4
        assert option.collisions == 1
        option.judge(b"\x0a" * 4)
        assert option.collisions == 0

    def test_a_nak_gives_us_a_new_number(self):
        option = MagicNumberOption(CountingRandom())
        option.naked(b"\x0a" * 4)
        assert option.request() == b"\x02" * 4

    def test_after_a_reject_ours_is_zero(self):
        option = MagicNumberOption(CountingRandom())
        option.rejected()
        assert (option.request(), option.ours) == (None, bytes(4))
        assert isinstance(option.judge(bytes(4)), Nak)
        assert option.collisions == 0

    def test_it_is_never_zero(self):
        assert MagicNumberOption(bytes).ours == b"\x00\x00\x00\x01"


class TestFlag:
    @pytest.fixture
    def option(self):
        return FlagOption(7, "Protocol-Field-Compression")

    def test_it_is_requested_and_acknowledged(self, option):
        assert (option.request(), option.judge(b"")) == (b"", Ack())
        option.agreed(b"")
        assert option.peer_accepts
        option.agreed(None)
        assert not option.peer_accepts

    def test_one_with_a_value_is_rejected(self, option):
        assert option.judge(b"\x01") == Reject()

    def test_router_tester_naks_boolean_options_which_counts_as_a_reject(self, option):
        option.naked(b"")
        assert option.request() is None

    def test_a_reject_is_obeyed(self, option):
        option.rejected()
        assert option.request() is None


def test_authentication_protocols_by_name_and_option():
    assert [AuthProtocol.from_label(protocol.label) for protocol in AuthProtocol] == list(AuthProtocol)
    assert [AuthProtocol.from_option(protocol.option_value) for protocol in AuthProtocol] == list(AuthProtocol)
