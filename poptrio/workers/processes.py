"""The processes of workers: started, watched, replaced when they die, and stopped.

serve_with_workers
├─ plugin lifespans     entered before anything else, left after the last record
├─ questions, accounting
└─ a worker's keeper    starts its process, serves its link, and starts another one when it dies
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import trio

from poptrio.config import Config
from poptrio.errors import ConfigError
from poptrio.runtime.activation import activated_tcp
from poptrio.server.hooks import Hooks, load_hooks
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.operated import Operated
from poptrio.server.serve import listening
from poptrio.server.sessions import LiveSessions
from poptrio.workers.messages import Begin, Failed, Ready
from poptrio.workers.parent import Parent

EXIT_WAIT = 5.0
"""Seconds that a worker has to end after its last word, and beyond the grace period."""

LOOK_INTERVAL = 5.0
SILENT_LOOKS = 6
"""Seconds between two looks at whether a worker says anything, and after how many in vain it is killed."""

HEALTHY = 30.0
"""Seconds after which the death of a worker is not counted as a failed start."""

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
"""Seconds before another worker is started when the last one has died young; doubled each time."""

log = structlog.get_logger("poptrio.workers")


async def serve_with_workers(
    config: Config,
    *,
    of_worker: Callable[[Config], Config] = lambda config: config,
    hooks: Hooks | None = None,
    task_status: trio.TaskStatus[Operated] = trio.TASK_STATUS_IGNORED,
) -> None:
    """`poptrio.server.serve.serve` with several processes: reports the `Parent` when all of them take calls.

    ``of_worker`` makes the configuration of a worker, where one may have less than all together.
    """
    hooks = hooks or load_hooks(config)
    for sentence in config.insecure_settings():
        log.warning("insecure setting", why=sentence)
    sessions, workers = LiveSessions(), config.server.worker_count
    async with (
        hooks.lifespan(config.plugins, config.server_info(sessions)),
        _kept(activated_tcp()) as passed,
        trio.open_nursery() as accounts,
    ):
        async with listening(config, passed=[opened.dup() for opened in passed]):
            pass  # a port that somebody else has is found out here; workers share theirs with anybody

        def without_plugins(config: Config) -> Config:
            return of_worker(config).model_copy(update={"plugins": {}})  # no secrets of plugins where none is

        parent = Parent(config, LocalAuthority(config, hooks, sessions), accounts, without_plugins)
        async with trio.open_nursery() as watching:
            watching.start_soon(parent.lag.run)
            async with trio.open_nursery() as keepers:
                async with trio.open_nursery() as starting:
                    for number in range(workers):
                        begin = Begin(without_plugins(config), number, workers, ask_first=hooks.has("poptrio_admit"))
                        keeper = _Keeper(parent, begin, [opened.fileno() for opened in passed])
                        starting.start_soon(keepers.start, keeper.run)
                addresses = " ".join(map(str, config.server.listen))
                log.info("listening", address=addresses, interface=" ".join(config.server.interfaces), workers=workers)
                task_status.started(parent)
            watching.cancel_scope.cancel()
    log.info("stopped")


@dataclass(slots=True)
class _Life:
    """What became of one process: whether it took calls, why it gave up, and how it ended."""

    ready: bool = False
    failed: Failed | None = None
    lost_calls: int = 0
    exit_status: int = 0

    def why(self) -> str:
        """How it ended, in words."""
        if self.failed is not None:
            return "; ".join([*map(str, self.failed.faults), *filter(None, [self.failed.error])])
        if self.exit_status < 0:
            return f"killed by {_name_of(-self.exit_status)}"
        return f"it ended with exit code {self.exit_status}"


class _Keeper:
    """Sees to it that there is always one process for one worker, until the parent stops.

    ``listeners`` are descriptors of sockets that listen, which all workers have instead of some of their own.
    """

    def __init__(self, parent: Parent, begin: Begin, listeners: Sequence[int] = ()) -> None:
        self._parent = parent
        self._begin = begin
        self._listeners = listeners

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Report when the worker takes calls, and return after the parent has stopped it.

        Raises `ConfigError` or OSError if the first process cannot start; later ones are tried again and again.
        """
        parent, delay = self._parent, 0.0
        begun = trio.current_time()
        life = await self._live(task_status)
        if not life.ready and not parent.stopping:
            raise _error(life)
        while not parent.stopping:
            healthy = trio.current_time() - begun > HEALTHY
            delay = 0.0 if healthy else min(max(2 * delay, FIRST_DELAY), LONGEST_DELAY)
            log.error("worker lost", number=self._begin.number, why=life.why(), calls=life.lost_calls, delay=delay)
            with trio.move_on_after(delay):
                await parent.stopped.wait()
            if not parent.stopping:
                begun = trio.current_time()
                parent.stats.worker_restarts[self._begin.number] += 1
                life = await self._live(trio.TASK_STATUS_IGNORED)

    async def _live(self, task_status: trio.TaskStatus[None]) -> _Life:
        """Start one process and serve it until it has ended."""
        life = _Life()

        def started(message: Ready | Failed) -> None:
            if isinstance(message, Failed):
                life.failed = message
            else:
                life.ready = True
                task_status.started()

        try:
            process, ours = _start(self._begin.number, self._listeners)
        except OSError as error:  # too many processes or descriptors, now
            life.failed = Failed(error=f"its process cannot be started: {error}")
            return life
        try:
            async with (
                trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._kill_after_grace, process)
                nursery.start_soon(self._kill_when_silent, process)
                life.lost_calls = await self._parent.serve(stream, self._begin, started)
                nursery.cancel_scope.cancel()
            with trio.move_on_after(EXIT_WAIT):
                await _ended(process)
        finally:
            process.kill()
            life.exit_status = process.wait()  # SIGKILL is never waited for long
        return life

    async def _kill_when_silent(self, process: subprocess.Popen[bytes]) -> None:
        """A worker reports every few seconds: one that does not for long hangs, and takes no calls."""
        silent, heard = 0, 0
        while silent < SILENT_LOOKS:
            await trio.sleep(LOOK_INTERVAL)
            news = self._parent.news_of(self._begin.number)
            silent = silent + 1 if news == heard else 0
            heard = news
        log.error("worker hangs", number=self._begin.number, seconds=SILENT_LOOKS * LOOK_INTERVAL)
        process.kill()

    async def _kill_after_grace(self, process: subprocess.Popen[bytes]) -> None:
        await self._parent.stopped.wait()
        await trio.sleep(self._parent.grace + EXIT_WAIT)
        process.kill()


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have none
        return f"signal {number}"


@asynccontextmanager
async def _kept(sockets: list[socket.socket]) -> AsyncIterator[list[socket.socket]]:
    """``sockets`` are closed at the end only: each worker that takes another one's place needs them."""
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


def _start(number: int, listeners: Sequence[int]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A worker's process, and our end of the socket pair with it.

    Not in a thread of Trio's: the process dies with the thread that has started it.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        descriptor = theirs.fileno()
        # -P: not with what lies in the current directory, where anybody may have put a file with the name of a module.
        module = "poptrio.workers.worker"
        command = [sys.executable, "-P", "-m", module, *map(str, (descriptor, number, *listeners))]
        try:
            return subprocess.Popen(command, pass_fds=[descriptor, *listeners], stdin=subprocess.DEVNULL), ours
        except BaseException:
            ours.close()
            raise


async def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return  # no descriptor left: it is not waited for, but killed
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def _error(life: _Life) -> Exception:
    """Why the server cannot start."""
    if life.failed is not None and life.failed.faults:
        return ConfigError(*life.failed.faults)
    return OSError(life.failed.error if life.failed is not None else f"a worker did not start: {life.why()}")
