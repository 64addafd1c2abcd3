"""From the configuration to directories: service accounts, certificates, pools of connections."""

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from poptrio.api import ConfigError, ConfigFault, Secret
from poptrio_ldap.connection import LdapServer
from poptrio_ldap.pool import Pool
from poptrio_ldap.settings import LdapConfig
from poptrio_ldap.threads import ThreadedDirectory

log = structlog.get_logger("poptrio.ldap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """All that leads to one directory: where two are equal, connections of the one serve the other.

    ``trusted`` is what ``ca_file`` holds, None without one; ``tls`` is made of it. ``patience`` is that of
    `ThreadedDirectory`.
    """

    servers: tuple[str, ...]
    bind_dn: str
    bind_password: bytes = field(repr=False)
    start_tls: bool
    verify: bool
    trusted: bytes | None = field(repr=False)
    tls: ssl.SSLContext = field(repr=False, compare=False)
    timeout: float
    dead_time: float
    connections: int
    patience: float

    def open(self) -> ThreadedDirectory:
        """A directory; nothing is connected before it is needed."""
        servers = [
            LdapServer(
                url=url,
                tls=self.tls if self.start_tls or url.startswith("ldaps:") else None,
                timeout=self.timeout,
                bind_dn=self.bind_dn,
                bind_password=self.bind_password,
            )
            for url in self.servers
        ]
        pool = Pool(servers, dead_time=self.dead_time)
        return ThreadedDirectory(pool, connections=self.connections, patience=self.patience)


def read_accesses(settings: LdapConfig, folder: Path, patience: float) -> dict[str | None, Access]:
    """The access to the directory for everybody (None), and to those of domains with servers of their own, by name.

    Raises `ConfigError` with every fault.
    """
    faults: list[ConfigFault] = []
    tls, trusted = _tls_context(settings, folder, faults)

    def access(servers: Iterable[str], bind_dn: str, bind_password: Secret | None, place: str) -> Access:
        return Access(
            servers=tuple(servers),
            bind_dn=bind_dn,
            bind_password=_resolve(bind_password, place, folder, faults).encode(),
            start_tls=settings.start_tls,
            verify=settings.verify,
            trusted=trusted,
            tls=tls,
            timeout=settings.timeout,
            dead_time=settings.dead_time,
            connections=settings.connections,
            patience=patience,
        )

    accesses: dict[str | None, Access] = {
        None: access(settings.servers, settings.bind_dn, settings.bind_password, ""),
    }
    for name, domain in settings.domains.items():
        if domain.servers is not None:
            place = f"domains.{name}."
            accesses[name] = access(domain.servers, domain.bind_dn or "", domain.bind_password, place)
    if faults:
        raise ConfigError(*faults)
    return accesses


def _tls_context(settings: LdapConfig, folder: Path, faults: list[ConfigFault]) -> tuple[ssl.SSLContext, bytes | None]:
    """Certificates and names are checked unless ``verify`` is off. With it, what ``ca_file`` holds."""
    context, trusted = ssl.create_default_context(), None
    if settings.ca_file:
        path = folder / settings.ca_file
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            trusted = path.read_bytes()
            context.load_verify_locations(path)
        except ssl.SSLError:
            faults.append(ConfigFault("plugins.ldap.ca_file", f"{path} holds no certificate"))
        except OSError as error:
            faults.append(ConfigFault("plugins.ldap.ca_file", f"cannot read {path}: {error.strerror}"))
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context, trusted


def _resolve(secret: Secret | None, place: str, folder: Path, faults: list[ConfigFault]) -> str:
    if secret is None:
        return ""
    try:
        return secret.resolve(folder)
    except ValueError as error:
        faults.append(ConfigFault(f"plugins.ldap.{place}bind_password", str(error)))
        return ""


def warn(accesses: Mapping[str | None, Access]) -> None:
    """Say loudly what lets others read or change what the directory says."""
    urls = [(url, access) for access in accesses.values() for url in access.servers]
    clear = [url for url, access in urls if not access.start_tls and not url.startswith("ldaps:")]
    if clear:
        remedy = "set start_tls = true, or use ldaps://"
        log.warning("directory without TLS: passwords and hashes are readable on the way", servers=clear, remedy=remedy)
    unchecked = [url for url, access in urls if not access.verify]
    if unchecked:
        remedy = "set verify = true, and ca_file if the certificates are your own"
        log.warning(
            "directory certificates are not checked: anybody in between can answer", servers=unchecked, remedy=remedy
        )
