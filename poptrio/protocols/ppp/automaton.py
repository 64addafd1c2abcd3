"""The option negotiation automaton of PPP (RFC 1661 §4.1), its table cell for cell.

Theory of operation: every control protocol (LCP, IPCP, CCP) is one `Automaton` fed with the events of §4.3. `handle`
looks the cell up, moves to the next state and returns the actions of §4.4 in the order of the table; the caller carries
them out. What the events and actions do on the wire is in `control_protocol`; nothing else changes the state.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from poptrio.errors import LocalProtocolError


class State(IntEnum):
    """The states of RFC 1661 §4.2, under their numbers in the table."""

    INITIAL = 0
    STARTING = 1
    CLOSED = 2
    STOPPED = 3
    CLOSING = 4
    STOPPING = 5
    REQ_SENT = 6
    ACK_RCVD = 7
    ACK_SENT = 8
    OPENED = 9


class Event(StrEnum):
    """The events of RFC 1661 §4.3, under their names in the table."""

    UP = "Up"
    DOWN = "Down"
    OPEN = "Open"
    CLOSE = "Close"
    TIMEOUT_RETRY = "TO+"
    TIMEOUT_EXPIRED = "TO-"
    REQUEST_GOOD = "RCR+"
    REQUEST_BAD = "RCR-"
    ACK = "RCA"
    NAK_OR_REJECT = "RCN"
    TERMINATE_REQUEST = "RTR"
    TERMINATE_ACK = "RTA"
    UNKNOWN_CODE = "RUC"
    REJECT_PERMITTED = "RXJ+"
    REJECT_CATASTROPHIC = "RXJ-"
    ECHO_OR_DISCARD = "RXR"


class Action(StrEnum):
    """The actions of RFC 1661 §4.4, under their names in the table."""

    THIS_LAYER_UP = "tlu"
    THIS_LAYER_DOWN = "tld"
    THIS_LAYER_STARTED = "tls"
    THIS_LAYER_FINISHED = "tlf"
    INITIALIZE_RESTART_COUNT = "irc"
    ZERO_RESTART_COUNT = "zrc"
    SEND_CONFIGURE_REQUEST = "scr"
    SEND_CONFIGURE_ACK = "sca"
    SEND_CONFIGURE_NAK = "scn"
    SEND_TERMINATE_REQUEST = "str"
    SEND_TERMINATE_ACK = "sta"
    SEND_CODE_REJECT = "scj"
    SEND_ECHO_REPLY = "ser"


# RFC 1661 §4.1, cell for cell. "sca,tlu/9" is the actions, then the next state; "-" cannot happen. Notes of the RFC:
# r restart option (we stay, as the table says), p passive option (not used), x crossed connection (as the table says).
TABLE = """
         0      1          2          3              4      5      6          7          8          9
  Up     2      irc,scr/6  -          -              -      -      -          -          -          -
  Down   -      -          0          tls/1          0      1      1          1          1          tld/1
  Open   tls/1  1          irc,scr/6  3r             5r     5r     6          7          8          9r
  Close  0      tlf/0      2          2              4      4      irc,str/4  irc,str/4  irc,str/4  tld,irc,str/4
  TO+    -      -          -          -              str/4  str/5  scr/6      scr/6      scr/8      -
  TO-    -      -          -          -              tlf/2  tlf/3  tlf/3p     tlf/3p     tlf/3p     -
  RCR+   -      -          sta/2      irc,scr,sca/8  4      5      sca/8      sca,tlu/9  sca/8      tld,scr,sca/8
  RCR-   -      -          sta/2      irc,scr,scn/6  4      5      scn/6      scn/7      scn/6      tld,scr,scn/6
  RCA    -      -          sta/2      sta/3          4      5      irc/7      scr/6x     irc,tlu/9  tld,scr/6x
  RCN    -      -          sta/2      sta/3          4      5      irc,scr/6  scr/6x     irc,scr/8  tld,scr/6x
  RTR    -      -          sta/2      sta/3          sta/4  sta/5  sta/6      sta/6      sta/6      tld,zrc,sta/5
  RTA    -      -          2          3              tlf/2  tlf/3  6          6          8          tld,scr/6
  RUC    -      -          scj/2      scj/3          scj/4  scj/5  scj/6      scj/7      scj/8      scj/9
  RXJ+   -      -          2          3              4      5      6          6          8          9
  RXJ-   -      -          tlf/2      tlf/3          tlf/2  tlf/3  tlf/3      tlf/3      tlf/3      tld,irc,str/5
  RXR    -      -          2          3              4      5      6          7          8          ser/9
"""


@dataclass(frozen=True, slots=True)
class Transition:
    """One cell: what to do, then where to be."""

    actions: tuple[Action, ...]
    next_state: State


def compile_table(text: str) -> dict[tuple[Event, State], Transition]:
    """The cells of a table text; an unknown event, action or state is a ValueError at import."""
    header, *rows = (line.split() for line in text.strip().splitlines())
    columns = [State(int(number)) for number in header]
    cells = {}
    for name, *row in rows:
        for state, cell in zip(columns, row, strict=True):
            if cell != "-":
                actions, _, target = cell.rpartition("/")
                cells[Event(name), state] = Transition(
                    tuple(Action(action) for action in actions.split(",") if action), State(int(target.rstrip("rpx")))
                )
    return cells


TRANSITIONS = compile_table(TABLE)

TIMED_STATES = frozenset(state for event, state in TRANSITIONS if event is Event.TIMEOUT_RETRY)
"""The states in which the Restart timer runs: those with TO events (RFC 1661 §4.1)."""


class Automaton:
    """The state of one control protocol; starts in Initial."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.INITIAL

    def handle(self, event: Event) -> tuple[Action, ...]:
        """Take the transition of ``event`` and return its actions; an impossible event is a `LocalProtocolError`."""
        transition = TRANSITIONS.get((event, self.state))
        if transition is None:
            raise LocalProtocolError(f"{event.value} cannot happen in state {self.state.name}")
        self.state = transition.next_state
        return transition.actions
