"""Secrets that are known by their names: neither the log nor what is shown of a configuration has them.

A secret is known by the name of its key or field, or of any table around it, and where it stands in the address of a
server. Rather one name too many is taken for a secret's than one too few.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

HIDDEN = "(hidden)"
"""What is shown instead of a secret."""

_WORDS = frozenset({"key", "keys", "pass", "pin", "psk", "pw", "pwd"})
"""Words of a name that stand for themselves: `monkey` is no key."""

_ENDINGS = re.compile(
    r"(?:credentials?|passphrases?|passwds?|passwords?|secrets?|tokens?|api_?keys?|bindpw|bindpwd)(?![a-z])"
)
"""What the last part of a word may be, whatever stands before it: `sharedsecret`."""

_IN_ADDRESS = re.compile(r"(://[^/?#\s@:]*:)[^/\s]*@")
"""User and password before the host of an address, as in ``ldap://user:password@host``."""


@lru_cache(1000)  # the log asks for every field of every record
def names_a_secret(name: str) -> bool:
    """Whether the value of a key with this ``name`` is shown to nobody."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).casefold()
    return bool(_WORDS & set(re.split(r"[_\W]+", words)) or _ENDINGS.search(words))


def hidden_in_addresses(text: str) -> str:
    """``text`` with `HIDDEN` for the password in each address of a server."""
    return _IN_ADDRESS.sub(rf"\1{HIDDEN}@", text) if "://" in text else text


def without_secrets(value: object, names: Iterable[str] = ()) -> object:
    """``value`` of the key to which ``names`` lead, the tables around it first, with `HIDDEN` for each secret."""
    if any(map(names_a_secret, names)):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): without_secrets(inner, (str(key),)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    if isinstance(value, str):
        return hidden_in_addresses(value)
    return value
