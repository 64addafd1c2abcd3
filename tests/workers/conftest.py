"""A parent and two workers in one process, with streams, data paths and TCP in memory; time is virtual."""

from contextlib import asynccontextmanager

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from poptrio.config import Config
from poptrio.datapath.memory import MemoryNetwork
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.sessions import LiveSessions
from poptrio.server.settings import gre_settings
from poptrio.testing.leftovers import leftovers
from poptrio.testing.line import MemoryListener
from poptrio.testing.server import MemoryServer, load
from poptrio.workers.messages import Begin, Ready
from poptrio.workers.parent import Parent
from poptrio.workers.worker import Worker


class MemoryPath:
    """The data path of one worker: the server's end of a memory network, opened and closed like a real one."""

    def __init__(self, network):
        self.counters = network.server.counters
        self.open_call = network.server.open_call
        self.interface_of = network.server.interface_of
        self.prepare = network.server.prepare
        self._network = network
        self._scope = trio.CancelScope()

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        with self._scope:
            await self._network.run(task_status=task_status)

    def close(self):
        self._scope.cancel()


class Side:
    """One worker, and how its clients reach it."""

    def __init__(self, config, number, workers):
        self.network = MemoryNetwork(None, gre_settings(config))
        self.listener = MemoryListener()
        self.to_parent, self.stream = memory_stream_pair()
        self.worker = Worker(self.to_parent, lambda begin: MemoryPath(self.network), self._listen)
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.ready = trio.Event()
        self.lost = None
        self.memory = None
        self._begin = Begin(config, number, workers, ask_first=True)

    @asynccontextmanager
    async def _listen(self, config):
        yield [self.listener]

    async def start(self, parent, nursery):
        self._begin = Begin(
            self._begin.config,
            self._begin.number,
            self._begin.workers,
            ask_first=parent.authority.hooks.has("poptrio_admit"),
        )
        nursery.start_soon(self._work)
        nursery.start_soon(self._serve, parent)
        await self.ready.wait()
        await wait_all_tasks_blocked()
        self.memory = MemoryServer(self.worker.server, parent.authority, self.network, self.listener, nursery)
        nursery.start_soon(self.memory.ticker.run)

    def kill(self):
        """What SIGKILL does: not another word."""
        self.to_parent.send_stream.close()
        self.to_parent.receive_stream.close()
        self.scope.cancel()

    async def _work(self):
        with self.scope:
            await self.worker.run()
        await self.to_parent.aclose()

    async def _serve(self, parent):
        self.lost = await parent.serve(self.stream, self._begin, self._started)
        self.ended.set()

    def _started(self, message):
        assert message == Ready()
        self.ready.set()


class Fleet:
    """``dial(worker, …)`` as `MemoryServer.dial`."""

    def __init__(self, config, authority, parent, nursery):
        self.config = config
        self.authority = authority
        self.parent = parent
        self.nursery = nursery
        self.sides = []

    async def dial(self, number, *arguments, **options):
        call = await self.sides[number].memory.dial(*arguments, **options)
        await trio.sleep(0.1)  # until what may wait has been told, too
        return call

    async def replace(self, number):
        """Another worker in the place of one that was killed."""
        self.sides[number] = Side(self.config, number, 2)
        await self.sides[number].start(self.parent, self.nursery)

    def leftovers(self):
        counts, sessions = self.parent.counts, self.authority.sessions
        found = [dict(counts._calls_of), counts._number_of_calls, counts._strangers, dict(counts._strangers_of)]
        found += [sorted(sessions._names), sorted(sessions._counted), self.parent.call_count]
        found += [side.worker._authority._calls for side in self.sides]
        found += [side.worker._authority._promised for side in self.sides]
        found += [side.worker._authority._strange for side in self.sides]
        for side in self.sides:
            found += leftovers(side.worker.server, sessions, side.network.server)
        return [one for one in found if one]


@asynccontextmanager
async def fleet_of_two(config="", plugins=()):
    settings = Config.parse(config)
    hooks, sessions = load(plugins, settings), LiveSessions()
    authority = LocalAuthority(settings, hooks, sessions)
    async with hooks.lifespan(settings.plugins, settings.server_info(sessions)), trio.open_nursery() as nursery:
        fleet = Fleet(settings, authority, Parent(settings, authority, nursery), nursery)
        for number in range(2):
            fleet.sides.append(Side(settings, number, 2))
            await fleet.sides[number].start(fleet.parent, nursery)
        yield fleet
        fleet.parent.stop()
        for side in fleet.sides:
            await side.ended.wait()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@pytest.fixture
def side():
    """Makes one worker and the way to it: ``side(config, number, workers)``."""
    return Side


@pytest.fixture
def fleet():
    """Makes a `Fleet`, as a context manager."""
    return fleet_of_two


class Log:
    def __init__(self, entries):
        self.entries = entries

    def named(self, event):
        return [entry for entry in self.entries if entry["event"] == event]


@pytest.fixture
def log():
    with capture_logs() as entries:
        yield Log(entries)
