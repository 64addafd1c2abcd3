"""The state of both directions of MPPE as values: session keys, coherency counts, and the RC4 key stream of the
stateful mode, which goes on in the middle of a packet's worth of octets."""

from dataclasses import dataclass, field

from poptrio.crypto import rc4
from poptrio.crypto.mppe import MppeDecryptor, MppeEncryptor
from poptrio.crypto.mppe_keys import MppeParameters


@dataclass(frozen=True, slots=True)
class EncryptorState:
    """``key`` is the session key, ``stream`` the RC4 key stream as its provider writes it down, None if stateless."""

    parameters: MppeParameters
    count: int
    key: bytes = field(repr=False)
    stream: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class DecryptorState:
    """As `EncryptorState`; the rest as in `MppeDecryptor`."""

    parameters: MppeParameters
    expected: int
    untouched: bool
    lost: int
    ask_at: int
    credit: int
    reset_needed: bool
    key: bytes = field(repr=False)
    stream: bytes | None = field(repr=False)


def encryptor_state(encryptor: MppeEncryptor, parameters: MppeParameters) -> EncryptorState:
    """Where ``encryptor``, made with ``parameters``, stands."""
    stream = encryptor._stream
    return EncryptorState(
        parameters, encryptor._count, encryptor._key.current, None if stream is None else stream.written_down()
    )


def encryptor_from(state: EncryptorState, provider: rc4.Rc4Provider = rc4.default) -> MppeEncryptor:
    """An encryptor that goes on. Raises ValueError for a key stream that ``provider`` cannot go on with."""
    encryptor = MppeEncryptor(state.parameters, provider)
    encryptor._count = state.count
    encryptor._key.current = state.key
    encryptor._stream = None if state.stream is None else provider.resume(state.stream)
    return encryptor


def decryptor_state(decryptor: MppeDecryptor, parameters: MppeParameters) -> DecryptorState:
    """Where ``decryptor``, made with ``parameters``, stands."""
    stream = decryptor._stream
    return DecryptorState(
        parameters,
        expected=decryptor._expected,
        untouched=decryptor._untouched,
        lost=decryptor._lost,
        ask_at=decryptor._ask_at,
        credit=decryptor._credit,
        reset_needed=decryptor.reset_needed,
        key=decryptor._key.current,
        stream=None if stream is None else stream.written_down(),
    )


def decryptor_from(state: DecryptorState, provider: rc4.Rc4Provider = rc4.default) -> MppeDecryptor:
    """A decryptor that goes on. Raises ValueError as `encryptor_from`."""
    decryptor = MppeDecryptor(state.parameters, provider)
    decryptor._expected = state.expected
    decryptor._untouched = state.untouched
    decryptor._lost = state.lost
    decryptor._ask_at = state.ask_at
    decryptor._credit = state.credit
    decryptor.reset_needed = state.reset_needed
    decryptor._key.current = state.key
    decryptor._stream = None if state.stream is None else provider.resume(state.stream)
    return decryptor
