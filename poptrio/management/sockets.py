"""Opens the sockets of the API: the Unix socket with its mode and group, and TCP. Raises `ConfigError` for each."""

import errno
import grp
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from poptrio.errors import ConfigError, ConfigFault

SOCKET_MODE = 0o660
BACKLOG = 128


@contextmanager
def passed_socket(unix: socket.socket, path: Path | None) -> Iterator[socket.socket]:
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
def unix_socket(path: Path, group: str) -> Iterator[socket.socket]:
    """A Unix socket that listens; its file is gone afterwards."""

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
            remove_if(path, inode, lambda: True)
    finally:
        unix.close()


def remove_if(path: Path, inode: int, ours: Callable[[], bool]) -> None:
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


def tcp_socket(address: str, port: int) -> socket.socket:
    """A socket that listens on TCP."""
    tcp = socket.socket()
    try:
        tcp.setblocking(False)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((address, port))
        tcp.listen(BACKLOG)
    except OSError as error:
        tcp.close()
        why = f"{address}:{port} cannot be listened on: {error.strerror}"
        raise ConfigError(ConfigFault("management.listen", why)) from error
    return tcp
