"""Many calls to one server from one process: set them up, hold them, send traffic through them, hang up; measure all.

A call is one task, and all share a data path without a TUN and a ticker, because the generator runs beside other
programs, often on the machine that it measures. What it took of the CPU itself is in the report.
"""

import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import trio

from poptrio.client.call import HUNG_UP, CallSettings, ClientCall, Tunnel
from poptrio.client.histogram import Histogram
from poptrio.client.load_report import (
    Distribution,
    FailuresByStep,
    HangUps,
    Held,
    LoadReport,
    Packets,
    Reasons,
    SetUps,
    Stopwatch,
)
from poptrio.client.steps import DialOutcome, Step, StepReport
from poptrio.client.tcp import Line
from poptrio.client.traffic import InnerPath, Pinger, Traffic
from poptrio.datapath.base import DataPath
from poptrio.runtime.ticker import Ticker

MOST_CALLS = 60_000
"""Calls of one process: Call IDs have 16 bits."""

# What is different in each failure and tells nothing: the next challenge of an MS-CHAP Failure, Call IDs.
_CHANGING = re.compile(r" C=[0-9A-F]+\b|(?<=: call) \d+(?= is still)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """How much load, in the order of the phases; times in seconds.

    ``rate`` is how many calls are begun per second, whatever becomes of them; 0 begins the next one as soon as fewer
    than ``concurrency`` are on their way. So many hang up at once, too. ``timeout`` is for the whole set-up of a call.
    ``packets`` inner packets of ``size`` octets leave per second for ``seconds``. ``vanish``: end without a goodbye.
    """

    calls: int
    rate: float = 0.0
    concurrency: int = 20
    timeout: float = 20.0
    hold: float = 0.0
    packets: float = 0.0
    size: int = 100
    seconds: float = 10.0
    vanish: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a phase is: calls, or seconds, of a total."""

    phase: str
    done: float
    total: float


class Load:
    """One run. Calls have numbers from 0; ``settings_of`` says as whom one dials, ``connect`` opens its line.

    ``connect`` raises OSError with a sentence for the user. ``traffic`` must hear the inner packets that arrive by
    ``datapath``.
    """

    def __init__(
        self,
        settings: LoadSettings,
        settings_of: Callable[[int], CallSettings],
        connect: Callable[[int], Awaitable[Line]],
        datapath: DataPath,
        traffic: Traffic,
    ) -> None:
        self.settings = settings
        self.settings_of = settings_of
        self.connect = connect
        self.datapath = datapath
        self.ticker = Ticker()
        self.failures = FailuresByStep()
        self.lost = Reasons()
        self.call_ids = random.SystemRandom().sample(range(1, 0x10000), settings.calls)
        self._traffic = traffic
        self._durations = Histogram()
        self._members: set[Member] = set()
        self._settled = self._up = 0
        self._on_their_way = trio.Semaphore(settings.concurrency)
        self._leaving = trio.Semaphore(settings.concurrency)
        self._all_settled = trio.Event()
        self._none_up = trio.Event()
        self._working = trio.CancelScope()
        self._interrupted = False
        self._phase = ""
        self._progress: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
        self._set_ups: SetUps | None = None
        self._held: Held | None = None
        self._packets: Packets | None = None

    @property
    def progress(self) -> Progress:
        """Where the run is."""
        return Progress(self._phase, *self._progress())

    def interrupt(self) -> None:
        """Hang up what is up, and return from `run` with what was measured; the second time, without goodbyes."""
        if self._interrupted:
            for member in tuple(self._members):
                member.vanish()
        self._interrupted = True
        self._working.cancel()

    async def run(self) -> LoadReport:
        """Go through all phases."""
        settings = self.settings
        async with trio.open_nursery() as background:
            background.start_soon(self.ticker.run)
            async with trio.open_nursery() as calls:
                with self._working:
                    await self._set_up(calls)
                    if settings.hold and self._up:
                        await self._hold()
                    if settings.packets and self._up:
                        await self._send_packets()
                watch, leaving = self._enter("hanging up", lambda: (leaving - self._up, leaving)), self._up
                await self._end_calls()
            background.cancel_scope.cancel()
        assert self._set_ups is not None
        return LoadReport(
            calls=settings.calls,
            set_ups=self._set_ups,
            failures=self.failures.failures(),
            lost=self.lost.failures("held") if self.lost.count else None,
            held=self._held,
            packets=self._packets,
            hang_ups=HangUps(leaving, settings.vanish, watch.seconds, watch.rate(leaving), watch.cpu),
            interrupted=self._interrupted,
        )

    # The phases.

    async def _set_up(self, calls: trio.Nursery) -> None:
        number_of_calls, rate = self.settings.calls, self.settings.rate
        watch = self._enter("setting up", lambda: (self._settled, number_of_calls))
        begun = 0
        try:
            for number in range(number_of_calls):
                if rate:
                    await trio.sleep_until(watch.begun + number / rate)
                else:
                    await self._on_their_way.acquire()
                member = Member(self, number)
                self._members.add(member)
                calls.start_soon(member.run)
                begun += 1
            await self._all_settled.wait()
        finally:
            came_up = self._durations.count
            self._set_ups = SetUps(
                begun=begun,
                up=came_up,
                seconds=watch.seconds,
                per_second=watch.rate(came_up),
                duration=Distribution.of(self._durations),
                cpu=watch.cpu,
                cpu_per_call=watch.cpu / begun if begun else 0.0,
            )

    async def _hold(self) -> None:
        watch = self._enter("holding", lambda: (watch.seconds, self.settings.hold))
        try:
            with trio.move_on_after(self.settings.hold):
                await self._none_up.wait()
        finally:
            self._held = Held(self._up, watch.seconds, watch.cpu)

    async def _send_packets(self) -> None:
        settings, traffic = self.settings, self._traffic
        watch = self._enter("sending packets", lambda: (watch.seconds, settings.seconds))
        try:
            await traffic.run([member.pinger for member in self._members if member.pinger], settings.seconds)
        finally:
            packets, seconds = traffic.sent + traffic.received, traffic.seconds
            self._packets = Packets(
                size=settings.size,
                seconds=seconds,
                sent=traffic.sent,
                received=traffic.received,
                lost=traffic.sent - traffic.received,
                sent_per_second=traffic.sent / seconds if seconds else 0.0,
                received_per_second=traffic.received_in_time / seconds if seconds else 0.0,
                round_trip=Distribution.of(traffic.round_trips),
                cpu=watch.cpu,
                cpu_per_packet=watch.cpu / packets if packets else 0.0,
            )

    async def _end_calls(self) -> None:
        members = tuple(self._members)
        if self.settings.vanish:
            for member in members:
                member.vanish()
            return
        for member in members:
            if not self._interrupted:  # who is interrupted waits for nobody
                await self._leaving.acquire()
            member.hang_up(self._leaving.release)

    def _enter(self, phase: str, progress: Callable[[], tuple[float, float]]) -> Stopwatch:
        self._phase, self._progress = phase, progress
        return Stopwatch()

    # What calls tell.

    def came_up(self, seconds: float) -> None:
        """One more call is up, so many seconds after its beginning."""
        self._up += 1
        self._durations.add(seconds)

    def settled(self) -> None:
        """One more call is up or will never be."""
        self._settled += 1
        if not self.settings.rate:
            self._on_their_way.release()
        if self._settled == self.settings.calls:
            self._all_settled.set()

    def ended(self, member: "Member", outcome: DialOutcome | None) -> None:
        """A call is over, or never had a TCP connection."""
        self._members.discard(member)
        if outcome is not None and outcome.reached:
            self._up -= 1
            if outcome.why != HUNG_UP:
                self.lost.add(outcome.why)
            if not self._up and self._all_settled.is_set():
                self._none_up.set()


class Member:
    """One call of a `Load`: its task, and what it tells."""

    __slots__ = (
        "_alarm",
        "_call",
        "_connecting",
        "_ended",
        "_is_over",
        "_line",
        "_load",
        "_number",
        "_settled",
        "pinger",
    )

    def __init__(self, load: Load, number: int) -> None:
        self.pinger: Pinger | None = None
        self._load = load
        self._number = number
        self._line: Line | None = None
        self._call: ClientCall | None = None
        self._connecting = trio.CancelScope()
        self._alarm = load.ticker.alarm(self._time_is_up)
        self._settled = False
        self._ended: Callable[[], None] | None = None
        self._is_over = False

    async def run(self) -> None:
        """Connect, and be a call until it ends."""
        outcome: DialOutcome | None = None
        try:
            with self._connecting:
                await self._connect()
            if self._line is not None:
                async with self._line.stream:
                    if not self._connecting.cancel_called:  # not even in the moment in which it was connected
                        outcome = await self._be_a_call(self._line)
        finally:
            self._alarm.close()
            if self.pinger is not None:
                self.pinger.closed = True
            self._settle()
            self._is_over = True
            self._load.ended(self, outcome)
            if self._ended is not None:
                self._ended()

    def hang_up(self, ended: Callable[[], None]) -> None:
        """End the call with a goodbye; ``ended`` is called when it is over, which it may be already."""
        if self._is_over:
            ended()
            return
        self._ended = ended
        self._connecting.cancel()
        if self._call is not None:
            self._call.hang_up()

    def vanish(self) -> None:
        """End the call without a goodbye."""
        self._connecting.cancel()
        if self._call is not None:
            self._call.vanish()

    async def _connect(self) -> None:
        try:
            self._line = await self._load.connect(self._number)
        except OSError as error:
            self._load.failures.add(Step.TCP, str(error))

    async def _be_a_call(self, line: Line) -> DialOutcome:
        load, number = self._load, self._number
        self._alarm.set(line.begun + load.settings.timeout)
        self._call = ClientCall(
            load.settings_of(number), self._step, self._up, line, load.datapath, load.ticker, load.call_ids[number]
        )
        return await self._call.run()

    def _step(self, report: StepReport) -> None:
        if not report.passed:
            self._load.failures.add(report.step, _CHANGING.sub("", report.detail))

    def _up(self, call: ClientCall, tunnel: Tunnel) -> None:
        assert self._line is not None
        self._alarm.close()
        self._load.came_up(trio.current_time() - self._line.begun)
        if tunnel.server_address is not None:
            path = cast("InnerPath", tunnel.path)
            self.pinger = Pinger(path, tunnel.address, tunnel.server_address, self._load.settings.size)
        self._settle()

    def _settle(self) -> None:
        if not self._settled:
            self._settled = True
            self._load.settled()

    def _time_is_up(self, now: float) -> None:
        if self._call is not None:
            self._call.give_up(f"the call was not up after {self._load.settings.timeout:g} s")
