"""Write ``docs/explanation/automaton.md``, the diagram of RFC 1661's automaton, from the table that the code runs.

``python docs/generate_automaton.py`` writes it; a test compares it, so that it cannot fall behind.
"""

from collections import defaultdict
from pathlib import Path

from poptrio.protocols.ppp.automaton import TIMED_STATES, TRANSITIONS, Action, Event, State, Transition

PAGE = Path(__file__).resolve().parent / "explanation" / "automaton.md"

INTRODUCTION = """\
# The automaton

LCP, CCP and IPCP are one automaton with different options: that of RFC 1661 §4.1. It stands in
`poptrio/protocols/ppp/automaton.py` as the RFC's own table, cell for cell. This page is drawn from that table by
`make docs`, so it shows what the code does.

An arrow carries the events that lead from one state to another. Events that leave the state as it is, and the actions,
are in the table below.
"""

TIMED = """\
The Restart timer runs in {states}: the states with a TO event.
"""

TABLE_INTRODUCTION = """\
## The table

Each cell has the actions in their order, then the next state. An empty cell cannot happen.
"""

EVENTS = {
    Event.UP: "the layer below is up",
    Event.DOWN: "the layer below is down",
    Event.OPEN: "the layer may come up",
    Event.CLOSE: "the layer must go down",
    Event.TIMEOUT_RETRY: "timeout, the counter is above zero",
    Event.TIMEOUT_EXPIRED: "timeout, the counter has run out",
    Event.REQUEST_GOOD: "Configure-Request received, acceptable",
    Event.REQUEST_BAD: "Configure-Request received, not acceptable",
    Event.ACK: "Configure-Ack received",
    Event.NAK_OR_REJECT: "Configure-Nak or Configure-Reject received",
    Event.TERMINATE_REQUEST: "Terminate-Request received",
    Event.TERMINATE_ACK: "Terminate-Ack received",
    Event.UNKNOWN_CODE: "a packet with an unknown code received",
    Event.REJECT_PERMITTED: "Code-Reject or Protocol-Reject received that changes nothing",
    Event.REJECT_CATASTROPHIC: "Code-Reject or Protocol-Reject received that ends the protocol",
    Event.ECHO_OR_DISCARD: "Echo-Request, Echo-Reply or Discard-Request received",
}


def page() -> str:
    """The text of ``docs/explanation/automaton.md``."""
    timed = [state_name(state) for state in State if state in TIMED_STATES]
    states = f"{', '.join(timed[:-1])} and {timed[-1]}"
    return "\n".join([INTRODUCTION, diagram(), TIMED.format(states=states), TABLE_INTRODUCTION, _table(), _legend()])


def diagram() -> str:
    """The transitions between different states as a Mermaid diagram."""
    arrows: dict[tuple[State, State], list[str]] = defaultdict(list)
    for (event, state), transition in TRANSITIONS.items():
        if transition.next_state is not state:
            arrows[state, transition.next_state].append(event.value)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {_identifier(State.INITIAL)}"]
    lines += [f'    state "{state:d} {state_name(state)}" as {_identifier(state)}' for state in State]
    lines += [
        f"    {_identifier(source)} --> {_identifier(target)}: {', '.join(events)}"
        for (source, target), events in sorted(arrows.items())
    ]
    return "\n".join([*lines, "```", ""])


def state_name(state: State) -> str:
    """A state as the RFC writes it, for instance ``Req-Sent``."""
    return state.name.title().replace("_", "-")


def _identifier(state: State) -> str:
    return state_name(state).replace("-", "")


def _table() -> str:
    lines = ["| |" + "".join(f" {state:d} {state_name(state)} |" for state in State), "|---|" + "---|" * len(State)]
    for event in Event:
        cells = (_cell(TRANSITIONS.get((event, state))) for state in State)
        lines.append(f"| {event.value} |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join([*lines, ""])


def _cell(transition: Transition | None) -> str:
    if transition is None:
        return ""
    actions = ", ".join(action.value for action in transition.actions)
    return f"{actions} → {transition.next_state:d}" if actions else f"{transition.next_state:d}"


def _legend() -> str:
    events = [f"| {event.value} | {EVENTS[event]} |" for event in Event]
    actions = [f"| {action.value} | {action.name.lower().replace('_', ' ')} |" for action in Action]
    return "\n".join(["| event | |", "|---|---|", *events, "", "| action | |", "|---|---|", *actions, ""])


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
