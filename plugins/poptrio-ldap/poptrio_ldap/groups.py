"""Which groups a user is in, and how a group in the configuration is told from another."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ldap3.core.exceptions import LDAPInvalidDnError
from ldap3.utils.dn import parse_dn

from poptrio_ldap.directory import Entry

_HEX_OCTETS = re.compile(r"(?:\\[0-9A-Fa-f]{2})+")

DnKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one user, by DN and by name, in a form in which equal ones are equal."""

    dns: frozenset[DnKey] = frozenset()
    names: frozenset[str] = frozenset()

    def have(self, *, dn: str = "", name: str = "") -> bool:
        """Whether the group with this DN, or this name, is among them; upper and lower case are the same."""
        return dn_key(dn) in self.dns if dn else name.casefold() in self.names

    def have_any(self, groups: Iterable[str]) -> bool:
        """Whether any of ``groups`` is among them, each a DN, which has a ``=``, or a name."""
        return any(self.have(dn=group) if "=" in group else self.have(name=group) for group in groups)


def groups_of(member_of: Iterable[str], found: Iterable[Entry], name_attribute: str) -> Groups:
    """The groups whose DNs are ``member_of``, and those ``found`` by a search."""
    found = list(found)
    dns = [*member_of, *(entry.dn for entry in found)]
    names = {name.casefold() for entry in found for name in entry.texts(name_attribute)}
    keys = {dn_key(dn) for dn in dns}
    names.update(key[0].partition("=")[2] for key in keys if key)
    return Groups(frozenset(keys), frozenset(names))


def dn_key(dn: str) -> DnKey:
    """``dn`` without the differences that mean nothing: case, blanks around parts, ways to escape (RFC 4514)."""
    try:
        parts = parse_dn(dn, strip=True)
    except LDAPInvalidDnError:
        return (dn.strip().casefold(),)
    return tuple(
        f"{attribute.casefold()}={_plain(value)}{separator.strip('+,')}" for attribute, value, separator in parts
    )


def _plain(value: str) -> str:
    """An escaped value as it is meant: ``\\2c`` and ``\\,`` are both a comma."""
    octets = _HEX_OCTETS.sub(
        lambda found: bytes.fromhex(found[0].replace("\\", "")).decode("utf-8", "surrogateescape"), value
    )
    return re.sub(r"\\(.)", r"\1", octets).casefold().strip()
