"""Faults in the rules for domains that no single key shows."""

from collections.abc import Iterator

from poptrio.config.faults import Fault, KeyPath
from poptrio.config.sections import Authentication

DOMAINS: KeyPath = ("authentication", "domains")
ALLOWED: KeyPath = ("authentication", "allowed_domains")


def domain_faults(authentication: Authentication) -> Iterator[tuple[tuple[KeyPath, ...], Fault]]:
    """Every contradiction in ``[authentication.domains]``, each with the keys that it is about."""
    names: dict[str, str] = {}
    for name in authentication.domains:
        if not name:
            sentence = "a domain has a name; users without one are asked for by authentication.plugins"
            yield (DOMAINS,), Fault((*DOMAINS, name), sentence)
        elif (other := names.setdefault(name.casefold(), name)) != name:
            yield (DOMAINS,), Fault((*DOMAINS, name), f'is the domain "{other}" again; case does not matter')
    yield from _renamed(authentication, names)
    yield from _allowed(authentication, names)


def _renamed(authentication: Authentication, names: dict[str, str]) -> Iterator[tuple[tuple[KeyPath, ...], Fault]]:
    for name, domain in authentication.domains.items():
        if not domain.rename:
            continue
        target = names.get(domain.rename.casefold())
        if target is not None and target.casefold() == name.casefold():
            yield (DOMAINS,), Fault((*DOMAINS, name, "rename"), f'"{domain.rename}" is its own name')
        elif target is not None and authentication.domains[target].rename:
            sentence = f'"{target}" has another name itself; write "{authentication.domains[target].rename}"'
            yield (DOMAINS,), Fault((*DOMAINS, name, "rename"), sentence)
        if domain.plugins:
            sentence = f'would never be asked: the users are those of "{domain.rename}"; name the plugins there'
            yield (DOMAINS,), Fault((*DOMAINS, name, "plugins"), sentence)


def _allowed(authentication: Authentication, names: dict[str, str]) -> Iterator[tuple[tuple[KeyPath, ...], Fault]]:
    allowed = {name.casefold() for name in authentication.allowed_domains}
    for name in authentication.allowed_domains:
        known = names.get(name.casefold())
        if known is not None and authentication.domains[known].rename:
            sentence = f'"{name}" is called "{authentication.domains[known].rename}" before this list is looked at'
            yield (ALLOWED, DOMAINS), Fault(ALLOWED, sentence)
    for name, domain in authentication.domains.items():
        if allowed and domain.plugins and not domain.rename and name.casefold() not in allowed:
            sentence = "would never be asked: authentication.allowed_domains does not name this domain"
            yield (ALLOWED, DOMAINS), Fault((*DOMAINS, name, "plugins"), sentence)
