"""The tables of the control connection against the figures of RFC 2637 §3.1, and the compiler of the tables."""

import pytest

from poptrio.protocols.pptp.actions import ACTIONS
from poptrio.protocols.pptp.codes import ControlType
from poptrio.protocols.pptp.states import (
    ORIGINATOR,
    ORIGINATOR_TEXT,
    RECEIVER,
    RECEIVER_TEXT,
    Input,
    State,
    Transition,
    compile_table,
)

TABLES = pytest.mark.parametrize("table", [RECEIVER, ORIGINATOR], ids=["receiver", "originator"])
LOCAL = [
    Input.LOCAL_START,
    Input.REPLY_TIMEOUT,
    Input.ECHO_INTERVAL,
    Input.ECHO_TIMEOUT,
    Input.CALL_TIMEOUT,
]

# What the figures of §3.1.1 and §3.1.2 draw: state, input, next state.
ORIGINATOR_FIGURE = [
    (State.IDLE, Input.LOCAL_START, State.WAIT_CTL_REPLY),
    (State.WAIT_CTL_REPLY, Input.START_REPLY, State.ESTABLISHED),
    (State.WAIT_CTL_REPLY, Input.START_REPLY_OTHER_VERSION, State.WAIT_STOP_REPLY),
    (State.ESTABLISHED, Input.LOCAL_STOP, State.WAIT_STOP_REPLY),
    (State.ESTABLISHED, Input.STOP_REQUEST, State.ENDED),
    (State.WAIT_STOP_REPLY, Input.STOP_REPLY, State.ENDED),
]
RECEIVER_FIGURE = [
    (State.IDLE, Input.START_REQUEST, State.ESTABLISHED),
    (State.IDLE, Input.START_REQUEST_OLD_VERSION, State.ENDED),
    (State.ESTABLISHED, Input.START_REQUEST, State.ENDED),
    (State.ESTABLISHED, Input.LOCAL_STOP, State.WAIT_STOP_REPLY),
    (State.ESTABLISHED, Input.STOP_REQUEST, State.ENDED),
    (State.WAIT_STOP_REPLY, Input.STOP_REPLY, State.ENDED),
]


@pytest.mark.parametrize(("state", "occasion", "next_state"), ORIGINATOR_FIGURE)
def test_originator_figure(state, occasion, next_state):
    assert ORIGINATOR[state, occasion].state is next_state


@pytest.mark.parametrize(("state", "occasion", "next_state"), RECEIVER_FIGURE)
def test_receiver_figure(state, occasion, next_state):
    assert RECEIVER[state, occasion].state is next_state


def test_every_control_message_is_an_input():
    assert {control_type.rfc_name for control_type in ControlType} <= {occasion.value for occasion in Input}


@TABLES
def test_whatever_the_peer_does_has_a_cell_in_every_state(table):
    states = {state for state, _ in table}
    remote = set(Input) - set(LOCAL)
    assert {(state, occasion) for state in states for occasion in remote} <= set(table)
    assert State.ENDED not in states


@TABLES
def test_every_action_exists(table):
    assert {name for transition in table.values() for name in transition.actions} <= set(ACTIONS)


@TABLES
def test_whatever_makes_the_stream_unreadable_ends_the_connection(table):
    """`ControlConnection.receive_data` relies on it: it would read the same bad message for ever."""
    unreadable = (Input.BAD_MESSAGE, Input.LOST_SYNCHRONIZATION, Input.TCP_CLOSED)
    assert {row.state for (_, occasion), row in table.items() if occasion in unreadable} == {State.ENDED}


def test_no_action_is_superfluous():
    used = {name for table in (RECEIVER, ORIGINATOR) for row in table.values() for name in row.actions}
    assert set(ACTIONS) == used


def test_cells():
    assert RECEIVER[State.ESTABLISHED, Input.ECHO_REQUEST] == Transition(("echo_reply",), State.ESTABLISHED)
    assert RECEIVER[State.ESTABLISHED, Input.BAD_MESSAGE] == Transition(("bad", "stop"), State.ENDED)
    assert RECEIVER[State.WAIT_STOP_REPLY, Input.ECHO_REPLY] == Transition((), State.WAIT_STOP_REPLY)
    assert RECEIVER[State.WAIT_STOP_REPLY, Input.TCP_CLOSED] == Transition((), State.ENDED)
    assert (State.IDLE, Input.LOCAL_START) not in RECEIVER


@pytest.mark.parametrize("text", [RECEIVER_TEXT, ORIGINATOR_TEXT], ids=["receiver", "originator"])
def test_a_spoilt_table_is_refused(text):
    lines = text.splitlines(keepends=True)
    with pytest.raises(ValueError, match="one row for every input"):
        compile_table("".join(lines[:-1]))
    with pytest.raises(ValueError, match="one row for every input"):
        compile_table("".join([*lines, lines[-1]]))
    with pytest.raises(ValueError, match="'Eco-Request' is not a valid Input"):
        compile_table(text.replace("Echo-Request ", "Eco-Request  "))
    with pytest.raises(ValueError, match="zip"):
        compile_table("".join([*lines[:-1], lines[-1].replace("\n", "| x\n")]))
    with pytest.raises(KeyError):
        compile_table(text.replace("/4", "/5"))
