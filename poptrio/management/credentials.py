"""What the API has for those who come over TCP: a certificate to show and a token to want, each read from files.

A reload reads the files again, whether or not their names are other ones. A server that has become another user may not
read what root could at its start: then it keeps what it has, and says that only a restart can change it.
"""

import hashlib
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from cryptography import x509

from poptrio.config import Config
from poptrio.config.changes import Change, shown
from poptrio.config.effects import Effect
from poptrio.config.faults import KeyPath
from poptrio.errors import ConfigError, ConfigFault
from poptrio.regular_file import read_regular

SHORTEST_TOKEN = 16
"""Octets of a token; what is shorter can be guessed."""

EVERYBODY = 0o007
"""The permissions that a token's file must not have."""

T = TypeVar("T")

FileState = tuple[Path, tuple[int, ...] | None]
"""A file and what tells it from another version of itself; None where that cannot be seen."""


@dataclass(slots=True)
class Credentials:
    """What is shown and wanted just now; a reload changes it, for later connections and requests."""

    tls: ssl.SSLContext
    token: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """What files held when they were read: ``files`` by the key that names them, the most telling first.

    ``digest`` is another one where the content is; ``text`` is how operators tell it from another, without secrets.
    """

    value: T = field(repr=False)
    digest: bytes = field(repr=False)
    text: str
    files: Mapping[str, FileState]


@dataclass(frozen=True, slots=True)
class Renewal(Generic[T]):
    """What is ``held`` after a reload: ``changes`` are those of contents, ``restart`` the keys that stay."""

    held: Held[T]
    changes: tuple[Change, ...] = ()
    restart: frozenset[KeyPath] = frozenset()


def read_tls(config: Config) -> Held[ssl.SSLContext]:
    """Certificate and key. Raises `ConfigError`, with the operating system's error as its cause if there is one."""
    files = _files(config, "certificate", "key")
    certificate, key = (path for path, _ in files.values())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        octets = read_regular(certificate)
        read_regular(key)
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ssl.SSLError) as error:
        why = f"{certificate} with {key} cannot be used: {error.strerror or error}"
        raise ConfigError(ConfigFault("management.certificate", why)) from error
    digest = hashlib.sha256(octets).digest()
    text = f"{_name(config, 'certificate')} ({_validity(octets)}SHA-256 {digest.hex()[:16]})"
    return Held(context, digest, text, files)


def read_token(config: Config) -> Held[bytes]:
    """The token. Raises `ConfigError` as `read_tls`."""
    files = _files(config, "token_file")
    path, _ = files["token_file"]
    try:
        token, mode = read_regular(path).strip(), path.stat().st_mode
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(ConfigFault("management.token_file", why)) from error
    if mode & EVERYBODY:
        raise ConfigError(ConfigFault("management.token_file", f"everybody may read {path}: chmod 640 it"))
    if len(token) < SHORTEST_TOKEN:
        why = f"the token in {path} is shorter than {SHORTEST_TOKEN} octets; `openssl rand -hex 32` makes a good one"
        raise ConfigError(ConfigFault("management.token_file", why))
    return Held(token, token, _name(config, "token_file"), files)


def renew(held: Held[T] | None, read: Callable[[Config], Held[T]], config: Config) -> Renewal[T]:
    """Read again what is ``held``, if anything is. Raises `ConfigError`."""
    try:
        new = read(config)
    except ConfigError as error:
        if held is None or not config.server.user or not isinstance(error.__cause__, PermissionError):
            raise
        return _kept(held, config)
    if held is None or new.digest == held.digest:
        return Renewal(new)
    key = next(iter(held.files))
    if new.files[key][0] != held.files[key][0]:
        return Renewal(new)  # it is among the changes of keys
    return Renewal(new, (Change(("management", key), held.text, new.text, Effect.AT_ONCE),))


def _kept(held: Held[T], config: Config) -> Renewal[T]:
    """What is ``held`` stays, since the user that we have become may not read what there is now."""
    changes, restart = [], set()
    for key, (path, state) in _files(config, *held.files).items():
        if path != held.files[key][0]:
            restart.add(("management", key))
        elif state is None or state != held.files[key][1]:
            name = _name(config, key)
            new = f"{name} ({'' if state is None else 'another one, and '}the user {config.server.user} cannot read it)"
            changes.append(Change(("management", key), name, new, Effect.RESTART))
    return Renewal(held, tuple(changes), frozenset(restart))


def _name(config: Config, key: str) -> str:
    """The value of the key, as far as it is shown."""
    return shown(getattr(config.management, key), ("management", key))


def _files(config: Config, *keys: str) -> dict[str, FileState]:
    return {key: _file(config.folder / getattr(config.management, key)) for key in keys}


def _file(path: Path) -> FileState:
    try:
        state = path.stat()
    except OSError:
        return path, None
    return path, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def _validity(octets: bytes) -> str:
    """Until when the first certificate in PEM is good; nothing where only OpenSSL can read it."""
    with suppress(ValueError):
        until = x509.load_pem_x509_certificates(octets)[0].not_valid_after_utc
        return f"valid until {until:%Y-%m-%d %H:%M} UTC, "
    return ""


def _no_passphrase() -> str:
    raise ssl.SSLError("the key has a passphrase, and nobody is there to type it")
