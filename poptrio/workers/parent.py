"""The parent of workers: what is one for all calls, whichever process has them. It opens no call itself."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import trio

from poptrio.config import Config
from poptrio.datapath.base import DataPathCounters
from poptrio.errors import ConfigError, ConfigFault
from poptrio.runtime.loop_lag import LoopLag
from poptrio.server.call_counts import CallCounts
from poptrio.server.call_events import ObservedCall
from poptrio.server.drain import Drain
from poptrio.server.goodbyes import Goodbyes
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.registry import CALL_ID_REST
from poptrio.server.reload import Ready, Reloader, Reloading
from poptrio.server.shared import Stats
from poptrio.server.tracing import Tracing
from poptrio.workers import messages
from poptrio.workers.captures import ParentCaptures
from poptrio.workers.link import Common, WorkerLink
from poptrio.workers.tallies import Tallies

WORKER_WAIT = 10.0
"""Seconds that a worker has to answer what it is asked; one that hangs is killed some time later."""


class Parent:
    """Serves the links of all workers; whoever has their streams calls `serve` for each.

    ``nursery`` is where questions to plugins and accounting run; it must outlive all links. ``of_worker`` makes the
    configuration of a worker out of that of all together.
    """

    def __init__(
        self,
        config: Config,
        authority: LocalAuthority,
        nursery: trio.Nursery,
        of_worker: Callable[[Config], Config] = lambda config: config,
    ) -> None:
        self.config = config
        self.authority = authority
        self.counts = CallCounts(config.server)
        self.stats = Stats()
        self.links: dict[int, WorkerLink] = {}
        self.stopped = trio.Event()
        self._resting: dict[int, list[tuple[float, int]]] = {}  # when each Call ID of a dead worker was given back
        self.grace = config.server.grace
        self.goodbyes = Goodbyes(config.server.grace)
        self.lag = LoopLag()
        self.captures = ParentCaptures(config, self.calls, self.links)
        self.tracing = Tracing(config, self._tell_all_to_follow)
        self.draining = False
        self.drain_state = Drain(lambda: self.call_count, self.stop)
        self.reloader = Reloader(self, Reloading(config))
        self.of_worker = of_worker
        self._nursery = nursery
        self._tallies = Tallies()
        self._common = Common(
            authority,
            self.counts,
            self.stats,
            self._tallies,
            self.goodbyes,
            self.stopped,
            nursery,
            self.captures,
            self.drain_state.call_over,
        )

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self.stopped.is_set()

    @property
    def call_count(self) -> int:
        """How many calls there are."""
        return sum(len(link.calls) for link in self.links.values())

    def calls(self) -> Sequence[ObservedCall]:
        """All calls, of one worker after the other, in the order in which they began."""
        return tuple(itertools.chain.from_iterable(link.calls.values() for link in self.links.values()))

    @property
    def connection_count(self) -> int:
        """How many control connections there were when the workers last told."""
        return sum(link.connection_count for link in self.links.values())

    @property
    def workers_running(self) -> int:
        """How many worker processes there are."""
        return len(self.links)

    async def packets(self) -> Counter[str]:
        """What all calls' paths have counted, as far as the workers have told."""
        return Counter(self._tallies.packets)

    def strays(self) -> DataPathCounters:
        """Packets that belong to no call."""
        return self._tallies.stray_counters()

    def lags(self) -> Mapping[str, LoopLag]:
        """How late the event loops are, by process."""
        workers = {f"worker-{number}": lag for number, lag in sorted(self._tallies.lags.items())}
        return {"parent": self.lag, **workers}

    def stop(self) -> None:
        """Let all workers stop with goodbyes; the second time at once."""
        if self.stopping:
            self.goodbyes.end()
        self.drain_state.end()
        self.stopped.set()
        for link in self.links.values():
            link.tell(messages.Stop())

    async def drain(self, seconds: float | None = None) -> None:
        """Take no new calls, and stop when those that are left are over, or are ended after ``seconds``."""
        if not self.draining:
            self.draining = True
            await self._ask_all(messages.Drain(draining=True))
        if self.draining and not self.stopping:
            self.drain_state.begin(self._nursery, seconds)

    async def cancel_drain(self) -> bool:
        """Take calls again; whether the server was draining."""
        if self.stopping or not self.draining:
            return False
        self.draining = False
        self.drain_state.cancel()
        await self._ask_all(messages.Drain(draining=False))
        return True

    async def get_ready(self, config: Config) -> Ready:
        """Get all workers ready for ``config``. Raises `ConfigError` when one of them is refused something."""
        of_worker = self.of_worker(config)
        ready = _Ready(self, config, of_worker)
        try:
            asked = dict(self.links)
            answers = await self._ask_all(messages.Prepare(of_worker))
            faults = []
            for number, answer in answers.items():
                if isinstance(answer, messages.CannotPrepare):
                    faults.append(ConfigFault(f"worker {number}", answer.why))
                elif answer is None and self.links.get(number) is asked[number]:
                    faults.append(ConfigFault(f"worker {number}", f"does not answer in {WORKER_WAIT:.0f} seconds"))
            if faults:
                raise ConfigError(*faults)
        except BaseException:
            ready.undo()
            raise
        return ready

    async def use(self, config: Config, of_worker: Config) -> None:
        """Use ``config`` from now on; returns when the workers do."""
        self.config = config
        self.counts.limits = config.server
        self.grace = self.goodbyes.grace = config.server.grace
        self.captures.configure(config)
        with trio.move_on_after(WORKER_WAIT, shield=True):
            await self._ask_all(messages.Commit(of_worker))

    async def _ask_all(self, question: object) -> dict[int, object]:
        """What each worker answers, by number; None for one that is gone, or does not answer."""
        answers: dict[int, object] = {}

        async def ask(number: int, link: WorkerLink) -> None:
            answers[number] = await link.ask(question, WORKER_WAIT)

        async with trio.open_nursery() as asking:
            for number, link in self.links.items():
                asking.start_soon(ask, number, link)
        return answers

    async def serve(
        self,
        stream: trio.abc.Stream,
        begin: messages.Begin,
        started: Callable[[messages.Ready | messages.Failed], None],
    ) -> int:
        """Let the worker at the other end of ``stream`` begin, and serve it until it is gone.

        ``started`` hears what it says about its start. Returns how many calls were lost with it.
        """
        number = begin.number
        link = self.links[number] = WorkerLink(stream, self._common, number, started)
        try:
            config = self.of_worker(self.config)
            resting = self._still_resting(number)
            link.tell(replace(begin, config=config, resting=resting, draining=self.draining))
            link.tell(self._follow())
            lost = await link.run()
        finally:
            del self.links[number]
            self.captures.worker_gone(number, died=not self.stopping)
        self._resting.setdefault(number, []).extend(link.rested)
        return len(lost)

    def _follow(self) -> messages.Follow:
        return messages.Follow(self.tracing.levels, dict(self.tracing.traces))

    def _tell_all_to_follow(self) -> None:
        for link in self.links.values():
            link.tell(self._follow())

    def news_of(self, number: int) -> int:
        """How much the worker has said so far; nothing new for long means that it hangs."""
        link = self.links.get(number)
        return link.news if link is not None else 0

    def _still_resting(self, number: int) -> tuple[int, ...]:
        """The Call IDs of a worker that died, and of those before it, which must not be used again yet."""
        since = trio.current_time() - CALL_ID_REST
        resting = [(when, call_id) for when, call_id in self._resting.get(number, ()) if when > since]
        self._resting[number] = resting
        return tuple(call_id for _, call_id in resting)


class _Ready:
    """All workers are ready for another configuration."""

    def __init__(self, parent: Parent, config: Config, of_worker: Config) -> None:
        self._parent = parent
        self._config = config
        self._of_worker = of_worker

    async def commit(self) -> None:
        await self._parent.use(self._config, self._of_worker)

    def undo(self) -> None:
        for link in self._parent.links.values():
            link.tell(messages.Undo())
