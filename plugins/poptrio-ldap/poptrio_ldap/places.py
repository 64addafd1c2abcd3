"""Where the users of a domain are: the directory, and what to search in it."""

from collections.abc import Mapping
from dataclasses import dataclass

from poptrio_ldap.directory import Directory
from poptrio_ldap.settings import DomainConfig, LdapConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What applies to the users of one domain; an empty ``base`` means that nobody is there."""

    directory: Directory
    base: str
    filter: str
    require_group: tuple[str, ...]
    group_base: str
    group_filter: str


class Places:
    """The place of each domain. ``directories`` are those of domains with servers of their own, by name."""

    def __init__(self, settings: LdapConfig, directory: Directory, directories: Mapping[str, Directory]) -> None:
        self._elsewhere = _place(settings, DomainConfig(), directory)
        self._of_domain = {
            name.casefold(): _place(settings, domain, directories.get(name, directory))
            for name, domain in settings.domains.items()
        }

    def of(self, domain: str) -> Place:
        """The place of ``domain``; upper and lower case are the same."""
        return self._of_domain.get(domain.casefold(), self._elsewhere)


def _place(settings: LdapConfig, domain: DomainConfig, directory: Directory) -> Place:
    base = settings.base if domain.base is None else domain.base
    group_base = settings.group_base if domain.group_base is None else domain.group_base
    return Place(
        directory=directory,
        base=base,
        filter=settings.filter if domain.filter is None else domain.filter,
        require_group=tuple(settings.require_group if domain.require_group is None else domain.require_group),
        group_base=group_base or base,
        group_filter=settings.group_filter if domain.group_filter is None else domain.group_filter,
    )
