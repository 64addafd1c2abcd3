"""RC4 behind one small interface, from libcrypto through ctypes where that works, else from `cryptography`. Hot path.

RC4 is broken and only here because MPPE is made of it (RFC 3078 §5). A provider does two things: `Rc4Provider.once`
ciphers one piece of data with a fresh key (stateless MPPE: every packet), `Rc4Provider.new` gives a key stream that
goes on from piece to piece (stateful MPPE). ``default`` is chosen at import: libcrypto if it is there and ciphers a
known vector rightly, since a new cipher object of `cryptography` costs more than ciphering a whole packet.

Providers keep scratch memory between calls and belong to one thread.
"""

import ctypes
from typing import Any, Protocol

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher

from poptrio.crypto import libcrypto

# The key schedule of libcrypto: two indices and 256 elements, each an unsigned int at most (openssl/rc4.h).
_RC4_KEY = ctypes.c_uint * 258

# More than any PPP frame; longer data is ciphered into memory of its own.
_SCRATCH_SIZE = 65536

# The sizes of nearly all packets, ready made.
_MOST_SIZES = 2048
_SIZES = [ctypes.c_size_t(size) for size in range(_MOST_SIZES)]


class Rc4(Protocol):
    """One RC4 key stream; encryption and decryption are the same operation."""

    def update(self, data: bytes) -> bytes:
        """Cipher ``data`` with the next ``len(data)`` octets of the key stream."""

    def written_down(self) -> bytes:
        """Where the key stream stands, for `Rc4Provider.resume` of the same provider in another process."""


class Rc4Provider(Protocol):
    """A source of RC4; keys have 5 to 32 octets (MPPE: 8 or 16)."""

    name: str

    def new(self, key: bytes) -> Rc4:
        """A key stream from its beginning."""

    def resume(self, written_down: bytes) -> Rc4:
        """The key stream that `Rc4.written_down` was of. Raises ValueError if it is none of this provider."""

    def once(self, key: bytes, data: bytes) -> bytes:
        """Cipher ``data`` with the beginning of the key stream of ``key``."""


class CryptographyRc4:
    """RC4 of the `cryptography` package, which keeps it among its decrepit algorithms."""

    __slots__ = ()
    name = "cryptography"

    def new(self, key: bytes) -> Rc4:
        return _CryptographyStream(key)

    def resume(self, written_down: bytes) -> Rc4:
        size, key = written_down[:8], written_down[8:]
        if len(size) < 8 or not 5 <= len(key) <= 32:
            raise ValueError("this is no RC4 key stream of the provider cryptography")
        stream = _CryptographyStream(key)
        stream.update(bytes(int.from_bytes(size, "big")))
        return stream

    def once(self, key: bytes, data: bytes) -> bytes:
        return Cipher(ARC4(key), None).encryptor().update(data)


class _CryptographyStream:
    """A key stream; it shows nobody where it stands, hence key and octets are written down."""

    __slots__ = ("_key", "_update", "_used")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._update = Cipher(ARC4(key), None).encryptor().update
        self._used = 0

    def update(self, data: bytes) -> bytes:
        self._used += len(data)
        return self._update(data)

    def written_down(self) -> bytes:
        return self._used.to_bytes(8, "big") + self._key


class LibcryptoRc4:
    """RC4 of the system's libcrypto: the low-level functions, which need no legacy provider to be configured.

    Raises OSError where there is no libcrypto or where it has no RC4.
    """

    # The functions have no ``argtypes``: to convert arguments costs as much as ciphering 100 octets. What is passed has
    # the right C type as it is: ``byref`` and bytes are pointers, a Python int is a C int, `_SIZES` are size_t.

    __slots__ = ("_output", "_rc4", "_schedule", "_scratch", "_set_key")
    name = "libcrypto"

    def __init__(self) -> None:
        library = libcrypto.load()
        try:
            self._set_key = library.RC4_set_key
            self._rc4 = library.RC4
        except AttributeError as error:
            raise OSError("libcrypto was built without RC4") from error
        self._set_key.restype = self._rc4.restype = None
        self._schedule = ctypes.byref(_RC4_KEY())
        self._scratch: Any = ctypes.create_string_buffer(_SCRATCH_SIZE)  # slices of it are bytes
        self._output = ctypes.byref(self._scratch)

    def new(self, key: bytes) -> Rc4:
        memory = _RC4_KEY()
        schedule = ctypes.byref(memory)
        self._set_key(schedule, len(key), key)
        return _LibcryptoStream(self, schedule, memory)

    def resume(self, written_down: bytes) -> Rc4:
        if len(written_down) != ctypes.sizeof(_RC4_KEY):
            raise ValueError("this is no RC4 key stream of the provider libcrypto")
        memory = _RC4_KEY.from_buffer_copy(written_down)
        return _LibcryptoStream(self, ctypes.byref(memory), memory)

    def once(self, key: bytes, data: bytes) -> bytes:
        schedule = self._schedule
        self._set_key(schedule, len(key), key)
        size = len(data)
        if size >= _MOST_SIZES:
            return self.cipher(schedule, data)
        self._rc4(schedule, _SIZES[size], data, self._output)
        output: bytes = self._scratch[:size]
        return output

    def cipher(self, schedule: object, data: bytes) -> bytes:
        """Cipher ``data`` with the key schedule that ``schedule`` refers to, and move the schedule on."""
        size = len(data)
        if size > _SCRATCH_SIZE:
            memory = ctypes.create_string_buffer(size)
            self._rc4(schedule, ctypes.c_size_t(size), data, ctypes.byref(memory))
            return memory.raw
        self._rc4(schedule, _SIZES[size] if size < _MOST_SIZES else ctypes.c_size_t(size), data, self._output)
        output: bytes = self._scratch[:size]
        return output


class _LibcryptoStream:
    """A key stream whose schedule is memory of ours that libcrypto moves on; the reference to it keeps it."""

    __slots__ = ("_memory", "_provider", "_schedule")

    def __init__(self, provider: LibcryptoRc4, schedule: object, memory: "ctypes.Array[ctypes.c_uint]") -> None:
        self._provider = provider
        self._schedule = schedule
        self._memory = memory

    def update(self, data: bytes) -> bytes:
        return self._provider.cipher(self._schedule, data)

    def written_down(self) -> bytes:
        return bytes(self._memory)


def works(provider: Rc4Provider) -> bool:
    """Whether ``provider`` gives the key stream of RFC 6229 §2 (128-bit key), in one piece and in two."""
    key = bytes(range(1, 17))
    expected = bytes.fromhex("9ac7cc9a609d1ef7b2932899cde41b97 5248c4959014126a6e8a84f11d1a9e1c")
    stream = provider.new(key)
    pieces = stream.update(bytes(15)) + stream.update(bytes(17))
    return provider.once(key, bytes(32)) == pieces == expected


def choose() -> Rc4Provider:
    """libcrypto if it is there and works, else `cryptography`."""
    try:
        found = LibcryptoRc4()
    except OSError:
        return CryptographyRc4()
    return found if works(found) else CryptographyRc4()


default: Rc4Provider = choose()
