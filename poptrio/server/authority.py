"""The seam to what must be one for all calls of a server: who may call, who is who, which address is whose, accounting.

A server of one process has it beside its calls (`local_authority`), and then nothing here waits for more than plugins.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Protocol

import structlog
import trio

from poptrio.calls import AddressLease
from poptrio.errors import NoAddress
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.server.authentication import Answer
from poptrio.server.sessions import SessionCall


class Accounting(Protocol):
    """The accounting of one call."""

    def begin(self, nursery: trio.Nursery) -> None:
        """The network is up: account for the call from now on, in tasks of ``nursery``."""

    def interim_due(self) -> None:
        """Make an interim record soon."""

    async def stop(self) -> None:
        """The call has ended: the last record, if there was a first. The nursery must have ended."""


class KnownCall(SessionCall, Protocol):
    """What an authority knows of a call: what plugins may see of it, and how it came about.

    ``interface`` is the network device of its inner packets, whose size is ``mtu`` at most; both are there once it is
    up. ``replaced`` are the calls that had to end for it, ``name`` is what its client calls itself, ``begun`` when it
    began on Trio's clock, ``steps`` the seconds from there to each step that it passed, ``why`` the sentence about its
    end.
    """

    authentication: str
    encryption: str
    interface: str
    mtu: int
    replaced: Sequence[SessionCall]
    name: str
    begun: float
    steps: dict[str, float]
    why: str

    @property
    def log(self) -> structlog.typing.FilteringBoundLogger:
        """A logger that says which call it is."""


class Authority(Protocol):
    """What is decided, counted and remembered for all calls together."""

    async def admit_connection(self, connection_id: str, peer: IPv4Address) -> str | None:
        """Why ``peer`` may not have this control connection, or None; it is a stranger's until somebody logs in."""

    def refused(self, peer: IPv4Address, why: str) -> None:
        """``peer`` was refused a connection or a call; told only of as many as are logged."""

    def connection_closed(self, connection_id: str) -> None:
        """The control connection is closed; also called where it was refused."""

    async def admit_call(self, call: KnownCall) -> str | None:
        """Why there may not be this call, or None; it is counted until `leave`."""

    async def log_in(self, call: KnownCall, request: AuthRequest, plugin: str, awaited: Callable[[], bool]) -> Answer:
        """Ask who is calling, ``plugin`` only unless it is empty, and find a place among the calls of that user.

        An acceptance that the client does not want any more, because ``awaited`` has become False, takes no place.
        Raises `TooManyAttempts` when nobody was asked, `TooManySessions` when the user has enough calls.
        """

    async def allocate_address(self, call: KnownCall, wish: IPv4Address | None = None) -> AddressLease | NoAddress:
        """An inner address for a call whose user is known, once those that it replaces are gone; ``wish``, if given.

        A lease that exists reaches the caller even when the call is cancelled meanwhile.
        """

    def accounting(self, call: KnownCall) -> Accounting:
        """The accounting of a new call."""

    def came_up(self, call: KnownCall) -> None:
        """The call has an address and may be seen."""

    def ending(self, call: KnownCall) -> None:
        """``call.cause`` is known: the call is about to end."""

    def changed(self, call: KnownCall) -> None:
        """``call.accept`` is another one, since the client has proved itself again."""

    def leave(self, call: KnownCall) -> None:
        """The call is over, and its packets have no way any more; its lease is released."""
