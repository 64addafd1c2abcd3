"""Who knows the users of a row: the server programs, and the tables of poptrio's configuration that name them."""

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import freeradius
from freeradius import FreeRadius
from isp import IspMachine, blocks
from radsecproxy import RadsecProxy
from service import Service
from slapd import SERVICE_DN, URL, Slapd

ServiceT = TypeVar("ServiceT", bound=Service)


@dataclass(slots=True)
class Backend:
    """Running services and what the server must be told of them. A context manager: they run inside."""

    tables: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    services: Sequence[Service] = ()
    _exits: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Backend":
        with ExitStack() as exits:
            for service in self.services:
                exits.enter_context(service)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def one(self, kind: type[ServiceT]) -> ServiceT:
        """The row's service of this kind."""
        return next(service for service in self.services if isinstance(service, kind))


def radius(folder: Path, password: str) -> Backend:
    """FreeRADIUS, asked by ``poptrio-radius`` over UDP."""
    tables = {
        "authentication": {"plugins": ["radius"]},
        "plugins.radius": freeradius.CONFIG | {"spool": str(folder / "accounting.sqlite")},
    }
    return Backend(tables, [FreeRadius(folder, password)])


def radsec(folder: Path, password: str) -> Backend:
    """FreeRADIUS behind radsecproxy, asked by ``poptrio-radius`` over TLS."""
    proxy = RadsecProxy(folder)
    tls = {
        "ca": str(proxy.authority.file),
        "certificate": str(proxy.client.file),
        "key": str(proxy.client.key),
    }
    tables = {
        "authentication": {"plugins": ["radius"]},
        "plugins.radius": freeradius.CONFIG
        | {"spool": str(folder / "accounting.sqlite"), "servers": [{"address": freeradius.ADDRESS, "tls": tls}]},
    }
    return Backend(tables, [FreeRadius(folder, password), proxy])


def isp(folder: Path, password: str) -> Backend:
    """The machine of the how-to for ISPs, and poptrio as configured there, but for the spool's folder."""
    config = tomllib.loads(blocks("toml")[0])
    radius = config["plugins"]["radius"] | {"spool": str(folder / "accounting.sqlite")}
    tables = {name: config[name] for name in ("addresses", "authentication")} | {"plugins.radius": radius}
    return Backend(tables, [IspMachine(folder)])


def ldap(folder: Path, password: str) -> Backend:
    """OpenLDAP, asked by ``poptrio-ldap`` through StartTLS."""
    slapd = Slapd(folder, password)
    settings = {
        "servers": [URL],
        "ca_file": str(slapd.authority.file),
        "base": "ou=people,dc=example,dc=org",
        "filter": "(uid={user})",
        "bind_dn": SERVICE_DN,
        "bind_password": password,
        "nt_hash_attribute": "sambaNTPassword",
    }
    return Backend({"authentication": {"plugins": ["ldap"]}, "plugins.ldap": settings}, [slapd])
