"""The old program's side: starts the new one, and hands everything over to it as soon as it is ready.

    1. The new program starts, reads its configuration and loads its plugins, while the old one serves on.
    2. No new calls for a moment; calls that are being set up or end get time for it.
    3. The old program stands still, literally: from the picture of its calls to the last word this is one function,
       in which nothing else runs. If the new program has all calls, the old one is gone when that function is; if
       not, it goes on as if it had slept.

The new program reads and sends nothing before the last word, and is killed where it does not get it, so that nobody
ever shares a call.
"""

import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import structlog
import trio

from poptrio import __version__
from poptrio.config import Config
from poptrio.crypto import rc4
from poptrio.datapath.userspace.path import UserspaceDataPath
from poptrio.errors import CauseOfEnd
from poptrio.runtime import garbage, service_manager
from poptrio.server.one_process import OneProcess
from poptrio.server.operated import Operated
from poptrio.server.server import Server
from poptrio.server.server_state import BEING_SET_UP, keep_server, obstacle, obstacle_of_call
from poptrio.upgrade.channel import Channel, Gone, Kind
from poptrio.upgrade.messages import Hello, State, hello_octets, state_octets
from poptrio.upgrade.supervisor import leave, signals_kept

PREPARE_TIMEOUT = 60.0
"""Seconds for the new program to load everything, while the old one serves."""

SETTLE_TIMEOUT = 2.0
"""Seconds for calls that are being set up; those that are not up then are ended, and dial again."""

STILL_TIMEOUT = 10.0
"""Seconds for a moment in which no call ends and no accounting record is being told; the upgrade is off without."""

TAKE_OVER_TIMEOUT = 10.0
"""Seconds in which the new program must have taken everything over. All calls wait."""

CAPTURES_READ = 0.25
"""Seconds for those who read captures to get the last of them."""

LOOK_INTERVAL = 0.01
"""Seconds between two looks whether everything is still."""

log = structlog.get_logger("poptrio.upgrade")


class UpgradeFailed(Exception):
    """The old program goes on, with all its calls; the text says why."""


