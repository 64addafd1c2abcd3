"""A directory in a dictionary, for tests that are about decisions: entries by filter, passwords by DN."""

from dataclasses import dataclass, field

from poptrio_ldap.directory import BindResult, DirectoryUnavailable, Entry, Search

SUCCESS, INVALID_CREDENTIALS = 0, 49


def entry(dn, **attributes) -> Entry:
    """An entry with attributes of one value, or of a list of them."""
    values = {name.lower(): value if isinstance(value, list) else [value] for name, value in attributes.items()}
    return Entry(dn, {name: tuple(text.encode() for text in texts) for name, texts in values.items()})


@dataclass
class FakeDirectory:
    """Answers `Search` by its filter; ``searches`` and ``binds`` are what it was asked."""

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    passwords: dict[str, bytes] = field(default_factory=dict)
    bind_answer: BindResult | None = None
    silent: bool = False
    searches: list[Search] = field(default_factory=list)
    binds: list[tuple[str, bytes]] = field(default_factory=list)

    async def search(self, search: Search) -> list[Entry]:
        self._answer()
        self.searches.append(search)
        found = self.entries.get(search.filter, [])
        return found[: search.limit or None]

    async def bind(self, dn: str, password: bytes) -> BindResult:
        self._answer()
        self.binds.append((dn, password))
        if self.bind_answer is not None:
            return self.bind_answer
        right = self.passwords.get(dn) == password
        return BindResult(SUCCESS if right else INVALID_CREDENTIALS, "" if right else "invalidCredentials")

    def _answer(self) -> None:
        if self.silent:
            raise DirectoryUnavailable("nobody is there")
