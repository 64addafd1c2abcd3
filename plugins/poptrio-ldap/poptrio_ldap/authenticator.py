"""From a request to a decision: find the user, judge the password, see whether he may call and what he gets."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from poptrio.api import (
    Accept,
    AuthRequest,
    CannotVerify,
    Decision,
    MsChapV2ChangePasswordRequest,
    PapRequest,
    Reject,
    verify,
)
from poptrio_ldap import account, authorization
from poptrio_ldap.directory import Entry, Search
from poptrio_ldap.filters import fill
from poptrio_ldap.groups import Groups, groups_of
from poptrio_ldap.places import Place, Places
from poptrio_ldap.secrets import Secrets, secrets_of
from poptrio_ldap.settings import LdapConfig

CHANGE_PASSWORD_FAILED = 709
"""``ERROR_CHANGING_PASSWORD`` (RFC 2759 §6)."""


class Authenticator:
    """Judges requests by the directories of ``places``. ``now`` is wall-clock time with a time zone."""

    def __init__(
        self, settings: LdapConfig, places: Places, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._settings = settings
        self._places = places
        self._now = now
        named = (settings.user_attribute, settings.password_attribute, settings.nt_hash_attribute)
        attributes = (*named, settings.member_of_attribute, *account.ATTRIBUTES, *authorization.ATTRIBUTES)
        self._attributes = tuple(filter(None, attributes))

    async def decide(self, request: AuthRequest) -> Decision | None:
        """None for a user who is not in the directory. Raises `DirectoryUnavailable`."""
        place = self._places.of(request.domain)
        entries = await self._find(request, place)
        if not entries:
            return None
        if len(entries) > 1:
            dns = " and ".join(entry.dn for entry in entries)
            return Reject(reason=f"more than one entry matches the name: {dns}")
        entry = entries[0]
        decision = await self._judge(request, entry, place)
        if not isinstance(decision, Accept):
            return decision
        return await self._authorize(request, decision, entry, place)

    async def _find(self, request: AuthRequest, place: Place) -> list[Entry]:
        """The entries that match, two at most. No entry has a name that is empty or not UTF-8."""
        if not place.base or not request.username:
            return []
        values = {"user": request.username, "domain": request.domain, "name": request.name}
        try:
            filled = fill(place.filter, values)
        except UnicodeEncodeError:
            return []
        search = Search(base=place.base, filter=filled, attributes=self._attributes, limit=2)
        return await place.directory.search(search)

    async def _judge(self, request: AuthRequest, entry: Entry, place: Place) -> Decision:
        """Whether the password is right; nothing else about the account is said before that."""
        if isinstance(request, MsChapV2ChangePasswordRequest):
            return Reject(reason="passwords in a directory are not changed here", code=CHANGE_PASSWORD_FAILED)
        if isinstance(request, PapRequest):
            return await _bind(request, entry, place)
        settings = self._settings
        secrets = secrets_of(entry, settings.password_attribute, settings.nt_hash_attribute)
        return _verify(request, secrets) or Reject(reason=self._why_not(request, entry, secrets))

    def _why_not(self, request: AuthRequest, entry: Entry, secrets: Secrets) -> str:
        """Why ``secrets`` cannot judge the protocol that the client used."""
        protocol, settings = request.protocol, self._settings
        needs = "the password in clear" if protocol == "chap-md5" else "the password in clear or its NT hash"
        asked = [name for name in (settings.password_attribute, settings.nt_hash_attribute) if name]
        if secrets.nt_hashes:
            has = "only its NT hash is there"
        elif secrets.unusable:
            has = " and ".join(secrets.unusable)
        elif asked:
            has = f"there is no {' and no '.join(asked)} that the service account can read"
        else:
            has = "neither password_attribute nor nt_hash_attribute is configured"
        return f"{protocol} needs {needs}, and of {entry.dn} {has}"

    async def _authorize(self, request: AuthRequest, accept: Accept, entry: Entry, place: Place) -> Decision:
        """``accept`` under the user's own name and with what he gets, or why he may not call."""
        refusal = account.refusal(entry, self._now())
        if refusal is not None:
            return refusal
        groups = await self._groups(request, entry, place)
        if place.require_group and not groups.have_any(place.require_group):
            wanted = " or ".join(place.require_group)
            return Reject(reason=f"{entry.dn} is not in the group {wanted}", code=account.NO_DIALIN_PERMISSION)
        user = entry.text(self._settings.user_attribute) or request.username
        aliases = tuple(dict.fromkeys(name for name in (entry.dn, request.username, request.name) if name != user))
        rules = [rule for rule in self._settings.groups if groups.have(dn=rule.dn, name=rule.name)]
        try:
            return authorization.authorize(replace(accept, user=user, aliases=aliases), entry, rules)
        except authorization.BadValue as error:
            return Reject(reason=str(error))

    async def _groups(self, request: AuthRequest, entry: Entry, place: Place) -> Groups:
        """The user's groups, as far as the configuration asks for any."""
        settings = self._settings
        if not place.require_group and not settings.groups:
            return Groups()
        found: list[Entry] = []
        if place.group_filter:
            filled = fill(place.group_filter, {"dn": entry.dn, "user": request.username})
            attributes = tuple(filter(None, [settings.group_name_attribute]))
            found = await place.directory.search(Search(base=place.group_base, filter=filled, attributes=attributes))
        return groups_of(entry.texts(settings.member_of_attribute), found, settings.group_name_attribute)


async def _bind(request: PapRequest, entry: Entry, place: Place) -> Decision:
    """Let the directory judge. An empty password binds as nobody, and succeeds (RFC 4513 §5.1.2): it is not tried."""
    password = request.password.encode("utf-8", "surrogateescape")
    if not password or not entry.dn:
        return Reject(reason="an empty password never binds")
    if b"\0" in password:  # a server that takes it for the end of the text would see an empty one
        return Reject(reason="a password with a NUL octet never binds")
    return account.refusal_of_bind(await place.directory.bind(entry.dn, password)) or Accept(user=request.username)


def _verify(request: AuthRequest, secrets: Secrets) -> Decision | None:
    """What the first fitting secret says, or why the last one does not fit; None when no secret can judge."""
    decision: Decision | None = None
    known = [(password, None) for password in secrets.passwords] + [(None, nt_hash) for nt_hash in secrets.nt_hashes]
    for password, nt_hash in known:
        try:
            judged = verify(request, password, nt_hash=nt_hash)
        except CannotVerify:
            continue
        if not isinstance(judged, Reject):
            return judged
        decision = judged
    return decision
