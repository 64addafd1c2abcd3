"""The new program's side: `TakeOver` is what `serve` inherits.

    begin      the greeting: is this configuration one for the sockets that there are?
    turn       prepared; wait until the old program stands still, and read its calls
    take_over  put them together, say so, and wait for the old one's word

Whatever goes wrong before the last word ends this process on the spot, with nothing closed or released, since all of
it is still the old program's.
"""

import os
import socket
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import structlog
import trio

from poptrio.config import Config
from poptrio.crypto import rc4
from poptrio.datapath.userspace.path import Standing
from poptrio.errors import ConfigError, ConfigFault
from poptrio.runtime import garbage
from poptrio.runtime.exception_groups import leaves
from poptrio.server.server import Server
from poptrio.server.server_state import restore_server
from poptrio.upgrade.channel import Channel, Gone, Kind
from poptrio.upgrade.messages import Hello, OtherVersion, State, read_hello, read_state

HELLO_TIMEOUT = 10.0
STATE_TIMEOUT = 10.0
"""Seconds for a message of the old program that is under way."""

GO_TIMEOUT = 60.0
"""Seconds for its last word; it ends us long before that when it does not want to give it."""

log = structlog.get_logger("poptrio.upgrade")


class TakeOver:
    """What this process takes over from the one at the other end of the descriptor ``fd``."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._channel = Channel(socket.socket(fileno=fd))
        self._taken_over = False
        self._state: State | None = None
        self._sockets: list[int] = []
        self._old_files: list[Path] = []
        self._listen: dict[str, socket.socket] = {}
        self._standing: Standing | None = None
        self.doors: Mapping[str, socket.socket] = {}
        self.waited_for = False

    @property
    def taken_over(self) -> bool:
        """Whether everything is ours."""
        return self._taken_over

    @contextmanager
    def or_give_up(self) -> Iterator[None]:
        """Whatever is raised inside before everything is ours ends this process, and the old one is told why."""
        try:
            yield
        except BaseException as error:
            if self._taken_over:
                raise
            self.give_up("; ".join(map(_sentence, leaves(error))))

    def give_up(self, why: str) -> NoReturn:
        """It cannot be. Ends this process."""
        kind = Kind.REFUSED if self._state is None else Kind.FAILED
        try:
            self._channel.send(kind, why.encode("utf-8", "replace"), timeout=1.0)
        finally:
            sys.stderr.flush()
            os._exit(1)

    def begin(self, config: Config) -> None:
        """Read what there is. Raises `ConfigError` where ``config`` is not for that, `OtherVersion`, `Gone`."""
        _, octets, descriptors = self._channel.receive(timeout=HELLO_TIMEOUT)
        hello = read_hello(octets)
        faults = list(_faults(config, hello))
        if faults:
            raise ConfigError(*faults)
        if hello.rc4 != rc4.default.name:
            raise OtherVersion(f"key streams are the old program's {hello.rc4}, this one has {rc4.default.name}")
        numbers = iter(descriptors)
        self._listen = {name: socket.socket(fileno=next(numbers)) for name in hello.listen}
        gre = {address: socket.socket(fileno=next(numbers)) for address in hello.gre}
        self._standing = Standing(gre, next(numbers), tuple(hello.routes))
        self.doors = {name: socket.socket(fileno=next(numbers)) for name in hello.doors}
        self.waited_for = hello.waited_for
        for one in (*self._listen.values(), *gre.values(), *self.doors.values()):
            one.setblocking(False)

    def wants(self, doors: Collection[str]) -> None:
        """The sockets of the API are ``doors``: files of others are gone when everything is ours."""
        self._old_files = [Path(name) for name in self.doors if name.startswith("/") and name not in doors]

    # What `serve` inherits.

    @property
    def standing(self) -> Standing:
        """GRE sockets and TUN."""
        assert self._standing is not None
        return self._standing

    def listeners(self) -> list[trio.SocketListener]:
        """The TCP listeners."""
        return [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in self._listen.values()]

    async def turn(self) -> None:
        """Say that we are prepared, and wait until the old program stands still."""
        self._channel.send(Kind.PREPARED, timeout=HELLO_TIMEOUT)
        await trio.lowlevel.wait_readable(self._channel.fileno())
        with self.or_give_up(), garbage.not_collected():
            _, octets, self._sockets = self._channel.receive(timeout=STATE_TIMEOUT)
            self._state = read_state(octets)

    def take_over(self, server: Server) -> None:
        """Give ``server`` all connections and calls; returns when they are ours, and otherwise not at all."""
        with self.or_give_up(), garbage.not_collected():
            state = self._state
            assert state is not None
            then = trio.current_time() - (time.clock_gettime(time.CLOCK_MONOTONIC) - state.at)
            restore_server(server, state.server, [_stream(one) for one in self._sockets], then)
            self._channel.send(Kind.READY, timeout=HELLO_TIMEOUT)
            self._wait_for_go()
        self._taken_over = True
        self._channel.close()
        self._remove_old_files()
        silence = time.clock_gettime(time.CLOCK_MONOTONIC) - state.at
        log.info("calls taken over", calls=server.call_count, silence_ms=round(silence * 1000, 1))

    def _remove_old_files(self) -> None:
        """Nobody answers there."""
        for file in self._old_files:
            with suppress(OSError):
                if file.is_socket():
                    file.unlink()

    def _wait_for_go(self) -> None:
        try:
            self._channel.receive(timeout=GO_TIMEOUT)
        except Gone:
            log.warning("the old program died while it handed over")  # there is nobody else who has the calls


def _faults(config: Config, hello: Hello) -> Iterator[ConfigFault]:
    """Why ``config`` is not one for the sockets that there are."""
    restart = "only a restart can change it"
    if set(map(str, config.server.listen)) != set(hello.listen):
        yield ConfigFault("server.listen", f"the server that hands over has {', '.join(hello.listen)}; {restart}")
    if config.server.interface != hello.interface:
        yield ConfigFault("server.interface", f"the server that hands over has {hello.interface}; {restart}")
    if config.addresses.server != hello.address:
        yield ConfigFault("addresses.server", f"the server that hands over has {hello.address}; {restart}")
    if config.server.worker_count > 1:
        yield ConfigFault("server.workers", f"calls can be handed over to one process only; {restart}")
    if config.server.datapath == "kernel":
        yield ConfigFault("server.datapath", f'calls can be handed over to "userspace" only; {restart}')


def _sentence(error: BaseException) -> str:
    if isinstance(error, ConfigError):
        return "; ".join(map(str, error.faults))
    return str(error) if isinstance(error, Gone | OtherVersion | OSError) and str(error) else repr(error)


def _stream(descriptor: int) -> trio.SocketStream:
    tcp = socket.socket(fileno=descriptor)
    tcp.setblocking(False)
    return trio.SocketStream(trio.socket.from_stdlib_socket(tcp))
