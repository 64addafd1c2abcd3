"""Opens the sockets of the API: the Unix socket with its mode and group, and TCP, with TLS and a token, if named."""

import errno
import grp
import os
import socket
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from poptrio.config import Config
from poptrio.errors import ConfigError, ConfigFault
from poptrio.management.http_server import Door
from poptrio.runtime.activation import MANAGEMENT, activated

SOCKET_MODE = 0o660
BACKLOG = 128
SHORTEST_TOKEN = 16
"""Octets of a token; what is shorter can be guessed."""

EVERYBODY = 0o007
"""The permissions that a token's file must not have."""


PASSED = "passed by the service manager"
"""The `Door.name` of a socket whose file is somebody else's."""

NOTHING: Mapping[str, socket.socket] = {}


@contextmanager
def open_doors(
    config: Config, inherited: Mapping[str, socket.socket] = NOTHING, ours: Callable[[], bool] = lambda: True
) -> Iterator[list[Door]]:
    """Bind all sockets that ``[management]`` names; the Unix socket's file is gone afterwards.

    Raises `ConfigError` for what cannot be had. Of another process of this server are those ``inherited`` ones, by
    `Door.name`, as long as they are not ``ours``.
    """
    management = config.management
    doors: list[Door] = []
    with ExitStack() as stack:
        path = config.folder / management.socket if management.socket else None
        if PASSED in inherited:
            doors.append(Door(stack.enter_context(_passed(inherited[PASSED], path)), PASSED))
        elif passed := activated(MANAGEMENT):
            doors += [Door(stack.enter_context(_passed(one, path)), PASSED) for one in passed]
        elif path is not None and str(path) in inherited:
            stack.callback(_remove_if, path, path.stat().st_ino, ours)
            doors.append(Door(stack.enter_context(inherited[str(path)]), str(path)))
        elif path is not None:
            doors.append(Door(stack.enter_context(_unix(path, management.group)), str(path)))
        if management.listen:
            tls, token = _tls(config), _token(config.folder / management.token_file)
            for one in management.listen:
                tcp = inherited.get(str(one))
                listener = stack.enter_context(_tcp(str(one.address), one.port) if tcp is None else tcp)
                doors.append(Door(listener, str(one), tls, token))
        yield doors


@contextmanager
def _passed(unix: socket.socket, path: Path | None) -> Iterator[socket.socket]:
    """A socket that the service manager has opened, with the mode and group that it wanted; its file stays."""
    with unix:
        name = unix.getsockname()
        if path is None or Path(os.path.realpath(os.fsdecode(name))) != Path(os.path.realpath(path)):
            expected = "is empty" if path is None else f"is {path}"
            why = f"the service manager has opened {os.fsdecode(name)}, and the key {expected}; let both be the same"
            raise ConfigError(ConfigFault("management.socket", why))
        unix.setblocking(False)
        yield unix


@contextmanager
def _unix(path: Path, group: str) -> Iterator[socket.socket]:
    def fault(why: str) -> ConfigError:
        return ConfigError(ConfigFault("management.socket", f"{path}: {why}"))

    if _is_answered(path):
        raise fault("another server listens on it: stop that one, or name another path")
    unix = socket.socket(socket.AF_UNIX)
    unix.setblocking(False)
    try:
        try:
            if path.is_socket():
                path.unlink()  # of a server that was killed
            mask = os.umask(0o177)  # nobody else may connect before mode and group are right
            try:
                unix.bind(str(path))
            finally:
                os.umask(mask)
        except OSError as error:
            raise fault(f"cannot be made: {_reason(error, path)}") from error
        inode = path.lstat().st_ino
        try:
            try:
                _let_in(path, grp.getgrnam(group).gr_gid if group else None)
            except KeyError:
                raise ConfigError(ConfigFault("management.group", f"there is no group {group}")) from None
            except OSError as error:
                raise fault(f"its group cannot be {group or 'set'}: {error.strerror}") from error
            unix.listen(BACKLOG)
            yield unix
        finally:
            _remove_if(path, inode, lambda: True)
    finally:
        unix.close()


def _remove_if(path: Path, inode: int, ours: Callable[[], bool]) -> None:
    """Remove the socket's file, unless somebody has put another one there."""
    with suppress(PermissionError):  # of who has become another user: the next start removes it
        if ours() and os.path.lexists(path) and path.lstat().st_ino == inode:
            path.unlink(missing_ok=True)


def _let_in(path: Path, group: int | None) -> None:
    """Give the socket at ``path`` its group and mode, and nothing else: what somebody who may write in its folder has
    put there instead, a link to a file of root's, keeps its own. Raises OSError.
    """
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSOCK, "somebody else has put something in its place")
        itself = f"/proc/self/fd/{descriptor}"  # fchown(2) and fchmod(2) take no such descriptor
        if group is not None:
            os.chown(itself, -1, group)
        os.chmod(itself, SOCKET_MODE)
    finally:
        os.close(descriptor)


def _reason(error: OSError, path: Path) -> str:
    if error.errno == errno.EADDRINUSE:
        return "there is a file that is no socket; remove it, or name another path"
    if error.errno == errno.ENOENT:
        return f"there is no folder {path.parent}; make it, or name another path"
    if error.strerror is None:  # the path is too long for a Unix socket
        return f"{error}; a socket's path has at most 107 octets"
    return f'{error.strerror}; name another path, or "" for none'


def _is_answered(path: Path) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(1.0)
            other.connect(str(path))
    except (TimeoutError, BlockingIOError):  # BlockingIOError: so many wait that there is no room for us
        return True
    except OSError:
        return False
    return True


@contextmanager
def _tcp(address: str, port: int) -> Iterator[socket.socket]:
    with socket.socket() as tcp:
        tcp.setblocking(False)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind((address, port))
        except OSError as error:
            why = f"{address}:{port} cannot be listened on: {error.strerror}"
            raise ConfigError(ConfigFault("management.listen", why)) from error
        tcp.listen(BACKLOG)
        yield tcp


def _tls(config: Config) -> ssl.SSLContext:
    management = config.management
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    certificate, key = config.folder / management.certificate, config.folder / management.key
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ssl.SSLError) as error:
        why = f"{certificate} with {key} cannot be used: {error.strerror or error}"
        raise ConfigError(ConfigFault("management.certificate", why)) from error
    return context


def _no_passphrase() -> str:
    raise ssl.SSLError("the key has a passphrase, and nobody is there to type it")


def _token(path: Path) -> bytes:
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(ConfigFault("management.token_file", why)) from error
    if path.stat().st_mode & EVERYBODY:
        raise ConfigError(ConfigFault("management.token_file", f"everybody may read {path}: chmod 640 it"))
    if len(token) < SHORTEST_TOKEN:
        why = f"the token in {path} is shorter than {SHORTEST_TOKEN} octets; `openssl rand -hex 32` makes a good one"
        raise ConfigError(ConfigFault("management.token_file", why))
    return token
