"""The domain rule: what becomes of ``DOMAIN\\user``, the form in which Windows sends names (RFC 2759 §4).

The name that a client sends is never changed, because MS-CHAP hashes are made from it; the rule fills in ``username``
and ``domain``, by which plugins look the user up.
"""

from dataclasses import dataclass, replace

from poptrio.protocols.ppp.auth_requests import AuthRequest


@dataclass(frozen=True, slots=True)
class DomainRule:
    """``[authentication] strip_domain`` and ``default_domain``; an empty default is none."""

    strip_domain: bool = True
    default_domain: str = ""

    def apply(self, request: AuthRequest) -> AuthRequest:
        """Return ``request`` with the user and domain that plugins shall see.

        The user part follows the last backslash, as in the hash of MS-CHAPv2. A name without a user part is left as it
        was sent: nothing sensible can be looked up, and an empty name must not come of it.
        """
        domain, _, user = request.name.rpartition("\\")
        domain = domain or self.default_domain
        if not user:
            return replace(request, username=request.name, domain="")
        if self.strip_domain or not domain:
            return replace(request, username=user, domain=domain)
        return replace(request, username=f"{domain}\\{user}", domain=domain)


LONGEST_NAME = 256
"""Characters of a name in a log line: as many as an account name can have (RFC 2759 §4)."""


def seen_and_used(request: AuthRequest) -> str:
    """The user for a log: the name as the client sent it, and the one looked up where that is another."""
    seen, used = _printable(request.name), _printable(request.username)
    return seen if seen == used else f"{seen} (looked up as {used})"


def _printable(name: str) -> str:
    """``name`` with everything escaped that could break a log line or is not UTF-8."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name[:LONGEST_NAME])
    return shown if len(name) <= LONGEST_NAME else f"{shown}…"
