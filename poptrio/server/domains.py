"""The domain rule: what becomes of ``DOMAIN\\user``, the form in which Windows sends names (RFC 2759 §4), and
``user@realm``, that of RFC 7542.

The name that a client sends is never changed, because MS-CHAP hashes are made from it; the rule fills in ``username``
and ``domain``, by which plugins look the user up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self

from poptrio.config import Authentication
from poptrio.protocols.ppp.auth_requests import AuthRequest


@dataclass(frozen=True, slots=True)
class DomainRule:
    """``[authentication]`` as far as it is about domains; an empty default is none.

    ``renamed`` and ``plugins`` are by domain, ``allowed`` are domains, all as `folded`; an empty ``allowed`` is all.
    """

    strip_domain: bool = True
    default_domain: str = ""
    strip_realm: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    plugins: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def configured(cls, authentication: Authentication) -> Self:
        """The rule of a configuration."""
        domains = authentication.domains.items()
        return cls(
            strip_domain=authentication.strip_domain,
            default_domain=authentication.default_domain,
            strip_realm=authentication.strip_realm,
            renamed={folded(name): domain.rename for name, domain in domains if domain.rename},
            allowed=frozenset(map(folded, authentication.allowed_domains)),
            plugins={folded(name): domain.plugins for name, domain in domains if domain.plugins},
        )

    def apply(self, request: AuthRequest) -> AuthRequest:
        """Return ``request`` with the user and domain that plugins shall see.

        The user part follows the last backslash, as in the hash of MS-CHAPv2; where there is none, it is before the
        last ``@``. A name without a user part is left as it was sent: nothing sensible can be looked up, and an empty
        name must not come of it.
        """
        domain, _, user = request.name.rpartition("\\")
        if not user:
            return replace(request, username=request.name, domain="")
        name, _, realm = user.rpartition("@")
        if not domain and name and realm:
            realm = self._known_as(realm)
            return replace(request, username=name if self.strip_realm else f"{name}@{realm}", domain=realm)
        domain = self._known_as(domain or self.default_domain)
        if self.strip_domain or not domain:
            return replace(request, username=user, domain=domain)
        return replace(request, username=f"{domain}\\{user}", domain=domain)

    def allows(self, domain: str) -> bool:
        """Whether the users of ``domain``, as `apply` has made it, may call at all."""
        return not self.allowed or folded(domain) in self.allowed

    def plugins_of(self, domain: str) -> Sequence[str] | None:
        """The authentication plugins of ``domain``; None where it has none of its own."""
        return self.plugins.get(folded(domain))

    def session_names(self, names: Iterable[str], domain: str) -> frozenset[str]:
        """The names by which the sessions of a user of ``domain`` are counted.

        Where a domain has plugins of its own, equal names in other domains are other people.
        """
        if self.plugins_of(domain) is None:
            return name_set(names)
        return name_set(f"{domain}\\{name}" for name in names)

    def _known_as(self, domain: str) -> str:
        return self.renamed.get(folded(domain), domain)


def name_set(names: Iterable[str]) -> frozenset[str]:
    """``names``, folded. Equal sets of the last calls are one: each takes 200 octets, and a call has three."""
    return _the_same(frozenset(map(folded, names)))


@lru_cache(maxsize=256)
def _the_same(names: frozenset[str]) -> frozenset[str]:
    return names


def folded(name: str) -> str:
    """``name`` as it is compared: case does not matter."""
    return name.casefold()


LONGEST_NAME = 256
"""Characters of a name in a log line: as many as an account name can have (RFC 2759 §4)."""


def seen_and_used(request: AuthRequest) -> str:
    """The user for a log: the name as the client sent it, and the one looked up where that is another."""
    seen, used = _printable(request.name), _printable(request.username)
    return seen if seen == used else f"{seen} (looked up as {used})"


def _printable(name: str) -> str:
    """``name`` with everything escaped that could break a log line or is not UTF-8."""
    shown = name[:LONGEST_NAME]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return shown if len(name) <= LONGEST_NAME else f"{shown}…"
