"""The option negotiation automaton against RFC 1661 §4.1: its two half-tables stand here as the RFC prints them."""

import pytest

from poptrio.errors import LocalProtocolError
from poptrio.protocols.ppp.automaton import (
    TABLE,
    TIMED_STATES,
    TRANSITIONS,
    Action,
    Automaton,
    Event,
    State,
    compile_table,
)

RFC_1661_PAGE_12 = """
      | State
      |    0         1         2         3         4         5
Events| Initial   Starting  Closed    Stopped   Closing   Stopping
------+-----------------------------------------------------------
 Up   |    2     irc,scr/6     -         -         -         -
 Down |    -         -         0       tls/1       0         1
 Open |  tls/1       1     irc,scr/6     3r        5r        5r
 Close|    0       tlf/0       2         2         4         4
      |
  TO+ |    -         -         -         -       str/4     str/5
  TO- |    -         -         -         -       tlf/2     tlf/3
      |
 RCR+ |    -         -       sta/2 irc,scr,sca/8   4         5
 RCR- |    -         -       sta/2 irc,scr,scn/6   4         5
 RCA  |    -         -       sta/2     sta/3       4         5
 RCN  |    -         -       sta/2     sta/3       4         5
      |
 RTR  |    -         -       sta/2     sta/3     sta/4     sta/5
 RTA  |    -         -         2         3       tlf/2     tlf/3
      |
 RUC  |    -         -       scj/2     scj/3     scj/4     scj/5
 RXJ+ |    -         -         2         3         4         5
 RXJ- |    -         -       tlf/2     tlf/3     tlf/2     tlf/3
      |
 RXR  |    -         -         2         3         4         5
"""

RFC_1661_PAGE_13 = """
      | State
      |    6         7         8           9
Events| Req-Sent  Ack-Rcvd  Ack-Sent    Opened
------+-----------------------------------------
 Up   |    -         -         -           -
 Down |    1         1         1         tld/1
 Open |    6         7         8           9r
 Close|irc,str/4 irc,str/4 irc,str/4 tld,irc,str/4
      |
  TO+ |  scr/6     scr/6     scr/8         -
  TO- |  tlf/3p    tlf/3p    tlf/3p        -
      |
 RCR+ |  sca/8   sca,tlu/9   sca/8   tld,scr,sca/8
 RCR- |  scn/6     scn/7     scn/6   tld,scr,scn/6
 RCA  |  irc/7     scr/6x  irc,tlu/9   tld,scr/6x
 RCN  |irc,scr/6   scr/6x  irc,scr/8   tld,scr/6x
      |
 RTR  |  sta/6     sta/6     sta/6   tld,zrc,sta/5
 RTA  |    6         6         8       tld,scr/6
      |
 RUC  |  scj/6     scj/7     scj/8       scj/9
 RXJ+ |    6         6         8           9
 RXJ- |  tlf/3     tlf/3     tlf/3   tld,irc,str/5
      |
 RXR  |    6         7         8         ser/9
"""


def rfc_cells():
    """(event, state) and the RFC's cell, for all cells of both pages."""
    for page in (RFC_1661_PAGE_12, RFC_1661_PAGE_13):
        _, numbers, _, _, *rows = page.strip("\n").splitlines()
        states = [State(int(number)) for number in numbers.partition("|")[2].split()]
        for row in rows:
            name, _, cells = row.partition("|")
            if name.strip():
                for state, cell in zip(states, cells.split(), strict=True):
                    yield (name.strip(), state), cell


def without_note(cell):
    """A cell without the letter of its footnote."""
    return cell.rstrip("rpx")


def written(event, state):
    """Our transition in the RFC's notation."""
    transition = TRANSITIONS.get((Event(event), state))
    if transition is None:
        return "-"
    actions = ",".join(action.value for action in transition.actions)
    return f"{actions}/{transition.next_state}" if actions else str(int(transition.next_state))


CELLS = dict(rfc_cells())


def test_the_rfc_has_all_events_in_all_states():
    assert set(CELLS) == {(event.value, state) for event in Event for state in State}


@pytest.mark.parametrize("event", [event.value for event in Event])
@pytest.mark.parametrize("state", State)
def test_cell(event, state):
    assert written(event, state) == without_note(CELLS[event, state])


def test_the_states_have_the_names_of_the_rfc():
    heads = [page.strip("\n").splitlines()[2].partition("|")[2] for page in (RFC_1661_PAGE_12, RFC_1661_PAGE_13)]
    names = [name.upper().replace("-", "_") for head in heads for name in head.split()]
    assert names == [state.name for state in State]


def test_the_restart_timer_runs_where_the_rfc_has_timeouts():
    assert frozenset(state for (event, state), cell in CELLS.items() if event == "TO+" and cell != "-") == TIMED_STATES


@pytest.mark.parametrize(
    ("event", "state"), [(Event(event), state) for (event, state), cell in CELLS.items() if cell == "-"]
)
def test_what_cannot_happen_is_our_bug_and_changes_nothing(event, state):
    automaton = Automaton()
    automaton.state = state
    with pytest.raises(LocalProtocolError, match=f"cannot happen in state {state.name}"):
        automaton.handle(event)
    assert automaton.state is state


def test_actions_come_in_the_order_of_the_table():
    automaton = Automaton()
    automaton.state = State.OPENED
    assert automaton.handle(Event.REQUEST_GOOD) == (
        Action.THIS_LAYER_DOWN,
        Action.SEND_CONFIGURE_REQUEST,
        Action.SEND_CONFIGURE_ACK,
    )
    assert automaton.state is State.ACK_SENT


def test_a_negotiation_from_the_beginning_to_the_end():
    automaton = Automaton()
    walk = [
        (Event.OPEN, State.STARTING),
        (Event.UP, State.REQ_SENT),
        (Event.REQUEST_BAD, State.REQ_SENT),
        (Event.ACK, State.ACK_RCVD),
        (Event.REQUEST_GOOD, State.OPENED),
        (Event.CLOSE, State.CLOSING),
        (Event.TERMINATE_ACK, State.CLOSED),
        (Event.DOWN, State.INITIAL),
    ]
    assert automaton.state is State.INITIAL
    for event, state in walk:
        automaton.handle(event)
        assert automaton.state is state


@pytest.mark.parametrize(
    ("right", "wrong"), [("irc,scr/6", "irc,src/6"), ("RUC", "RUK"), ("tlf/2", "tlf/12"), ("sta/2 ", "")]
)
def test_a_spoilt_table_is_refused(right, wrong):
    assert right in TABLE
    with pytest.raises(ValueError):
        compile_table(TABLE.replace(right, wrong, 1))
