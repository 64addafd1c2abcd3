"""The two key values: sizes are checked, nothing secret is shown."""

import pytest

from poptrio.crypto.mppe_keys import MppeKeys, MppeParameters


@pytest.mark.parametrize(
    "sizes", [{"send": 8}, {"receive": 17}, {"weak_send": 16}, {"weak_receive": 0}], ids=lambda sizes: str(sizes)
)
def test_a_key_of_the_wrong_size(sizes):
    lengths = {"send": 16, "receive": 16, "weak_send": 8, "weak_receive": 8} | sizes
    with pytest.raises(ValueError, match="an MPPE start key of"):
        MppeKeys(**{name: bytes(length) for name, length in lengths.items()})


def test_weak_keys_may_be_missing():
    keys = MppeKeys(bytes(16), bytes(16))
    assert (keys.weak_send, keys.weak_receive) == (None, None)


def test_no_key_in_a_repr():
    assert repr(MppeKeys(b"S" * 16, b"R" * 16, b"w" * 8, b"v" * 8)) == "MppeKeys()"
    assert repr(MppeParameters(40, True, b"K" * 8)) == "MppeParameters(bits=40, stateless=True)"


def test_parameters_say_what_was_negotiated():
    assert str(MppeParameters(128, True, bytes(16))) == "MPPE-128 stateless"
    assert str(MppeParameters(40, False, bytes(8))) == "MPPE-40 stateful"