class Upgrade:
    """Upgrades the server that runs with ``config_file``.

    ``doors`` tells the sockets of the management API by name; ``waited_for``: a process that handed over to this one
    waits for it. ``command`` starts the new program, which gets ``--take-over`` and a descriptor in addition.
    """

    def __init__(
        self,
        config_file: Path,
        doors: Callable[[], Mapping[str, socket.socket]] = dict,
        *,
        waited_for: bool = False,
        command: Sequence[str] | None = None,
    ) -> None:
        self._doors = doors
        self._waited_for = waited_for
        self._command = command or (sys.executable, "-P", "-m", "poptrio", "run", str(config_file.absolute()))
        self._busy = False

    async def run(self, server: Operated) -> None:
        """Hand ``server`` over. Does not return when that succeeds; when it does not, the log says why."""
        try:
            async with aclosing(self.hand_over(server)) as steps:
                async for step in steps:
                    log.info("upgrading", step=step)
        except UpgradeFailed as error:
            log.error("upgrade failed", why=str(error))

    async def hand_over(self, server: Operated) -> AsyncGenerator[str, None]:
        """As `run`, and says what happens, in sentences. Raises `UpgradeFailed`."""
        one, datapath = self._able(server)
        config = one.config
        self._busy = True
        heir: _Heir | None = None
        try:
            yield "the new program starts"
            heir = _Heir(self._command)
            await heir.prepare(*self._hello(one, datapath))
            _refuse_changes(one, config)
            one.captures.refused = "the server is being upgraded"
            if one.captures.count:
                one.captures.end_all("the server is upgraded")
                await trio.sleep(CAPTURES_READ)
            yield "the new program is prepared, calls come to rest"
            one.pause()
            await trio.lowlevel.checkpoint()  # connections that were accepted just now are there after it
            await _settle(one)
            yield "calls are handed over"
            await stand_still(one)
            _refuse_changes(one, config)
            self._hand_over_now(one, heir)
        except UpgradeFailed:
            raise
        except Exception as error:
            log.exception("internal error")
            raise UpgradeFailed(f"an error, of poptrio or a plugin: {type(error).__name__}: {error}") from error
        finally:
            self._busy = False
            one.captures.refused = ""
            if heir is not None:
                heir.kill()
            one.go_on()

    def _able(self, server: Operated) -> tuple[OneProcess, UserspaceDataPath]:
        """Raises `UpgradeFailed` for a server that cannot be handed over, before anything is touched."""
        if not isinstance(server, OneProcess):
            raise UpgradeFailed("a server with several workers cannot be upgraded with calls up (server.workers)")
        datapath = server.datapath
        if not isinstance(datapath, UserspaceDataPath):
            raise UpgradeFailed("calls of the kernel's data path cannot be handed over (server.datapath)")
        if self._busy:
            raise UpgradeFailed("another upgrade is under way")
        _refuse_changes(server, server.config)
        if (why := server.authority.hooks.not_to_be_upgraded()) is not None:
            raise UpgradeFailed(why)
        return server, datapath

    def _hello(self, server: OneProcess, datapath: UserspaceDataPath) -> tuple[Hello, list[int]]:
        listen = dict(zip(map(str, server.config.server.listen), server.listeners, strict=True))
        standing, doors = datapath.standing, self._doors()
        hello = Hello(
            program=__version__,
            listen=list(listen),
            gre=list(standing.gre),
            interface=server.config.server.interface,
            doors=list(doors),
            address=server.config.addresses.server,
            routes=list(standing.routes),
            rc4=rc4.default.name,
            waited_for=not service_manager.is_told(),
        )
        sockets = [listener.socket.fileno() for listener in listen.values()]
        sockets += [gre.fileno() for gre in standing.gre.values()]
        return hello, [*sockets, standing.tun, *(door.fileno() for door in doors.values())]

    def _hand_over_now(self, server: OneProcess, heir: "_Heir") -> None:
        """Nothing else runs from here on. Raises `UpgradeFailed`, or does not return."""
        at = time.clock_gettime(time.CLOCK_MONOTONIC)
        with garbage.not_collected(), signals_kept() as signals, server.authority.hooks.handed_over():
            try:
                kept, streams = keep_server(server, trio.current_time())
                sockets = [stream.socket.fileno() for stream in streams if isinstance(stream, trio.SocketStream)]
                heir.take_over(State(at, kept), sockets)
                log.info("handing over", calls=server.call_count, pid=heir.pid)
                heir.go()
            except BaseException as error:  # noqa: BLE001 - raised below
                heir.kill()  # before plugins take up again what it may have
                failure = error
            else:
                service_manager.main_process_is(heir.pid)
                leave(heir.pid, signals, waited_for=self._waited_for)
        raise failure


