"""A worker process: control connections, GRE, PPP and a TUN of its own; what is one for all calls it asks its parent.

    Worker.run
    ├─ channel                orders of the parent, answers; its end is the end of everything
    ├─ reports                traffic of the calls, every few seconds
    └─ data path, Server.run  as in a server of one process

It is started as ``python -m poptrio.workers.worker DESCRIPTOR NUMBER LISTENER...``: the descriptor of its channel, its
number, and the descriptors of sockets that listen for all workers, if there are any. It obeys its parent and no signal
of the terminal or of a service manager, which may go to all processes, and ends at once when the parent is gone.
"""

import ctypes
import math
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

import structlog
import trio

from poptrio.config import Config
from poptrio.datapath.base import CallIdSlice, DataPath, Preparation
from poptrio.datapath.userspace.path import UserspaceDataPath
from poptrio.errors import ConfigError
from poptrio.observe.log import configure
from poptrio.runtime import garbage
from poptrio.runtime.exception_groups import leaves
from poptrio.server.registry import CallIds
from poptrio.server.serve import listening
from poptrio.server.server import Server
from poptrio.server.settings import userspace_settings
from poptrio.server.tracing import LocalTracing
from poptrio.workers import messages
from poptrio.workers.captures import send_capture
from poptrio.workers.channel import Channel, Question
from poptrio.workers.news import News
from poptrio.workers.remote_authority import RemoteAuthority

REPORT_INTERVAL = 5.0
"""Seconds between two reports of what was counted."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = structlog.get_logger("poptrio.workers")


class RunningDataPath(DataPath, Protocol):
    """A data path, and how it is opened and closed."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Move packets until `close`."""

    def close(self) -> None:
        """Make `run` return."""


Listen = Callable[[Config], AbstractAsyncContextManager[Sequence[trio.abc.Listener[trio.SocketStream]]]]


