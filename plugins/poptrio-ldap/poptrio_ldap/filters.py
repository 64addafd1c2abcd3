"""Search filters (RFC 4515) from templates, in which nothing that a client says is ever more than a value."""

import re
from collections.abc import Mapping

from ldap3.core.exceptions import LDAPInvalidFilterError
from ldap3.operation.search import parse_filter

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def fill(template: str, values: Mapping[str, str]) -> str:
    """``template`` with each ``{NAME}`` replaced by the escaped value.

    Raises UnicodeEncodeError when a value is not UTF-8, which no value in a directory can equal.
    """
    return _PLACEHOLDER.sub(lambda found: escape(values[found[1]]), template)


def escape(value: str) -> str:
    """``value`` for use in a filter: every octet but ASCII letters and digits as ``\\xx`` (RFC 4515 §3).

    More than must be, because libraries strip blanks around values, and one rule for all is easier to trust.
    """
    octets = value.encode("utf-8")
    return "".join(chr(octet) if octet < 0x80 and chr(octet).isalnum() else f"\\{octet:02x}" for octet in octets)


def check_template(template: str, names: tuple[str, ...]) -> str:
    """``template`` itself. Raises ValueError with a sentence if it is no filter or has placeholders but ``names``."""
    unknown = [name for name in _PLACEHOLDER.findall(template) if name not in names]
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in names)
        raise ValueError(f"{{{unknown[0]}}} is not known here: write {known}")
    try:
        parse_filter(fill(template, dict.fromkeys(names, "x")), None, False, False, None, False)
    except LDAPInvalidFilterError as error:
        raise ValueError(f"no LDAP filter: {error}") from None
    return template
