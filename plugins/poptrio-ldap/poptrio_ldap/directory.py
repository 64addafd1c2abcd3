"""What the plugin asks a directory, and what it hears: the seam between its decisions and ldap3.

The decisions know `Directory` only; `poptrio_ldap.threads` implements it with ldap3, the tests with a dictionary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class DirectoryUnavailable(Exception):
    """No server could answer, or none would; the message is a sentence for the log."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the directory. ``attributes`` are raw values by the lower-case name of the attribute."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict, repr=False)

    def octets(self, attribute: str) -> tuple[bytes, ...]:
        """Every value of ``attribute`` (any case), none for the empty name."""
        return self.attributes.get(attribute.lower(), ())

    def texts(self, attribute: str) -> tuple[str, ...]:
        """Every value of ``attribute`` as text; octets that are not UTF-8 become surrogate escapes."""
        return tuple(value.decode("utf-8", "surrogateescape") for value in self.octets(attribute))

    def text(self, attribute: str) -> str | None:
        """The first value of ``attribute``, or None."""
        return next(iter(self.texts(attribute)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search of the subtree at ``base``; ``filter`` is RFC 4515 text, everything in it escaped already.

    ``limit`` is how many entries are wanted at most, 0 is all of them.
    """

    base: str
    filter: str
    attributes: tuple[str, ...] = ()
    limit: int = 0


@dataclass(frozen=True, slots=True)
class BindResult:
    """The answer to a bind: its result code (RFC 4511 §4.1.9), the server's own words, and a password policy error.

    ``policy_error`` is the number of the password policy control (draft-behera-ldap-password-policy §6.2), or None.
    """

    code: int
    diagnostic: str = ""
    policy_error: int | None = None


class Directory(Protocol):
    """A directory that answers questions. Both raise `DirectoryUnavailable`."""

    async def search(self, search: Search) -> list[Entry]:
        """The entries that match, read by the service account."""

    async def bind(self, dn: str, password: bytes) -> BindResult:
        """Try ``password`` for ``dn``. Raises ValueError if one is empty: such a bind succeeds and proves nothing."""
