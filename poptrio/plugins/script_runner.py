"""Runs scripts as a service of calls: never through a shell, few at a time, and none of them for long.

Scripts of one call run one after the other, in the order in which they were asked for; those of different calls side by
side. A script has a clean environment and a process group of its own, which is killed when its time is over. What it
prints goes to the log, as far as it is short.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

LONGEST_OUTPUT = 4096
"""Octets of a script's output that are logged; the rest is read and thrown away."""

TERMINATE_WAIT = 1.0
"""Seconds between SIGTERM and SIGKILL for a script whose time is over."""

KILL_WAIT = 5.0
"""Seconds for a killed script to be gone: the kernel may keep one that waits for a file server or a device."""

OVERFLOW_WAIT = 0.01
"""Seconds between two reads of what is thrown away."""

DRAIN_WAIT = 0.1
"""Seconds for output that a child of a script may hold open after its end."""

log = structlog.get_logger("poptrio.scripts")


@dataclass(frozen=True, slots=True)
class Script:
    """What is to be run: a program, its arguments, and all of its environment. ``session`` is the call's."""

    path: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    session: str


class ScriptRunner:
    """At most ``concurrency`` scripts at a time, for ``timeout`` seconds each, while ``queue`` may wait for a turn.

    `run` must be running for anything to happen.
    """

    def __init__(self, *, concurrency: int, queue: int, timeout: float) -> None:
        self._limiter = trio.CapacityLimiter(concurrency)
        self._queue = queue
        self._timeout = timeout
        self._nursery: trio.Nursery | None = None
        self._last: dict[str, trio.Event] = {}  # of each session, set when its last script has ended
        self._left = 0
        self._idle = trio.Event()

    @property
    def has_room(self) -> bool:
        """Whether fewer scripts wait than may."""
        return self._left < self._queue + self._limiter.total_tokens

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run scripts until cancelled; those that run are killed then, and the others left out."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            if self._left:
                log.warning("scripts left out", count=self._left)

    async def finish(self) -> None:
        """Wait until all that was asked for has ended."""
        while self._left:
            self._idle = trio.Event()
            await self._idle.wait()

    def start(self, script: Script) -> None:
        """Run ``script`` as soon as it is its turn; returns at once."""
        assert self._nursery is not None, "used before run was started"
        before, ended = self._last.get(script.session), trio.Event()
        self._last[script.session] = ended
        self._left += 1
        self._nursery.start_soon(self._run_in_turn, script, before, ended)

    async def _run_in_turn(self, script: Script, before: trio.Event | None, ended: trio.Event) -> None:
        if before is not None:
            await before.wait()
        async with self._limiter:
            await self._run(script)
        ended.set()
        if self._last.get(script.session) is ended:
            del self._last[script.session]
        self._left -= 1
        if not self._left:
            self._idle.set()

    async def _run(self, script: Script) -> None:
        begun = trio.current_time()
        known = {"script": str(script.path), "session": script.session}
        try:
            process = await trio.lowlevel.open_process(
                [str(script.path), *script.arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=script.environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            log.warning(
                "script failed", **known, why=f"it cannot be run: {error.strerror or error}", output="", seconds=0
            )
            return
        output = bytearray()
        timely = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read, process, output)
                with trio.move_on_after(self._timeout) as patience:
                    await process.wait()
                timely = not patience.cancelled_caught
                if not timely:
                    await _terminate(process)
                nursery.cancel_scope.deadline = trio.current_time() + DRAIN_WAIT
        finally:
            if not timely:
                await _kill(process)
        text = output.decode("utf-8", "backslashreplace").strip()
        seconds = round(trio.current_time() - begun, 3)
        if timely and process.returncode == 0:
            log.info("script ended", **known, output=text, seconds=seconds)
            return
        why = _how(process.returncode) if timely else f"it ran longer than {self._timeout:g} s and was killed"
        if not timely and process.returncode is None:
            why += ", but the kernel keeps it"
        log.warning("script failed", **known, why=why, output=text, seconds=seconds)


async def _read(process: trio.Process, output: bytearray) -> None:
    assert process.stdout is not None
    async with process.stdout:
        async for octets in process.stdout:
            output += octets[: max(LONGEST_OUTPUT - len(output), 0)]
            if len(output) >= LONGEST_OUTPUT:  # who writes without end must not keep the event loop busy
                await trio.sleep(OVERFLOW_WAIT)


async def _terminate(process: trio.Process) -> None:
    """Ask the script and its children to end; `_kill` ends those that do not.

    In between nobody takes note of the script's end (no ``wait``, no ``returncode``): as long as it is unnoticed, its
    number belongs to its group and nobody else.
    """
    _signal_group(process, signal.SIGTERM)
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return  # no descriptor left: it is not waited for
    try:
        with trio.move_on_after(TERMINATE_WAIT):
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def _kill(process: trio.Process) -> None:
    """End the script, whose end nobody has noticed yet, and its children; what is kept by the kernel is left behind."""
    _signal_group(process, signal.SIGKILL)
    with trio.move_on_after(KILL_WAIT, shield=True):
        await process.wait()


def _signal_group(process: trio.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"it was killed by signal {-status}"
    return f"it ended with exit code {status}"
