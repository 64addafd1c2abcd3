"""Calls that are up, as plugins see and change them: the seam for whatever comes from outside during a call."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from poptrio.calls import CallInfo, Traffic
from poptrio.decisions import Accept, Quota, RateLimit
from poptrio.errors import CauseOfEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChange:
    """What shall be different about a call from now on; None leaves a thing as it is. Times are seconds, 0 is never.

    ``session_timeout`` counts from the moment when the call came up or its client was last authenticated again, as
    `Accept.session_timeout` does; one that is over already ends the call.
    """

    session_timeout: float | None = None
    idle_timeout: float | None = None
    interim_interval: float | None = None
    quota: Quota | None = None
    rate: RateLimit | None = None
    filter_ids: tuple[str, ...] | None = None
    classes: tuple[bytes, ...] | None = None


class Session(Protocol):
    """One call that has an address and is up."""

    @property
    def call(self) -> CallInfo:
        """Who called, from where; ``call.session_id`` names the session."""

    @property
    def accept(self) -> Accept:
        """What was decided about it, with every change since."""

    @property
    def address(self) -> IPv4Address:
        """The client's inner address."""

    @property
    def authenticated_by(self) -> str:
        """The plugin that accepted the caller."""

    @property
    def seconds(self) -> float:
        """How long it has been up."""

    @property
    def traffic(self) -> Traffic:
        """The IP traffic so far."""

    def end(self, cause: CauseOfEnd = CauseOfEnd.ADMIN_RESET, reason: str = "") -> None:
        """End it; returns at once, and what follows (goodbye, accounting) goes its way. ``reason`` is for the log."""

    def change(self, change: SessionChange) -> None:
        """Carry ``change`` out, all of it. Raises ValueError with a sentence, and changes nothing, if it cannot be."""


class Sessions(Protocol):
    """All calls that are up, in the order in which they came up."""

    def __iter__(self) -> Iterator[Session]:
        """Every one."""

    def find(self, session_id: str) -> Session | None:
        """The one with this `CallInfo.session_id`, or None."""

    def of_user(self, name: str) -> Iterable[Session]:
        """Those of the user who is known by ``name`` (`Accept.user` or one of `Accept.aliases`), case ignored.

        Where domains have plugins of their own, a name without a domain may be that of several people: see
        `Session.authenticated_by`.
        """


class NoSessions:
    """`Sessions` where there is no server: none."""

    def __iter__(self) -> Iterator[Session]:
        return iter(())

    def find(self, session_id: str) -> Session | None:
        """None."""
        return None

    def of_user(self, name: str) -> Iterable[Session]:
        """None."""
        return ()
