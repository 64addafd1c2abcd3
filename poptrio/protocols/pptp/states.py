"""The states of a PPTP control connection (RFC 2637 §3.1) as two tables: receiver (server) and originator (client).

Every transition of the control connection stands in this file; `control` supplies what the actions do. A cell reads
``action,action/next state``; without a slash the state stays. ``-`` means silently discarded, ``x`` that it cannot
happen: there our own code asked for something that the state does not allow. The state ``ended`` has no column,
because nothing that arrives in it is looked at any more.

The RFC's figures show the good path; what they leave open is decided here. A message that is illegal in its state
(``ill``) ends the connection (§3: "closed and restarted"), after a Stop-Control-Connection-Request (``stop``) where the
peer would understand one. A request before the start is answered with its own reply and the error Not-Connected
(§2.16). A second Start-Control-Connection-Request gets the result "command channel already exists" (§2.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """States of RFC 2637 §3.1.1 and §3.1.2; ``ended`` is the RFC's return to idle, final here."""

    IDLE = "idle"
    WAIT_CTL_REPLY = "wait_ctl_reply"
    ESTABLISHED = "established"
    WAIT_STOP_REPLY = "wait_stop_reply"
    ENDED = "ended"


class Input(StrEnum):
    """What can happen to a control connection: the fifteen messages, our own wishes, time, and what TCP does."""

    START_REQUEST = "Start-Control-Connection-Request"
    START_REQUEST_OLD_VERSION = "Start-Control-Connection-Request, old version"
    START_REPLY = "Start-Control-Connection-Reply"
    START_REPLY_REFUSED = "Start-Control-Connection-Reply, refused"
    START_REPLY_OTHER_VERSION = "Start-Control-Connection-Reply, other version"
    STOP_REQUEST = "Stop-Control-Connection-Request"
    STOP_REPLY = "Stop-Control-Connection-Reply"
    ECHO_REQUEST = "Echo-Request"
    ECHO_REPLY = "Echo-Reply"
    OUTGOING_CALL_REQUEST = "Outgoing-Call-Request"
    OUTGOING_CALL_REPLY = "Outgoing-Call-Reply"
    INCOMING_CALL_REQUEST = "Incoming-Call-Request"
    INCOMING_CALL_REPLY = "Incoming-Call-Reply"
    INCOMING_CALL_CONNECTED = "Incoming-Call-Connected"
    CALL_CLEAR_REQUEST = "Call-Clear-Request"
    CALL_DISCONNECT_NOTIFY = "Call-Disconnect-Notify"
    WAN_ERROR_NOTIFY = "WAN-Error-Notify"
    SET_LINK_INFO = "Set-Link-Info"
    BAD_MESSAGE = "bad message"
    LOST_SYNCHRONIZATION = "lost synchronization"
    TCP_CLOSED = "TCP closed"
    LOCAL_START = "local start"
    LOCAL_STOP = "local stop"
    REPLY_TIMEOUT = "start or stop timeout"
    ECHO_INTERVAL = "echo interval passed"
    ECHO_TIMEOUT = "echo timeout"
    CALL_TIMEOUT = "call timeout"


@dataclass(frozen=True, slots=True)
class Transition:
    """One cell: the actions in their order, then the next state."""

    actions: tuple[str, ...]
    state: State


Table = Mapping[tuple[State, Input], Transition]

RECEIVER_TEXT = """
                                              | 0 idle          | 2 established | 3 wait_stop_reply | 4 ended
Start-Control-Connection-Request              | start/2         | exists/4      | -
Start-Control-Connection-Request, old version | version/4       | exists/4      | -
Start-Control-Connection-Reply                | ill/4           | ill,stop/4    | -
Start-Control-Connection-Reply, refused       | ill/4           | ill,stop/4    | -
Start-Control-Connection-Reply, other version | ill/4           | ill,stop/4    | -
Stop-Control-Connection-Request               | stopped/4       | stopped/4     | stopped/4
Stop-Control-Connection-Reply                 | ill/4           | ill,stop/4    | /4
Echo-Request                                  | not_connected/4 | echo_reply    | echo_reply
Echo-Reply                                    | ill/4           | echo_answered | -
Outgoing-Call-Request                         | not_connected/4 | call          | -
Outgoing-Call-Reply                           | ill/4           | ill,stop/4    | -
Incoming-Call-Request                         | not_connected/4 | refuse        | -
Incoming-Call-Reply                           | ill/4           | ill,stop/4    | -
Incoming-Call-Connected                       | ill/4           | ill,stop/4    | -
Call-Clear-Request                            | ill/4           | call          | -
Call-Disconnect-Notify                        | ill/4           | call          | -
WAN-Error-Notify                              | ill/4           | call          | -
Set-Link-Info                                 | ill/4           | call          | -
bad message                                   | bad,bad_start/4 | bad,stop/4    | /4
lost synchronization                          | bad/4           | bad/4         | /4
TCP closed                                    | lost/4          | lost/4        | /4
local start                                   | x               | x             | x
local stop                                    | /4              | stop/3        | -
start or stop timeout                         | no_start/4      | x             | /4
echo interval passed                          | x               | echo_request  | x
echo timeout                                  | x               | no_echo/4     | x
call timeout                                  | x               | no_call,stop/3| x
"""
"""RFC 2637 §3.1.2, the control connection receiver: the server."""

