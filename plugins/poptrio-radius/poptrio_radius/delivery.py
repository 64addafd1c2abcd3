"""Sends what the spool holds: several sessions at a time, each in its order, until a server has acknowledged it all.

    run
    └─ nursery
       └─ one task per record under way, at most ``concurrency``

A record without an answer goes back and is tried again later. When nothing at all has been answered meanwhile, no
server is there: then one record at a time is tried, each time of another session, until one is answered. So a record
that a server never answers holds up its own session only, and a server that comes back is not met by all at once.

A server takes Accounting-On (RFC 2866 §5.1) for the end of every session of this NAS. So the records of an earlier run
are sent before it, and those of new sessions are held until it is acknowledged.
"""

import heapq
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
import trio

from poptrio_radius.packets import Request
from poptrio_radius.spool_file import Record

CONCURRENCY = 16
"""Records under way at a time: enough for 1000 records a second at a round trip of 16 ms, and no flood."""

SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds until a record is tried again: doubled with each try."""

LONGEST_SILENCE = 10.0
"""Seconds between two tries while nobody answers: a server that comes back is to be found soon."""

PATIENCE = 3
"""Tries without an answer after which a record of an earlier run, or Accounting-On, holds up the others no longer."""

_ON = ""
"""Stands for Accounting-On among the sessions, none of which has an empty name."""

Send = Callable[[Request], Awaitable[bool]]
"""Sends a request to the accounting servers; whether one has acknowledged it."""

log = structlog.get_logger("poptrio.radius")


class Source(Protocol):
    """What delivery needs of the spool."""

    ready: Callable[[str], None]

    def sessions_to_send(self) -> list[str]:
        """The sessions with something to send, the one that has waited longest first."""

    def take(self, session_id: str) -> Record | None:
        """The record of this session that is to be sent now, if there is one."""

    def acknowledge(self, record: Record) -> bool:
        """A server has it. Whether there is more of its session."""

    def put_back(self, record: Record) -> bool:
        """No server has taken it. Whether there is anything of its session."""


class Delivery:
    """Sends the records of ``spool`` by ``send``; ``encode`` makes the request of a record.

    ``on`` is the Accounting-On to begin with, None for none. ``acknowledged`` is told of every record that arrived.
    """

    def __init__(
        self,
        spool: Source,
        send: Send,
        encode: Callable[[Record], Request],
        *,
        on: Request | None = None,
        acknowledged: Callable[[Record], None] = lambda record: None,
        concurrency: int = CONCURRENCY,
        seed: int | None = None,
    ) -> None:
        self._spool = spool
        self._send = send
        self._encode = encode
        self._on = on
        self._acknowledged = acknowledged
        self._concurrency = concurrency
        self._random = random.Random(seed)
        self._due: list[tuple[float, int, str]] = []  # a heap: when, in which order, which session
        self._scheduled: set[str] = set()  # sessions in the heap or under way
        self._order = 0
        self._tries: dict[str, int] = {}  # without an answer, by session
        self._under_way = 0
        self._answers = 0
        self._silence = 0  # how often nothing was answered since the last answer
        self._next_trial = 0.0
        self._changed = trio.Event()
        self._earlier = frozenset(spool.sessions_to_send())
        self._unsettled = set(self._earlier)  # those that hold up Accounting-On
        self._held: dict[str, None] = {}  # sessions that wait for Accounting-On, in order
        spool.ready = self._ready

    @property
    def is_silent(self) -> bool:
        """Whether no server answers."""
        return self._silence > 0

    @property
    def is_held(self) -> bool:
        """Whether Accounting-On has not been acknowledged yet."""
        return self._on is not None

    async def run(self) -> None:
        """Send what comes, for ever."""
        for session_id in self._spool.sessions_to_send():
            self._ready(session_id)
        if self._on is not None and not self._unsettled:
            self._schedule(_ON)
        async with trio.open_nursery() as nursery:
            while True:
                turn = self._next()
                if turn is None:
                    await self._wait()
                elif turn == _ON:
                    self._under_way += 1
                    nursery.start_soon(self._deliver_on)
                elif (record := self._spool.take(turn)) is not None:
                    self._under_way += 1
                    nursery.start_soon(self._deliver, record)
                else:  # was dropped meanwhile
                    self._scheduled.discard(turn)

    async def _deliver(self, record: Record) -> None:
        session_id, answers = record.session_id, self._answers
        if await self._send(self._encode(record)):
            self._answered(session_id)
            more = self._spool.acknowledge(record)
            self._acknowledged(record)
            if self._on is not None and record.session_id not in self._earlier:
                log.warning("Accounting-On is not acknowledged")  # other records are
                self._open()
        else:
            self._unanswered(session_id, answers)
            more = self._spool.put_back(record)
        self._scheduled.discard(session_id)
        if more:
            self._schedule(session_id, self._pause(session_id))
        if not more or self._tries.get(session_id, 0) >= PATIENCE:
            self._settle(session_id)

    async def _deliver_on(self) -> None:
        answers = self._answers
        if self._on is None or await self._send(self._on):
            self._answered(_ON)
            self._open()
            return
        self._unanswered(_ON, answers)
        self._scheduled.discard(_ON)
        self._schedule(_ON, self._pause(_ON))
        if self._tries[_ON] >= PATIENCE and self._held:  # is it only this that is not answered?
            session_id = next(iter(self._held))
            del self._held[session_id]
            self._schedule(session_id)

    def _ready(self, session_id: str) -> None:
        """The spool has something to send of this session."""
        if self._on is None or session_id in self._earlier:
            self._schedule(session_id)
        elif session_id not in self._scheduled:
            self._held[session_id] = None

    def _settle(self, session_id: str) -> None:
        """This session of an earlier run holds up Accounting-On no longer; after the last one it is sent."""
        if session_id in self._unsettled:
            self._unsettled.discard(session_id)
            if not self._unsettled and self._on is not None:
                self._schedule(_ON)

    def _open(self) -> None:
        """Let the sessions go that waited for Accounting-On."""
        self._on = None
        held, self._held = self._held, {}
        for waiting in held:
            self._schedule(waiting)

    def _schedule(self, session_id: str, pause: float = 0.0) -> None:
        if session_id not in self._scheduled:
            self._scheduled.add(session_id)
            self._order += 1
            heapq.heappush(self._due, (trio.current_time() + pause, self._order, session_id))
            self._changed.set()

    def _answered(self, session_id: str) -> None:
        self._under_way -= 1
        self._answers += 1
        self._tries.pop(session_id, None)
        if self._silence:
            log.info("accounting servers answer again")
        self._silence = 0
        self._next_trial = 0.0
        self._changed.set()

    def _unanswered(self, session_id: str, answers: int) -> None:
        """Nobody has taken a record; ``answers`` is how many there had been when it was sent."""
        self._under_way -= 1
        self._tries[session_id] = self._tries.get(session_id, 0) + 1
        if self._answers == answers:
            if not self._silence:
                log.warning("no accounting server answers")
            if not self._silence or not self._under_way:  # what was under way together counts once
                self._silence += 1
            self._next_trial = trio.current_time() + self._paused(self._silence, LONGEST_SILENCE)
        self._changed.set()

    def _pause(self, session_id: str) -> float:
        tries = self._tries.get(session_id, 0)
        return self._paused(tries, LONGEST_PAUSE) if tries else 0.0

    def _paused(self, tries: int, longest: float) -> float:
        pause = min(SHORTEST_PAUSE * 2.0 ** min(tries - 1, 10), longest)
        return pause * self._random.uniform(0.8, 1.2)

    def _next(self) -> str | None:
        """The session whose turn it is, taken off the heap; None if there is none now."""
        if not self._due or self._due[0][0] > trio.current_time() or self._opens_at() > trio.current_time():
            return None
        return heapq.heappop(self._due)[2]

    def _opens_at(self) -> float:
        """When another record may be sent."""
        if self._silence:
            return self._next_trial if self._under_way == 0 else float("inf")
        return 0.0 if self._under_way < self._concurrency else float("inf")

    async def _wait(self) -> None:
        """Until there may be something to do."""
        due = self._due[0][0] if self._due else float("inf")
        with trio.move_on_at(max(due, self._opens_at())):
            await self._changed.wait()
        self._changed = trio.Event()
