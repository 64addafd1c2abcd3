"""``[plugins.ldap]``: the keys, and what is wrong with them before anything is started."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from poptrio.api import Secret
from poptrio_ldap.filters import check_template

USER_PLACEHOLDERS = ("user", "domain", "name")
GROUP_PLACEHOLDERS = ("dn", "user")


def _check_server(url: str) -> str:
    """``ldap://HOST[:PORT]`` or ``ldaps://HOST[:PORT]``."""
    parts = urlsplit(url)
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("write ldap://HOST:PORT or ldaps://HOST:PORT")
    if parts.port == 0:  # raises ValueError itself for anything else that is no port
        raise ValueError("0 is no port")
    return url


def _check_user_filter(template: str) -> str:
    if not any(f"{{{name}}}" in template for name in ("user", "name")):
        raise ValueError("the filter must name the user: {user} or {name}")
    return check_template(template, USER_PLACEHOLDERS)


def _check_group_filter(template: str) -> str:
    return check_template(template, GROUP_PLACEHOLDERS) if template else template


ServerUrl = Annotated[str, AfterValidator(_check_server)]
UserFilter = Annotated[str, AfterValidator(_check_user_filter)]
GroupFilter = Annotated[str, AfterValidator(_check_group_filter)]
Seconds = Annotated[float, Field(gt=0, strict=False)]
Count = Annotated[int, Field(gt=0)]

_MODEL = ConfigDict(strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True)


class GroupConfig(BaseModel):
    """``[[plugins.ldap.groups]]``: what the members of one group get. Of several groups, the first that says it."""

    model_config = _MODEL

    dn: str = ""
    """The group's DN. Either this or ``name``."""

    name: str = ""
    """The group's name: the first value in its DN, or what ``group_name_attribute`` holds."""

    pool: str | None = None
    """The pool of ``[addresses.pools]`` from which the address comes."""

    session_timeout: Seconds | None = None
    """Seconds after which a call is ended."""

    idle_timeout: Seconds | None = None
    """Seconds without traffic after which a call is ended."""

    session_limit: Count | None = None
    """How many sessions the user may have."""

    filter_ids: list[str] = []
    """Names of filters, handed on to whoever applies them."""

    rate_from_client: Count | None = None
    """Bits per second that the client may send."""

    rate_to_client: Count | None = None
    """Bits per second that the client may receive."""

    @model_validator(mode="after")
    def _one_name(self) -> "GroupConfig":
        if bool(self.dn) == bool(self.name):
            raise ValueError("a group has either a dn or a name")
        return self


class DomainConfig(BaseModel):
    """``[plugins.ldap.domains.NAME]``: what is different for users of one domain; the rest is as above."""

    model_config = _MODEL

    base: str | None = None
    """The DN under which users are searched."""

    filter: UserFilter | None = None
    """The filter that finds a user."""

    require_group: list[str] | None = None
    """Groups (DN or name) of which a user must be in one; an empty list is no condition."""

    group_base: str | None = None
    """The DN under which groups are searched."""

    group_filter: GroupFilter | None = None
    """The filter that finds the groups of a user."""

    servers: list[ServerUrl] | None = Field(default=None, min_length=1)
    """The directory servers of this domain, if it has its own."""

    bind_dn: str | None = None
    """The service account on them."""

    bind_password: Secret | None = None
    """Its password."""


class LdapConfig(BaseModel):
    """``[plugins.ldap]``."""

    model_config = _MODEL

    servers: list[ServerUrl] = Field(min_length=1)
    """Directory servers, ``ldap://HOST:PORT`` or ``ldaps://HOST:PORT``, the preferred first."""

    start_tls: bool = True
    """Begin TLS (RFC 4511 §4.14) on ``ldap://`` before anything is said. Without it, passwords go over in clear."""

    ca_file: str = ""
    """The certificates (PEM) that sign the servers', relative to the configuration file; empty: the system's."""

    verify: bool = True
    """Check the servers' certificates and names. Without it, anybody in between reads and changes everything."""

    bind_dn: str = ""
    """The service account, which searches and reads; empty: searches are anonymous."""

    bind_password: Secret | None = None
    """Its password: itself, ``file:NAME`` beside the configuration file, or ``${NAME}`` of the environment."""

    base: str = ""
    """The DN under which users are searched; empty: only users of the domains below are found."""

    filter: UserFilter = "(uid={user})"
    """What finds a user: ``{user}`` and ``{domain}`` as the domain rule made them of the name, ``{name}`` as sent."""

    user_attribute: str = ""
    """The attribute with the name under which a user is logged and accounted; empty: the name that was looked up."""

    password_attribute: str = ""
    """The attribute with the password in clear, or after ``{CLEAR}``; serves every protocol."""

    nt_hash_attribute: str = ""
    """The attribute with the NT hash in hexadecimal, as ``sambaNTPassword``; serves MS-CHAP."""

    require_group: list[str] = []
    """Groups (DN or name) of which a user must be in one; empty is no condition."""

    member_of_attribute: str = "memberOf"
    """The attribute of a user with the DNs of his groups; empty: none."""

    group_base: str = ""
    """The DN under which groups are searched; empty: ``base``."""

    group_filter: GroupFilter = ""
    """What finds the groups of a user, for instance ``(member={dn})``; empty: no search."""

    group_name_attribute: str = "cn"
    """The attribute of a group with its name."""

    connections: Annotated[int, Field(ge=1, le=200)] = 8
    """Connections to the directory, and threads, at the same time."""

    timeout: Annotated[float, Field(gt=0, le=60, strict=False)] = 3.0
    """Seconds to wait for a connection and for each answer."""

    dead_time: Annotated[float, Field(ge=0, strict=False)] = 30.0
    """Seconds for which a server that failed is asked last."""

    unavailable: Literal["reject", "next"] = "reject"
    """When no server answers: refuse the call, or ask the next plugin."""

    domains: dict[str, DomainConfig] = {}
    """Users of a domain elsewhere, or found otherwise."""

    groups: list[GroupConfig] = []
    """What members of groups get, the most important group first."""

    @model_validator(mode="after")
    def _somewhere_to_search(self) -> "LdapConfig":
        if not self.base and not any(domain.base for domain in self.domains.values()):
            raise ValueError("base is missing: the DN under which users are searched")
        return self

    @model_validator(mode="after")
    def _whole_accounts(self) -> "LdapConfig":
        if bool(self.bind_dn) != (self.bind_password is not None):
            raise ValueError("bind_dn and bind_password belong together")
        for name, domain in self.domains.items():
            if (domain.bind_dn is None) != (domain.bind_password is None):
                raise ValueError(f"domains.{name}: bind_dn and bind_password belong together")
            if domain.bind_dn is not None and domain.servers is None:
                raise ValueError(f"domains.{name}: a bind_dn of its own needs servers of its own")
        return self