class Worker:
    """One worker, at the other end of ``stream``. ``open_datapath`` and ``listen`` are other ones in tests only."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        open_datapath: Callable[[messages.Begin], RunningDataPath],
        listen: Listen,
    ) -> None:
        self.server: Server | None = None
        self._channel = Channel(stream, self._told, self._asked)
        self._questions, self._to_answer = trio.open_memory_channel[Question](math.inf)
        self._authority = RemoteAuthority(self._channel)
        self._open_datapath = open_datapath
        self._listen = listen
        self._news = News()
        self._begin: messages.Begin | None = None
        self._begun = trio.Event()
        self._ready = trio.Event()
        self._preparation: Preparation | None = None
        self._serving = trio.CancelScope()
        self._tracing: LocalTracing | None = None
        self._nursery: trio.Nursery | None = None
        self._follow: messages.Follow | None = None

    async def run(self) -> None:
        """Do what the parent wants until it wants no more, or is gone. Raises nothing but bugs."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._carry)
            nursery.start_soon(self._answer_all)
            with self._serving:
                await self._begun.wait()
                assert self._begin is not None
                try:
                    await self._serve(self._begin)
                except* (ConfigError, OSError) as group:
                    self._failed(list(leaves(group)))
            self._channel.finish()

    async def _carry(self) -> None:
        try:
            await self._channel.run()
        finally:  # all is said, or the parent is gone
            self._questions.close()
            for _ in range(2):
                self._stop()
            self._serving.cancel()

    async def _serve(self, begin: messages.Begin) -> None:
        datapath = self._open_datapath(begin)
        async with self._listen(begin.config) as listeners, trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(datapath.run)
            call_ids = CallIds(of=CallIdSlice(begin.number, begin.workers))
            call_ids.rest(begin.resting, trio.current_time())
            server = Server(begin.config, self._authority, datapath, call_ids)
            server.draining = begin.draining
            self._tracing = server.tracing
            self._obey()
            async with trio.open_nursery() as calls:
                await calls.start(server.run, listeners)
                nursery.start_soon(self._report, server)
                nursery.start_soon(server.lag.run)
                nursery.start_soon(garbage.collect_when_quiet, partial(getattr, server, "call_count"))
                self.server = server
                self._ready.set()
                self._channel.tell(messages.Ready())
            await self._report_counts(server)
            datapath.close()
            nursery.cancel_scope.cancel()

    async def _report(self, server: Server) -> None:
        while True:
            await trio.sleep(REPORT_INTERVAL)
            self._channel.tell(messages.Alive())
            await self._authority.report_traffic()
            await self._report_counts(server)

    async def _report_counts(self, server: Server) -> None:
        """Tell what was counted since the last time."""
        self._channel.tell(self._news.of(server, await server.packets()))

    def _failed(self, errors: Sequence[BaseException]) -> None:
        faults = tuple(fault for error in errors if isinstance(error, ConfigError) for fault in error.faults)
        text = "; ".join(str(error) for error in errors if isinstance(error, OSError))
        self._channel.tell(messages.Failed(faults, text))

    # Orders of the parent.

    def _told(self, message: object) -> None:
        match message:
            case messages.Begin():
                self._begin = message
                self._authority.ask_first = message.ask_first
                self._begun.set()
            case messages.Stop():
                self._stop()
            case messages.CloseConnection():
                if self.server is not None:
                    self.server.close_connection(message.connection_id, message.why)
            case messages.Assigned():
                self._authority.assigned(message)
            case messages.StartCapture():
                assert self._nursery is not None
                assert self.server is not None  # it has told of the call
                self._nursery.start_soon(send_capture, message, self.server.captures, self._channel)
            case messages.Follow():
                self._follow = message
                self._obey()
            case messages.EndCall():
                self._authority.end_call(message)
            case messages.ChangeCall():
                self._authority.change_call(message)
            case messages.Undo():
                self._undo()
            case _:
                raise AssertionError(f"told {message}")

    def _asked(self, question: Question) -> None:
        self._questions.send_nowait(question)

    async def _answer_all(self) -> None:
        """In their order, which is that of what the parent wants: the last Drain counts."""
        async for question in self._to_answer:
            await self._answer(question)

    async def _answer(self, question: Question) -> None:
        """Answer when the server runs, and what it did before has been told."""
        with question.scope:
            await self._ready.wait()
            assert self.server is not None
            match question.message:
                case messages.Prepare(config):
                    question.answer(self._prepare(self.server, config))
                case messages.Commit(config):
                    self._commit(self.server, config)
                    question.answer(messages.Done())
                case messages.Drain(draining):
                    self.server.draining = draining
                    await trio.lowlevel.checkpoint()  # calls that were taken just now are told of in their own tasks
                    question.answer(messages.Done())
                case message:
                    raise AssertionError(f"asked {message}")

    def _prepare(self, server: Server, config: Config) -> messages.Prepared | messages.CannotPrepare:
        self._undo()
        try:
            self._preparation = server.prepare(config)
        except OSError as error:
            return messages.CannotPrepare(error.strerror or str(error))
        return messages.Prepared()

    def _commit(self, server: Server, config: Config) -> None:
        if self._preparation is None:  # begun while the others were asked
            answer = self._prepare(server, config)
            if self._preparation is None:
                log.error("worker keeps its settings", why=str(answer))
                return
        before = server.config
        preparation, self._preparation = self._preparation, None
        preparation.commit()
        if config.log.format != before.log.format:
            configure(**config.log.model_dump())

    def _undo(self) -> None:
        preparation, self._preparation = self._preparation, None
        if preparation is not None:
            preparation.undo()

    def _obey(self) -> None:
        """Log and trace as the parent has said last."""
        if self._tracing is not None and self._follow is not None:
            self._tracing.follow(self._follow.levels, self._follow.traces)

    def _stop(self) -> None:
        if self.server is None:
            self._serving.cancel()
        else:
            self.server.stop()


def _datapath(begin: messages.Begin) -> UserspaceDataPath:
    return UserspaceDataPath(userspace_settings(begin.config, CallIdSlice(begin.number, begin.workers)))


def main() -> None:
    """The process."""
    descriptor, number, *listeners = map(int, sys.argv[1:])
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    structlog.contextvars.bind_contextvars(worker=number)
    trio.run(_run, descriptor, listeners)


async def _run(descriptor: int, listeners: Sequence[int]) -> None:
    passed = [socket.socket(fileno=listener) for listener in listeners]
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor)))
    async with stream:
        await Worker(stream, _open, partial(listening, shared=True, passed=passed)).run()


def _open(begin: messages.Begin) -> UserspaceDataPath:
    configure(**begin.config.log.model_dump())
    garbage.settle()
    return _datapath(begin)


if __name__ == "__main__":
    main()
