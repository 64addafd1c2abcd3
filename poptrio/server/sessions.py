"""The calls of this server as plugins see and change them, and how many each user has: `poptrio.sessions`, for real."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, Protocol

import trio

from poptrio.calls import AddressLease, CallInfo, Traffic
from poptrio.datapath.base import PathCounters
from poptrio.decisions import Accept, Quota
from poptrio.errors import CauseOfEnd
from poptrio.runtime.flag import Flag
from poptrio.server.domains import folded, name_set
from poptrio.sessions import Session, SessionChange

_TIMES = ("session_timeout", "idle_timeout", "interim_interval")


class ChangeableLimits(Protocol):
    """What limits a call, as far as others change it."""

    def changed(self, now: float) -> None:
        """``call.accept`` is another one."""


class SessionCall(Protocol):
    """What is needed of a call; ``counted_names`` are those by which the sessions of its user are counted."""

    info: CallInfo
    accept: Accept | None
    lease: AddressLease | None
    cause: CauseOfEnd | None
    up_since: float | None
    authenticated_by: str
    counted_names: frozenset[str]
    released: Flag

    @property
    def limits(self) -> ChangeableLimits | None:
        """Its limits, while it has a path."""

    @property
    def counters(self) -> PathCounters:
        """What its path has counted until now."""

    def end(self, cause: CauseOfEnd, detail: str = "") -> None:
        """End the call."""


class LiveSession:
    """One call that is up (`poptrio.sessions.Session`)."""

    __slots__ = ("_call",)

    def __init__(self, call: SessionCall) -> None:
        self._call = call

    @property
    def call(self) -> CallInfo:
        """Who called, from where."""
        return self._call.info

    @property
    def accept(self) -> Accept:
        """What was decided about it, with every change since."""
        assert self._call.accept is not None
        return self._call.accept

    @property
    def address(self) -> IPv4Address:
        """The client's inner address."""
        assert self._call.lease is not None
        return self._call.lease.address

    @property
    def authenticated_by(self) -> str:
        """The plugin that accepted the caller."""
        return self._call.authenticated_by

    @property
    def seconds(self) -> float:
        """How long it has been up."""
        assert self._call.up_since is not None
        return trio.current_time() - self._call.up_since

    @property
    def traffic(self) -> Traffic:
        """The IP traffic so far."""
        return traffic(self._call.counters)

    def end(self, cause: CauseOfEnd = CauseOfEnd.ADMIN_RESET, reason: str = "") -> None:
        """End it; ``reason`` is for the log."""
        self._call.end(cause, reason)

    def change(self, change: SessionChange) -> None:
        """Carry ``change`` out, all of it. Raises ValueError with a sentence, and changes nothing, if it cannot be."""
        if self._call.cause is not None:
            raise ValueError("the call is ending")
        _check(change)
        wanted: dict[str, Any] = {name: getattr(change, name) for name in SessionChange.__dataclass_fields__}
        self._call.accept = replace(self.accept, **{name: value for name, value in wanted.items() if value is not None})
        assert self._call.limits is not None
        self._call.limits.changed(trio.current_time())


class LiveSessions:
    """All calls that are up (`poptrio.sessions.Sessions`); besides, all calls that a plugin has accepted, by user.

    A call counts for its user from `enter` on, which is before its client is told of success, and is a session for
    plugins from `came_up` on.
    """

    def __init__(self) -> None:
        self._up: dict[str, LiveSession] = {}
        self._up_by_name: dict[str, dict[str, LiveSession]] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._counted: dict[str, dict[str, SessionCall]] = {}
        self._entered: dict[str, int] = {}  # which of all calls it was
        self._numbers = itertools.count()

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._up.values()))  # whoever walks through them may end them

    @property
    def count(self) -> int:
        """How many are up."""
        return len(self._up)

    def find(self, session_id: str) -> Session | None:
        """The one with this `CallInfo.session_id`, or None."""
        return self._up.get(session_id)

    def of_user(self, name: str) -> Iterable[Session]:
        """Those of the user who is known by ``name``, case ignored; ``DOMAIN\\name`` where a domain has own plugins."""
        return tuple(self._up_by_name.get(folded(name), {}).values())

    def held_by(self, counted_names: Iterable[str]) -> list[SessionCall]:
        """The calls of a user that are not about to end, the oldest first."""
        found: dict[str, SessionCall] = {}
        for name in counted_names:
            found |= self._counted.get(name, {})
        in_order = (found[session_id] for session_id in sorted(found, key=self._entered.__getitem__))
        return [call for call in in_order if call.cause is None]

    def enter(self, call: SessionCall) -> None:
        """A plugin has accepted the caller; ``call.counted_names`` are set."""
        self._entered[call.info.session_id] = next(self._numbers)
        for name in call.counted_names:
            self._counted.setdefault(name, {})[call.info.session_id] = call

    def came_up(self, call: SessionCall) -> None:
        """The call has an address and may be seen."""
        assert call.accept is not None
        session = self._up[call.info.session_id] = LiveSession(call)
        names = name_set((call.accept.user, *call.accept.aliases, *call.counted_names))
        self._names[call.info.session_id] = names
        for name in names:
            self._up_by_name.setdefault(name, {})[call.info.session_id] = session

    def withdraw(self, call: SessionCall) -> None:
        """The call does not count for its user any more; nothing if it never entered."""
        if self._entered.pop(call.info.session_id, None) is not None:
            _forget(self._counted, call.counted_names, call.info.session_id)

    def leave(self, call: SessionCall) -> None:
        """The call is released."""
        session_id = call.info.session_id
        self._up.pop(session_id, None)
        _forget(self._up_by_name, self._names.pop(session_id, frozenset()), session_id)
        self.withdraw(call)
        call.released.set()


def traffic(counters: PathCounters) -> Traffic:
    """The IP traffic of a call so far."""
    return Traffic(
        bytes_in=counters.bytes_in,
        bytes_out=counters.bytes_out,
        packets_in=counters.packets_in,
        packets_out=counters.packets_out,
    )


def _forget(index: dict[str, dict[str, Any]], names: Iterable[str], session_id: str) -> None:
    for name in names:
        calls = index.get(name, {})
        calls.pop(session_id, None)
        if not calls:
            index.pop(name, None)


def _check(change: SessionChange) -> None:
    """Raises ValueError for what no call can be changed to."""
    for name in _TIMES:
        seconds: float | None = getattr(change, name)
        if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"{name} of {seconds} seconds")
    quota = change.quota or Quota()
    for limit in (quota.from_client, quota.to_client, quota.total):
        if limit is not None and limit < 0:
            raise ValueError(f"a quota of {limit} octets")
