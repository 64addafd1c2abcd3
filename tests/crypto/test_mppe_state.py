"""MPPE that is written down and read again goes on in the same key stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poptrio.crypto import rc4
from poptrio.crypto.mppe import MppeDecryptor, MppeEncryptor
from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.crypto.mppe_state import decryptor_from, decryptor_state, encryptor_from, encryptor_state

PROVIDERS = [provider for provider in (rc4.default, rc4.CryptographyRc4()) if rc4.works(provider)]
PARAMETERS = st.builds(
    lambda bits, stateless, key: MppeParameters(bits, stateless, key[: 16 if bits == 128 else 8]),
    st.sampled_from((128, 56, 40)),
    st.booleans(),
    st.binary(min_size=16, max_size=16),
)


def datagram(number: int) -> bytes:
    size = 21 + number % 50
    return b"\x00\x21\x45\x00" + size.to_bytes(2, "big") + bytes(size - 4)


@given(
    PARAMETERS,
    st.integers(0, 600),
    st.lists(st.booleans(), max_size=60),
    st.booleans(),
    st.sampled_from(PROVIDERS),
)
def test_going_on_is_as_never_having_stopped(parameters, many, arrives, reset, provider):
    sender, receiver = MppeEncryptor(parameters, provider), MppeDecryptor(parameters, provider)
    for number in range(many):
        receiver.decrypt(sender.encrypt(datagram(number)))
    if reset:
        sender.reset()
    other_sender = encryptor_from(encryptor_state(sender, parameters), provider)
    other_receiver = decryptor_from(decryptor_state(receiver, parameters), provider)
    for number, comes in enumerate(arrives):
        packet = sender.encrypt(datagram(number))
        assert other_sender.encrypt(datagram(number)) == packet
        if comes:
            assert other_receiver.decrypt(packet) == receiver.decrypt(packet)
            assert other_receiver.reset_needed == receiver.reset_needed


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
@pytest.mark.parametrize("size", [0, 7, 12, 4096])
def test_a_foreign_key_stream_is_refused(provider, size):
    with pytest.raises(ValueError, match=r"no RC4 key stream"):
        provider.resume(bytes(size))
