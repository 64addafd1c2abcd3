"""From the configuration to directories: service accounts, certificates, pools of connections."""

import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from poptrio.api import ConfigError, ConfigFault, Secret
from poptrio_ldap.connection import LdapServer
from poptrio_ldap.pool import Pool
from poptrio_ldap.settings import LdapConfig
from poptrio_ldap.threads import ThreadedDirectory

log = structlog.get_logger("poptrio.ldap")


def open_directories(
    settings: LdapConfig, folder: Path, patience: float, stack: AsyncExitStack
) -> tuple[ThreadedDirectory, dict[str, ThreadedDirectory]]:
    """The directory for everybody, and those of domains with servers of their own. ``stack`` closes them.

    Nothing is connected before it is needed. Raises `ConfigError` with every fault.
    """
    faults: list[ConfigFault] = []
    tls = _tls_context(settings, folder, faults)
    default = _Account(settings.servers, settings.bind_dn, _resolve(settings.bind_password, "", folder, faults))
    of_domains: dict[str, _Account] = {}
    for name, domain in settings.domains.items():
        if domain.servers is not None:
            password = _resolve(domain.bind_password, f"domains.{name}.", folder, faults)
            of_domains[name] = _Account(domain.servers, domain.bind_dn or "", password)
    if faults:
        raise ConfigError(*faults)
    _warn(settings, [url for each in (default, *of_domains.values()) for url in each.servers])
    return (
        default.open(settings, tls, patience, stack),
        {name: each.open(settings, tls, patience, stack) for name, each in of_domains.items()},
    )


class _Account:
    """Servers, and the service account on them."""

    def __init__(self, servers: list[str], bind_dn: str, bind_password: str) -> None:
        self.servers = servers
        self._bind_dn = bind_dn
        self._bind_password = bind_password.encode()

    def open(
        self, settings: LdapConfig, tls: ssl.SSLContext, patience: float, stack: AsyncExitStack
    ) -> ThreadedDirectory:
        """A directory that asks them."""
        servers = [
            LdapServer(
                url=url,
                tls=tls if settings.start_tls or url.startswith("ldaps:") else None,
                timeout=settings.timeout,
                bind_dn=self._bind_dn,
                bind_password=self._bind_password,
            )
            for url in self.servers
        ]
        pool = Pool(servers, dead_time=settings.dead_time)
        stack.callback(pool.close)
        return ThreadedDirectory(pool, connections=settings.connections, patience=patience)


def _tls_context(settings: LdapConfig, folder: Path, faults: list[ConfigFault]) -> ssl.SSLContext:
    """Certificates and names are checked unless ``verify`` is off."""
    context = ssl.create_default_context()
    if settings.ca_file:
        path = folder / settings.ca_file
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(path)
        except ssl.SSLError:
            faults.append(ConfigFault("plugins.ldap.ca_file", f"{path} holds no certificate"))
        except OSError as error:
            faults.append(ConfigFault("plugins.ldap.ca_file", f"cannot read {path}: {error.strerror}"))
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _resolve(secret: Secret | None, place: str, folder: Path, faults: list[ConfigFault]) -> str:
    if secret is None:
        return ""
    try:
        return secret.resolve(folder)
    except ValueError as error:
        faults.append(ConfigFault(f"plugins.ldap.{place}bind_password", str(error)))
        return ""


def _warn(settings: LdapConfig, urls: list[str]) -> None:
    """Say loudly what lets others read or change what the directory says."""
    clear = [url for url in urls if not settings.start_tls and not url.startswith("ldaps:")]
    if clear:
        remedy = "set start_tls = true, or use ldaps://"
        log.warning("directory without TLS: passwords and hashes are readable on the way", servers=clear, remedy=remedy)
    if not settings.verify:
        remedy = "set verify = true, and ca_file if the certificates are your own"
        log.warning(
            "directory certificates are not checked: anybody in between can answer", servers=urls, remedy=remedy
        )