ORIGINATOR_TEXT = """
                                              | 0 idle | 1 wait_ctl_reply | 2 established | 3 wait_stop_reply | 4 ended
Start-Control-Connection-Request              | ill/4  | ill/4            | ill,stop/4    | -
Start-Control-Connection-Request, old version | ill/4  | ill/4            | ill,stop/4    | -
Start-Control-Connection-Reply                | ill/4  | started/2        | ill,stop/4    | -
Start-Control-Connection-Reply, refused       | ill/4  | refused/4        | ill,stop/4    | -
Start-Control-Connection-Reply, other version | ill/4  | other,stop/3     | ill,stop/4    | -
Stop-Control-Connection-Request               | ill/4  | stopped/4        | stopped/4     | stopped/4
Stop-Control-Connection-Reply                 | ill/4  | ill/4            | ill,stop/4    | /4
Echo-Request                                  | ill/4  | ill/4            | echo_reply    | echo_reply
Echo-Reply                                    | ill/4  | ill/4            | echo_answered | -
Outgoing-Call-Request                         | ill/4  | ill/4            | refuse        | -
Outgoing-Call-Reply                           | ill/4  | ill/4            | call          | -
Incoming-Call-Request                         | ill/4  | ill/4            | refuse        | -
Incoming-Call-Reply                           | ill/4  | ill/4            | ill,stop/4    | -
Incoming-Call-Connected                       | ill/4  | ill/4            | ill,stop/4    | -
Call-Clear-Request                            | ill/4  | ill/4            | call          | -
Call-Disconnect-Notify                        | ill/4  | ill/4            | call          | -
WAN-Error-Notify                              | ill/4  | ill/4            | call          | -
Set-Link-Info                                 | ill/4  | ill/4            | call          | -
bad message                                   | bad/4  | bad/4            | bad,stop/4    | /4
lost synchronization                          | bad/4  | bad/4            | bad/4         | /4
TCP closed                                    | lost/4 | lost/4           | lost/4        | /4
local start                                   | open/1 | x                | x             | x
local stop                                    | /4     | /4               | stop/3        | -
start or stop timeout                         | x      | no_start/4       | x             | /4
echo interval passed                          | x      | x                | echo_request  | x
echo timeout                                  | x      | x                | no_echo/4     | x
call timeout                                  | x      | x                | no_call,stop/3| x
"""
"""RFC 2637 §3.1.1, the control connection originator: the client."""


def compile_table(text: str) -> Table:
    """The transitions that the text says, without the ``x`` cells; ValueError unless every input has one row."""
    header, *rows = text.strip("\n").splitlines()
    states = {number: State(name) for number, name in (cell.split() for cell in header.split("|")[1:])}
    columns = [state for state in states.values() if state is not State.ENDED]
    table: dict[tuple[State, Input], Transition] = {}
    for row in rows:
        label, *cells = (cell.strip() for cell in row.split("|"))
        for state, cell in zip(columns, cells, strict=True):
            if cell != "x":
                actions, slash, number = cell.removeprefix("-").partition("/")
                next_state = states[number] if slash else state
                table[state, Input(label)] = Transition(tuple(filter(None, actions.split(","))), next_state)
    labels = [row.partition("|")[0].strip() for row in rows]
    if sorted(labels) != sorted(occasion.value for occasion in Input):
        raise ValueError("the table must have exactly one row for every input")
    return table


RECEIVER = compile_table(RECEIVER_TEXT)
ORIGINATOR = compile_table(ORIGINATOR_TEXT)
