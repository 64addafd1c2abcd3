"""`Attributes`: what a RADIUS packet carries (RFC 2865 §5), by name and with types."""

from collections.abc import Iterator
from ipaddress import IPv4Address

from poptrio_radius.dictionary import Key, Value, encode, key_of, name_of, pack

LONGEST = 253
"""Octets of one value (RFC 2865 §5)."""


class BadAttribute(ValueError):
    """The value of the attribute ``name`` cannot be what its type says; the text is a sentence for the log."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(f"{name} {sentence}")
        self.name = name


class Attributes:
    """Attributes in order; each may be there several times. Values are octets until somebody asks for more.

    The accessors in the singular give the first value, or None; each raises `BadAttribute` when a value that it looks
    at has the wrong length. What our dictionary does not know is kept, under its number.
    """

    __slots__ = ("_values",)

    def __init__(self, values: dict[Key, list[bytes]] | None = None) -> None:
        self._values: dict[Key, list[bytes]] = {} if values is None else values

    def add(self, name: str, value: Value) -> None:
        """Add one attribute. Raises ValueError when ``value`` does not fit into it."""
        octets = encode(name, value)
        if len(octets) > LONGEST:
            raise BadAttribute(name, f"would have {len(octets)} octets, and {LONGEST} is the most")
        self._values.setdefault(key_of(name), []).append(octets)

    def add_pieces(self, name: str, octets: bytes) -> None:
        """Add ``octets`` in as many attributes as they need (RFC 3579 §3.1 for EAP-Message)."""
        for start in range(0, len(octets), LONGEST):
            self.add(name, octets[start : start + LONGEST])

    def extend(self, others: "Attributes") -> None:
        """Add all of ``others`` behind these."""
        for key, values in others._values.items():
            self._values.setdefault(key, []).extend(values)

    def replace(self, name: str, value: Value) -> None:
        """Have ``name`` once, with ``value``."""
        self._values.pop(key_of(name), None)
        self.add(name, value)

    def octets(self, name: str) -> list[bytes]:
        """Every value of ``name`` as it came."""
        return list(self._values.get(key_of(name), ()))

    def joined(self, name: str) -> bytes:
        """The values of ``name`` one after the other."""
        return b"".join(self.octets(name))

    def texts(self, name: str) -> list[str]:
        """Every value of ``name`` as text; octets that are not UTF-8 are kept as surrogate escapes."""
        return [value.decode("utf-8", "surrogateescape") for value in self.octets(name)]

    def numbers(self, name: str) -> list[int]:
        """Every value of ``name`` as an unsigned number of 32 bits."""
        return [int.from_bytes(_sized(name, value, 4), "big") for value in self.octets(name)]

    def addresses(self, name: str) -> list[IPv4Address]:
        """Every value of ``name`` as an IPv4 address."""
        return [IPv4Address(_sized(name, value, 4)) for value in self.octets(name)]

    def text(self, name: str) -> str | None:
        """The first text."""
        return next(iter(self.texts(name)), None)

    def number(self, name: str) -> int | None:
        """The first number."""
        return next(iter(self.numbers(name)), None)

    def address(self, name: str) -> IPv4Address | None:
        """The first address."""
        return next(iter(self.addresses(name)), None)

    def pack(self) -> bytes:
        """As they go on the wire."""
        return pack(self._values)

    def copy(self) -> "Attributes":
        """The same, to be changed apart."""
        return Attributes({key: list(values) for key, values in self._values.items()})

    def with_first(self, name: str, value: bytes) -> "Attributes":
        """A copy that begins with ``name``, there once, and goes on with the others."""
        key = key_of(name)
        rest = {other: list(values) for other, values in self._values.items() if other != key}
        return Attributes({key: [value], **rest})

    def __contains__(self, name: str) -> bool:
        return key_of(name) in self._values

    def __iter__(self) -> Iterator[str]:
        """The names, each once; what the dictionary does not know as ``Attr-NUMBER`` or ``Attr-26.VENDOR.NUMBER``."""
        return (name_of(key) or _unnamed(key) for key in self._values)

    def __len__(self) -> int:
        return sum(map(len, self._values.values()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attributes) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Attributes({', '.join(self)})"  # values may be secrets


def _sized(name: str, value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise BadAttribute(name, f"has {len(value)} octets where {size} are needed")
    return value


def _unnamed(key: Key) -> str:
    return f"Attr-26.{key[0]}.{key[1]}" if isinstance(key, tuple) else f"Attr-{key}"
