"""What parent and workers say to each other. A call is named by its `CallInfo.session_id`."""

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from poptrio.calls import CallInfo, Traffic
from poptrio.config import Config
from poptrio.decisions import Accept
from poptrio.errors import CauseOfEnd, ConfigFault
from poptrio.observe.areas import Levels
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.runtime.loop_lag import NewLag
from poptrio.server.authentication import Answer
from poptrio.server.captures import CaptureOrder
from poptrio.server.tracing import Subject

# From the parent to a worker.


@dataclass(frozen=True)
class Begin:
    """The first message: be worker ``number`` of ``workers``, with this configuration.

    ``ask_first``: plugins want to be asked before anything is read from a connection. ``resting`` are Call IDs that the
    worker before it had when it was lost. ``draining``: take no calls.
    """

    config: Config
    number: int
    workers: int
    ask_first: bool
    resting: tuple[int, ...] = ()
    draining: bool = False


@dataclass(frozen=True)
class Stop:
    """Stop with goodbyes; the second time at once."""


@dataclass(frozen=True)
class EndCall:
    """End this call."""

    session_id: str
    cause: CauseOfEnd
    detail: str


@dataclass(frozen=True)
class CloseConnection:
    """There are too many connections for this one: ``why``."""

    connection_id: str
    why: str


@dataclass(frozen=True)
class Assigned:
    """Which address the client gets whose user is known by the `LogIn` with this number."""

    session_id: str
    number: int
    answer: "Leased | NotLeased"


@dataclass(frozen=True)
class ChangeCall:
    """``accept`` is now what was decided about this call."""

    session_id: str
    accept: Accept


@dataclass(frozen=True)
class StartCapture:
    """Capture this call; what comes of it follows as `Captured` with this ``number``."""

    number: int
    session_id: str
    order: CaptureOrder


@dataclass(frozen=True)
class Follow:
    """Log from these levels upwards, and trace these for so many seconds."""

    levels: Levels
    traces: dict[Subject, float]


@dataclass(frozen=True)
class Undo:
    """The configuration of the last `Prepare` is not used."""


# Questions of the parent.


@dataclass(frozen=True)
class Prepare:
    """Get ready for this configuration: `Prepared` or `CannotPrepare`."""

    config: Config


@dataclass(frozen=True)
class Commit:
    """Use this configuration from now on: `Done`."""

    config: Config


@dataclass(frozen=True)
class Drain:
    """Take no new calls, or take them again: `Done`, after every call that was taken before."""

    draining: bool


@dataclass(frozen=True)
class Prepared:
    """Nothing is in the way."""


@dataclass(frozen=True)
class CannotPrepare:
    """The operating system refuses something: ``why``. Nothing has changed."""

    why: str


@dataclass(frozen=True)
class Done:
    """It is so."""


# From a worker to the parent.


@dataclass(frozen=True)
class Ready:
    """The worker takes calls."""


@dataclass(frozen=True)
class Failed:
    """The worker cannot go on, because of its configuration or of what the operating system says."""

    faults: tuple[ConfigFault, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class ConnectionOpened:
    """There is this control connection; answered by `CloseConnection` if there may not be."""

    connection_id: str
    peer: IPv4Address


@dataclass(frozen=True)
class ConnectionClosed:
    """This control connection is closed; not told of those on which somebody has logged in."""

    connection_id: str


@dataclass(frozen=True)
class CallBegun:
    """There is this call; answered by `EndCall` if there may not be."""

    info: CallInfo


@dataclass(frozen=True)
class CameUp:
    """The client of this call has an address."""

    session_id: str
    authentication: str
    encryption: str
    steps: dict[str, float]
    interface: str
    mtu: int


@dataclass(frozen=True)
class InterimDue:
    """An interim record of this call is due."""

    session_id: str
    traffic: Traffic


@dataclass(frozen=True)
class ProvedAgain:
    """The client of this call has proved itself again, and ``accept`` is what was decided."""

    session_id: str
    accept: Accept


@dataclass(frozen=True)
class Ending:
    """The call is about to end."""

    session_id: str
    cause: CauseOfEnd


@dataclass(frozen=True)
class Ended:
    """The call is over, and no packet of its address comes here any more."""

    session_id: str
    cause: CauseOfEnd
    why: str
    name: str
    encryption: str
    traffic: Traffic


@dataclass(frozen=True)
class Progress:
    """The traffic so far of calls that have moved packets since the last time."""

    traffic: tuple[tuple[str, Traffic], ...]


@dataclass(frozen=True, slots=True)
class Alive:
    """The worker says so every few seconds, also when there is nothing else to say."""


@dataclass(frozen=True)
class Refused:
    """A client was refused a connection or a call; told only of as many as are logged."""

    peer: IPv4Address
    why: str


@dataclass(frozen=True)
class Counted:
    """What the worker has counted since the last time, and how many connections it has now.

    ``refusals``, ``left_out`` and ``internal_errors`` are those of `Stats`; ``packets`` are what all calls' paths have
    counted, ``strays`` the `DataPathCounters`, both by name.
    """

    internal_errors: int
    refusals: Counter[str]
    left_out: Counter[str]
    packets: Counter[str]
    strays: Counter[str]
    lag: NewLag
    connections: int


# Questions of a worker.


@dataclass(frozen=True)
class AdmitConnection:
    """May this client have a control connection? A sentence if not, else None."""

    connection_id: str
    peer: IPv4Address


@dataclass(frozen=True)
class LogIn:
    """Who is calling? `LoggedIn`, `NotAsked` or `NoPlace`. ``plugin`` is the one to ask, unless it is empty.

    ``again``: it is a later challenge of a call whose user is known. ``number`` is unique over the worker's life.
    """

    number: int
    session_id: str
    request: AuthRequest
    plugin: str
    again: bool


@dataclass(frozen=True)
class LoggedIn:
    """What the plugins said; ``address_follows`` as `Assigned`, unasked."""

    answer: Answer
    address_follows: bool = False


@dataclass(frozen=True)
class NotAsked:
    """Too many attempts stand in line: this one would have waited so many seconds."""

    seconds: float


@dataclass(frozen=True)
class NoPlace:
    """The user has enough calls: ``why``."""

    why: str


@dataclass(frozen=True)
class AllocateAddress:
    """Which address does the client of this call get? An address and its owner as `Leased`, or a `NotLeased`."""

    session_id: str
    wish: IPv4Address | None


@dataclass(frozen=True)
class Leased:
    """This address."""

    address: IPv4Address
    owner: str


@dataclass(frozen=True)
class NotLeased:
    """None, and why."""

    reason: str


@dataclass(frozen=True)
class Remembered:
    """Stands for something that a plugin wants to remember, which stays with the parent: it may be anything."""

    number: int


@dataclass(frozen=True)
class Captured:
    """More of a capture, the end of it if it is empty, or why there is none. Is more wanted?

    The answer, True or False, comes when somebody has taken it.
    """

    number: int
    chunk: bytes = field(repr=False)
    refused: str = ""