class _Heir:
    """The new program. Every method raises `UpgradeFailed` when it does not do what it should."""

    def __init__(self, command: Sequence[str]) -> None:
        ours, its = socket.socketpair()
        self._channel = Channel(ours)
        with its:
            try:
                self._process = subprocess.Popen(
                    (*command, "--take-over", str(its.fileno())),
                    pass_fds=(its.fileno(),),
                    stdin=subprocess.DEVNULL,
                    env=service_manager.environment_of_successor(),
                    start_new_session=True,  # what a terminal sends goes to whoever waits for it
                )
            except OSError as error:
                ours.close()
                raise UpgradeFailed(f"the new program cannot be started: {error}") from error

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def prepare(self, hello: Hello, descriptors: Sequence[int]) -> None:
        """Wait until it has loaded everything."""
        try:
            self._channel.send(Kind.HELLO, hello_octets(hello), descriptors, timeout=1.0)
            with trio.fail_after(PREPARE_TIMEOUT):
                await trio.lowlevel.wait_readable(self._channel.fileno())
            self._expect(Kind.PREPARED, 1.0)
        except (TimeoutError, trio.TooSlowError):
            raise UpgradeFailed(f"the new program was not ready within {PREPARE_TIMEOUT:.0f} seconds") from None
        except Gone as error:
            raise UpgradeFailed(f"the new program does not start: {self._ended(error)}") from error

    def take_over(self, state: State, descriptors: Sequence[int]) -> None:
        """Let it have everything, and wait until it has."""
        try:
            self._channel.send(Kind.STATE, state_octets(state), descriptors, timeout=TAKE_OVER_TIMEOUT)
            self._expect(Kind.READY, TAKE_OVER_TIMEOUT)
        except TimeoutError:
            raise UpgradeFailed(f"the new program took nothing over within {TAKE_OVER_TIMEOUT:.0f} seconds") from None
        except Gone as error:
            raise UpgradeFailed(f"the new program ended while it took over: {self._ended(error)}") from error

    def go(self) -> None:
        """The last word."""
        try:
            self._channel.send(Kind.GO, timeout=1.0)
        except (Gone, TimeoutError) as error:
            raise UpgradeFailed(f"the new program ended when it had taken over: {self._ended(error)}") from error

    def kill(self) -> None:
        """It shall not be; nothing if it is not any more."""
        self._process.kill()
        self._process.wait()
        self._channel.close()  # not before: it would take that for our death, and go on with all calls

    def _expect(self, kind: Kind, timeout: float) -> None:
        answer, octets, _ = self._channel.receive(timeout=timeout)
        if answer is not kind:
            sentence = octets.decode("utf-8", "replace")
            raise UpgradeFailed(f"the new program does not take over: {sentence or answer.name}")

    def _ended(self, error: Exception) -> str:
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return str(error)
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _refuse_changes(server: Server, config: Config) -> None:
    """Raises `UpgradeFailed` for what the new program, which began with ``config``, would not know of."""
    if server.stopping:
        raise UpgradeFailed("the server is stopping")
    if server.draining:
        raise UpgradeFailed("the server is draining, which would be forgotten; `poptrio drain --cancel` ends it")
    if server.config is not config:
        raise UpgradeFailed("the configuration was reloaded while the new program started; try again")


async def _settle(server: Server) -> None:
    """Give those that are being set up their time, then end them."""
    deadline = trio.current_time() + SETTLE_TIMEOUT
    while _being_set_up(server) and trio.current_time() < deadline:  # noqa: ASYNC110 - there are a hundred events
        await trio.sleep(LOOK_INTERVAL)
    ended = 0
    for connection in tuple(server.connections):
        if not connection.calls and not connection.is_quiet:
            connection.cancel()
        for call in tuple(connection.calls.values()):
            if call.cause is None and obstacle_of_call(call) == BEING_SET_UP:
                call.end(CauseOfEnd.SERVER_SHUTDOWN, sentence="it was not up yet when the server was upgraded")
                ended += 1
    if ended:
        log.warning("calls ended for the upgrade", calls=ended)


def _being_set_up(server: Server) -> bool:
    return any(
        not connection.is_quiet or any(map(obstacle_of_call, connection.calls.values()))
        for connection in server.connections
    )


async def stand_still(server: Server) -> None:
    """Return in a moment in which nothing moves. Raises `UpgradeFailed` when there is none."""
    deadline = trio.current_time() + STILL_TIMEOUT
    _pause(server)
    while (why := next(filter(None, map(obstacle, server.connections)), None)) is not None or server.stopping:
        if server.stopping:
            raise UpgradeFailed("the server is stopping")
        if trio.current_time() > deadline:
            raise UpgradeFailed(f"within {STILL_TIMEOUT:.0f} seconds there was no moment without this: {why}")
        await trio.sleep(LOOK_INTERVAL)
        _pause(server)


def _pause(server: Server) -> None:
    """Read from no client; to do so twice does no harm."""
    for connection in server.connections:
        connection.pause()
