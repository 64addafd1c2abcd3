"""The doors of the API: the Unix socket, and TCP with TLS and a token, if named, which a reload opens and closes."""

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from poptrio.config import Config, ListenAddress
from poptrio.errors import ConfigError, ConfigFault
from poptrio.management.credentials import Credentials, Held, Renewal, read_tls, read_token, renew
from poptrio.management.sockets import passed_socket, remove_if, tcp_socket, unix_socket
from poptrio.runtime.activation import MANAGEMENT, activated
from poptrio.server.reload import PreparedDoors

PASSED = "passed by the service manager"
"""The `Door.name` of a socket whose file is somebody else's."""

R = TypeVar("R")

NOTHING: Mapping[str, socket.socket] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """One socket that listens, and its path or address; over TCP, with what is shown and wanted there."""

    listener: socket.socket
    name: str
    credentials: Credentials | None = None


class Doors:
    """All doors of a server; `open_doors` makes it."""

    def __init__(self) -> None:
        self._unix: list[Door] = []
        self._tcp: dict[str, Door] = {}
        self._held: tuple[Held[ssl.SSLContext], Held[bytes]] | None = None
        self._credentials: Credentials | None = None
        self._welcome: tuple[Callable[[Door], None], Callable[[Door], None]] | None = None

    @property
    def open(self) -> Sequence[Door]:
        """Those that there are now."""
        return (*self._unix, *self._tcp.values())

    def sockets(self) -> dict[str, socket.socket]:
        """Their sockets, by `Door.name`."""
        return {door.name: door.listener for door in self.open}

    @contextmanager
    def served(self, opened: Callable[[Door], None], closed: Callable[[Door], None]) -> Iterator[None]:
        """Let ``opened`` serve those that there are, and those that come later, each until it is ``closed``."""
        for door in self.open:
            opened(door)
        self._welcome = (opened, closed)
        try:
            yield
        finally:
            self._welcome = None

    def close(self) -> None:
        """Listen no more."""
        for door in self.open:
            door.listener.close()

    def prepare(self, config: Config, inherited: Mapping[str, socket.socket] = NOTHING) -> PreparedDoors:
        """Get ready for the keys about TCP, reading their files; what is ``inherited`` is not opened.

        Raises `ConfigError` with everything that is wrong.
        """
        management, faults = config.management, list[ConfigFault]()
        if not management.listen:
            return PreparedDoors(commit=partial(self._use, {}, set(self._tcp)))
        tls, token = self._held or (None, None)
        new_tls = _or_fault(partial(renew, tls, read_tls, config), faults)
        new_token = _or_fault(partial(renew, token, read_token, config), faults)
        gone = self._tcp.keys() - set(map(str, management.listen))
        opened: dict[str, socket.socket] = {}
        for listen in management.listen:
            name = str(listen)
            if name in inherited:
                opened[name] = inherited[name]
            elif name not in self._tcp:
                found = _or_fault(partial(self._listener, listen, gone), faults)
                opened |= {} if found is None else {name: found}
        if faults or new_tls is None or new_token is None:
            _close(opened)
            raise ConfigError(*faults)
        return PreparedDoors(
            changes=(*new_tls.changes, *new_token.changes),
            restart=new_tls.restart | new_token.restart,
            commit=partial(self._use, opened, gone, new_tls, new_token),
            undo=partial(_close, opened),
        )

    def _listener(self, listen: ListenAddress, gone: set[str]) -> socket.socket:
        try:
            return tcp_socket(str(listen.address), listen.port)
        except ConfigError as error:
            if own := sorted(name for name in gone if name.endswith(f":{listen.port}")):
                remedy = f"{', '.join(own)} of this server may be in the way: reload once without either, or restart"
                raise ConfigError(
                    *(ConfigFault(one.place, f"{one.message}; {remedy}") for one in error.faults)
                ) from error
            raise

    def _use(
        self,
        opened: Mapping[str, socket.socket],
        gone: set[str],
        tls: Renewal[ssl.SSLContext] | None = None,
        token: Renewal[bytes] | None = None,
    ) -> None:
        """Listen on what was ``opened`` and no more on what is ``gone``; connections that there are go on."""
        if tls is not None and token is not None:
            self._held = tls.held, token.held
            if self._credentials is None:
                self._credentials = Credentials(tls.held.value, token.held.value)
            self._credentials.tls, self._credentials.token = tls.held.value, token.held.value
        for name, listener in opened.items():
            door = self._tcp[name] = Door(listener, name, self._credentials)
            if self._welcome is not None:
                self._welcome[0](door)
        for name in gone:
            door = self._tcp.pop(name)
            if self._welcome is not None:
                self._welcome[1](door)
            door.listener.close()


@contextmanager
def open_doors(
    config: Config, inherited: Mapping[str, socket.socket] = NOTHING, ours: Callable[[], bool] = lambda: True
) -> Iterator[Doors]:
    """Bind all sockets that ``[management]`` names; the Unix socket's file is gone afterwards.

    Raises `ConfigError` for what cannot be had. Of another process of this server are those ``inherited`` ones, by
    `Door.name`, as long as they are not ``ours``; those that are not named any more are closed.
    """
    management = config.management
    doors = Doors()
    with ExitStack() as stack:
        path = config.folder / management.socket if management.socket else None
        if PASSED in inherited:
            doors._unix.append(Door(stack.enter_context(passed_socket(inherited[PASSED], path)), PASSED))
        elif passed := activated(MANAGEMENT):
            doors._unix += [Door(stack.enter_context(passed_socket(one, path)), PASSED) for one in passed]
        elif path is not None and str(path) in inherited and path.is_socket():  # unless somebody has removed it
            stack.callback(remove_if, path, path.stat().st_ino, ours)
            doors._unix.append(Door(stack.enter_context(inherited[str(path)]), str(path)))
        elif path is not None:
            doors._unix.append(Door(stack.enter_context(unix_socket(path, management.group)), str(path)))
        doors.prepare(config, inherited).commit()
        stack.callback(doors.close)
        _close({name: one for name, one in inherited.items() if doors.sockets().get(name) is not one})
        yield doors


def _or_fault(attempt: Callable[[], R], faults: list[ConfigFault]) -> R | None:
    """What ``attempt`` returns, or None, with what it raises among the ``faults``."""
    try:
        return attempt()
    except ConfigError as error:
        faults += error.faults
        return None


def _close(sockets: Mapping[str, socket.socket]) -> None:
    for one in sockets.values():
        one.close()
