"""Hidden values: ours and pyrad's reveal each other's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.packet import AuthPacket

from poptrio_radius.hiding import hide_password, hide_salted, reveal_password, reveal_salted

SECRET = b"testing123"
ONE = bytes(range(16))


@given(st.binary(max_size=128))
def test_a_password_comes_back(password):
    hidden = hide_password(password, SECRET, ONE)
    assert len(hidden) in range(16, 129, 16)
    assert reveal_password(hidden, SECRET, ONE).rstrip(b"\0") == password.rstrip(b"\0")


@given(st.text(max_size=30))
def test_pyrad_hides_passwords_alike(password):
    assert AuthPacket(secret=SECRET, authenticator=ONE).PwCrypt(password) == hide_password(
        password.encode(), SECRET, ONE
    )


@given(st.binary(max_size=239))
def test_a_salted_value_comes_back_from_us_and_from_pyrad(value):
    packet = AuthPacket(secret=SECRET, authenticator=ONE)
    assert reveal_salted(packet.SaltCrypt(value), SECRET, ONE) == value
    hidden = hide_salted(value, SECRET, ONE, b"\x80\x01")
    assert packet.SaltDecrypt(hidden) == value


@pytest.mark.parametrize("hidden", [b"", b"x", b"\x80\x01", bytes(17), bytes(33)])
def test_a_salted_value_of_an_impossible_length(hidden):
    with pytest.raises(ValueError, match="octets"):
        reveal_salted(hidden, SECRET, ONE)


def test_the_wrong_secret_is_noticed_where_it_can_be():
    with pytest.raises(ValueError, match="shared secret"):
        reveal_salted(hide_salted(bytes(16), SECRET, ONE, b"\x80\x01"), b"another", ONE)


@pytest.mark.parametrize("hidden", [b"", b"x", bytes(17)])
def test_a_password_of_an_impossible_length(hidden):
    with pytest.raises(ValueError, match="multiple of 16"):
        reveal_password(hidden, SECRET, ONE)


@given(st.binary(max_size=300))
def test_no_octets_break_the_decoders(hidden):
    for reveal in (reveal_password, reveal_salted):
        try:
            reveal(hidden, SECRET, ONE)
        except ValueError:
            continue
